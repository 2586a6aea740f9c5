"""How each client's own test suite is fetched, built and run, and how its results are read."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree
from collections import namedtuple

from toolchains import SOURCES, build, fetch, need

CODECS = ["lz4", "zstandard", "python-snappy", "cramjam"]  # of kafka-python
KAFKA_PYTHON_SERVICE = """
class SpawnedService:
    pass

class ExternalService:
    def __init__(self, host, port):
        pass

    def open(self):
        pass

    close = open
"""
SUITE_S = 1800  # only so that a hanging suite ends

# prepare: a function of the build directory; returns the version and a function that runs the suite and returns
# results by test: pass, fail or skip. Its arguments are the address, the output file, and tests to leave out.
# Some tests know one address only, whatever they are told.
Suite = namedtuple("Suite", "prepare settings address", defaults=([], None))
FIXED = "127.0.0.1:9092"


def call(path, command, output, **environment):
    """Runs a suite; what it says goes to `output` and is returned. A suite that hangs has said what it has."""
    start = output.tell()
    try:
        environment = {**os.environ, **environment}
        subprocess.run(command, cwd=path, stdout=output, stderr=subprocess.STDOUT, timeout=SUITE_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        output.write(f"\nno end after {SUITE_S} s\n".encode())
    return pathlib.Path(output.name).read_bytes()[start:].decode(errors="replace")


def crate(path, name, version):
    """A copy of the crate's sources, as they are published."""
    need("cargo")
    cargo, project = os.environ.get("CARGO", "cargo"), path / "fetch"
    (project / "src").mkdir(parents=True, exist_ok=True)
    (project / "src" / "lib.rs").touch()
    manifest = f'[workspace]\n[package]\nname = "fetch"\n[dependencies]\n{name} = "={version}"\n'
    (project / "Cargo.toml").write_text(manifest)
    fetch(project, cargo, "fetch", "--quiet")
    said = subprocess.run([cargo, "metadata", "--format-version=1"], cwd=project, capture_output=True, check=True)
    (found,) = [one["manifest_path"] for one in json.loads(said.stdout)["packages"] if one["name"] == name]
    copy = path / f"{name}-{version}"
    if not copy.exists():
        # Its lock file and toolchain are older than this compiler.
        shutil.copytree(pathlib.Path(found).parent, copy, ignore=shutil.ignore_patterns("rust-toolchain*", "Cargo.lock"))
        with (copy / "Cargo.toml").open("a") as manifest:
            manifest.write("\n[workspace]\n")
    return copy


def cargo_results(said):
    """Results of `cargo test`: the name of the test's file goes before its own."""
    results, file = {}, ""
    for line in said.splitlines():
        if found := re.search(r"Running (?:tests/)?(\S+?)(?:\.rs)? \(", line):
            file = found[1]
        elif found := re.match(r"test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", line):
            results[f"{file}::{found[1]}"] = {"ok": "pass", "FAILED": "fail", "ignored": "skip"}[found[2]]
    return results


def cargo_suite(name, version, idle=(), **settings):
    """`idle`: tests that end at once, without a word, where there is no such broker as they want."""

    def prepare(path):
        source = crate(path, name, version)
        command = [os.environ.get("CARGO", "cargo"), "test", "--no-fail-fast", "--target-dir", str(path / "target")]

        def play(address, output, left_out):
            skip = [word for test in left_out for word in ("--skip", test.partition("::")[2])]
            words = [*command, "--test", "*", "--", "--test-threads=4", *skip]
            environment = {key: value.format(address=address) for key, value in settings.items()}
            return cargo_results(call(source, words, output, **environment)) | dict.fromkeys(idle, "skip")

        return version, play

    return prepare


def go_results(said):
    """Results of `go test -json`: a test with parts is its parts."""
    results = {}
    for line in said.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # what the tool itself says
        if "Test" in event and event["Action"] in ("pass", "fail", "skip"):
            results[event["Test"]] = event["Action"]
        elif "Test" in event and event["Action"] == "run":
            results[event["Test"]] = "fail"  # unless it ends
    outer = {name.partition("/")[0] for name in results if "/" in name}
    return {name: result for name, result in results.items() if name not in outer}


