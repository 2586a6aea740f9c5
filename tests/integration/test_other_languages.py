"""One conversation each with clients of other languages, where their tools are installed.

Programs are built once, under the target directory. A client that cannot be fetched is a skipped test: a machine
without a network is not a broken broker.
"""

import pathlib
import shutil
import subprocess

import pytest

from broker import TARGET

SOURCES = pathlib.Path(__file__).parent / "smoke"
BUILD_S, RUN_S = 300, 60  # only so that a hanging tool fails its test
KAFKA_GO, KAFKAJS = "github.com/segmentio/kafka-go@v0.4.50", "kafkajs@2.2.4"


def need(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def directory(name, *sources):
    path = TARGET / "smoke" / name
    path.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy(SOURCES / source, path)
    return path


def fetch(path, *command):
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        pytest.skip(f"{command[0]} could not fetch the client: {said[-1] if said else 'it does not say why'}")


def run(path, *command):
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kafka_go_produces_and_reads_a_partition(address, new_name):
    need("go")
    path = directory("go", "smoke.go")
    if not (path / "go.sum").exists():
        (path / "go.mod").write_text("module smoke\n")
        fetch(path, "go", "get", KAFKA_GO)
    subprocess.run(["go", "build", "-o", "smoke", "smoke.go"], cwd=path, timeout=BUILD_S, check=True)
    run(path, "./smoke", address, new_name())


def test_the_java_clients_produce_read_and_administer(address, new_name):
    need("java", "javac", "mvn")
    path = directory("java", "pom.xml", "Smoke.java")
    if not list(path.glob("libs/kafka-clients-*.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
    run(path, "java", "-cp", "libs/*", "Smoke.java", address, new_name())


def test_kafkajs_produces_and_administers(address, new_name):
    need("node", "npm")
    path = directory("node", "smoke.js")
    if not (path / "node_modules" / "kafkajs").is_dir():
        fetch(path, "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", KAFKAJS)
    run(path, "node", "smoke.js", address, new_name())