def broker_tests(sources, *marks):
    """Tests of a Go package that speak to a broker: their text, or that of a helper they call, has one of the marks."""
    texts = {}
    for source in sources.glob("*_test.go"):
        for found in re.finditer(r"^func (?:\([^)]*\) )?(\w+)\(.*?^}", source.read_text(), re.DOTALL | re.MULTILINE):
            texts[found[1]] = texts.get(found[1], "") + found[0].partition("\n")[2]
    wanted, marked = set(marks), set()
    while wanted:
        pattern = re.compile(rf"(?:{'|'.join(map(re.escape, wanted))})")
        new = {name for name, text in texts.items() if name not in marked and pattern.search(text)}
        marked |= new
        wanted = {f"{name}(" for name in new} | {f"{name}," for name in new}
    return sorted(name for name in marked if name.startswith("Test"))


def go_suite(module, version, package, marks, minutes=15, **settings):
    def prepare(path):
        need("go")
        fetch(path, "go", "mod", "download", f"{module}@{version}")
        said = subprocess.run(["go", "mod", "download", "-json", f"{module}@{version}"], capture_output=True, check=True)
        original, copy = pathlib.Path(json.loads(said.stdout)["Dir"]), path / version
        if not copy.exists():
            shutil.copytree(original, copy, copy_function=shutil.copyfile)
            for one in [copy, *copy.rglob("*")]:
                one.chmod(0o755 if one.is_dir() else 0o644)
        names = broker_tests(original / package, *marks)

        def play(address, output, left_out):
            command = ["go", "test", "-mod=mod", "-json", "-count=1", f"-timeout={minutes}m", "-parallel=8"]
            command += ["-run", f"^({'|'.join(names)})$"]
            if left_out:
                command += ["-skip", "|".join("/".join(f"^{part}$" for part in test.split("/")) for test in left_out)]
            environment = {key: value.format(address=address) for key, value in settings.items()}
            return go_results(call(copy / package, command, output, **environment))

        return version, play

    return prepare


def kafka_python(version):
    def prepare(path):
        environment = path / "venv"
        if not (environment / "ready").exists():
            fetch(path, sys.executable, "-m", "venv", str(environment))
            wanted = [f"kafka-python=={version}", "pytest", "pytest-timeout", "pytest-mock", *CODECS]
            fetch(path, str(environment / "bin/pip"), "install", "--quiet", *wanted)
            (environment / "ready").touch()
        sources = path / f"kafka_python-{version}"
        if not sources.exists():
            words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", f"kafka-python=={version}"]
            fetch(path, str(environment / "bin/pip"), *words)
            with tarfile.open(path / f"kafka_python-{version}.tar.gz") as archive:
                archive.extractall(path, filter="data")
            # Two files that the archive lacks: without the one `test` is Python's own, the other starts brokers.
            (sources / "test" / "__init__.py").touch()
            (sources / "test" / "service.py").write_text(KAFKA_PYTHON_SERVICE)

        def play(address, output, left_out):
            report = path / "report.xml"
            skip = [f"--deselect=test/integration/{test.replace('::', '.py::', 1)}" for test in left_out]
            command = [str(environment / "bin/python"), "-m", "pytest", "-v", "--timeout=120", f"--junitxml={report}", "test/integration", *skip]
            settings = {"KAFKA_URI": f"kafka://{address}", "KAFKA_VERSION": "4.0.0", "KAFKA_ROOT": str(path)}
            call(sources, command, output, **settings)
            return junit_results(report)

        return version, play

    return prepare


def junit_results(report):
    results = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {part.tag for part in case}
        result = "fail" if kinds & {"failure", "error"} else "skip" if "skipped" in kinds else "pass"
        results[f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"] = result
    return results


def kafka_tools(path):
    """A directory as a release of Kafka has it, with the tools that librdkafka's tests call."""
    need("java", "mvn")
    path.mkdir(exist_ok=True)
    shutil.copy(SOURCES.parent / "integration" / "smoke" / "tools.pom.xml", path / "pom.xml")
    if not list(path.glob("libs/kafka-tools-*.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
    (path / "bin").mkdir(exist_ok=True)
    for name, main in (("topics", "org.apache.kafka.tools.TopicCommand"), ("configs", "kafka.admin.ConfigCommand")):
        script = path / "bin" / f"kafka-{name}.sh"
        script.write_text(f"#!/bin/sh\nexec java -Xmx256m -cp '{path}/libs/*' {main} \"$@\"\n")
        script.chmod(0o755)
    return path


def run_librdkafka(tests, output, command, settings):
    """Results of one run, of what ran: the runner's report does not say why it skipped a test."""
    for old in tests.glob("test_report_*.json"):
        old.unlink()
    call(tests, ["./test-runner", "-p4", "-E", "-L", "-r", "-V", "4.0.0", *command], output, **settings)
    found = [json.loads(one.read_text())["tests"] for one in tests.glob("test_report_*.json")]
    states = {test: one["state"] for tests in found for test, one in tests.items() if test != "<MAIN>"}
    return {test: {"PASSED": "pass"}.get(state, "fail") for test, state in states.items() if state != "SKIPPED"}


def librdkafka(version, whole, **environment):
    """`whole`: tests that do next to nothing in quick mode, and are run a second time without it."""

    def prepare(path):
        need("gcc", "g++", "make")
        path = path.with_name("suite-librdkafka")  # built once for every environment
        source = crate(path, "rdkafka-sys", version) / "librdkafka"
        if not (source / "tests" / "test-runner").exists():
            for command in (["./configure"], ["make", "-j2", "libs"], ["make", "-j2", "-C", "tests", "build"]):
                build(source, *command)
        tools = kafka_tools(path / "kafka")

        def play(address, output, left_out):
            tests = source / "tests"
            (tests / "test.conf").write_text(f"bootstrap.servers={address}\nbroker.address.family=v4\n")
            settings = {"LD_LIBRARY_PATH": "../src:../src-cpp", "KAFKA_PATH": str(tools), "BROKERS": address, **environment}
            settings["TESTS_SKIP"] = ",".join(test.partition("_")[0] for test in left_out)
            results = run_librdkafka(tests, output, ["-Q"], settings)
            again = run_librdkafka(tests, output, [], settings | {"TESTS": ",".join(whole)})
            return results | {f"{test} (whole)": result for test, result in again.items()}

        return version, play

    return prepare


WHOLE = ["0045", "0050", "0061", "0089", "0102", "0122", "0132", "0137"]
SUITES = {
    "rskafka": Suite(
        cargo_suite(
            "rskafka",
            "0.6.0",
            idle=["client::test_sasl"],
            TEST_INTEGRATION="1",
            TEST_JAVA_INTEROPT="1",
            TEST_BROKER_IMPL="kafka",
            KAFKA_CONNECT="{address}",
        ),
        ["auto.create.topics.enable=false"],
    ),
    "rdkafka": Suite(
        cargo_suite("rdkafka", "0.39.0", KAFKA_HOST="{address}", KAFKA_VERSION="4.0"),
        ["num.partitions=3", "node.id=0"],
        FIXED,
    ),
    "franz-go": Suite(
        go_suite(
            "github.com/twmb/franz-go",
            "v1.22.2",
            "pkg/kgo",
            ["getSeedBrokers(", "KGO_SEEDS"],
            KGO_SEEDS="{address}",
            KGO_TEST_RF="1",
            KGO_TEST_RECORDS="50000",
        )
    ),
    "kafka-go": Suite(
        go_suite(
            "github.com/segmentio/kafka-go",
            "v0.4.51",
            ".",
            ["localhost:9092", 'TCP("localhost")'],
            KAFKA_VERSION="3.7.0",
            KAFKA_SKIP_NETTEST="1",
        ),
        ["message.max.bytes=200MiB", "socket.request.max.bytes=256MiB", "advertised.listeners=localhost:9092"],
        FIXED,
    ),
    "kafka-python": Suite(
        kafka_python("3.0.12"),
        [
            "num.partitions=4",
            "node.id=0",
            "group.min.session.timeout.ms=1s",
            "group.initial.rebalance.delay.ms=0ms",
            "advertised.listeners={address}",
        ],
    ),
    "librdkafka": Suite(librdkafka("4.10.0+2.12.1", WHOLE), ["num.partitions=4"]),
    "librdkafka-consumer": Suite(
        librdkafka("4.10.0+2.12.1", WHOLE, TEST_CONSUMER_GROUP_PROTOCOL="consumer"), ["num.partitions=4"]
    ),
}
