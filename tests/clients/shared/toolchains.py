"""How each client is fetched and built, below the target directory and only once; its command line then."""

import os
import pathlib
import shutil
import subprocess
import sys

from broker import TARGET

SOURCES = pathlib.Path(__file__).resolve().parents[1]
BUILT = TARGET / "clients"
BUILD_S = 900  # only so that a hanging tool is told


class Missing(Exception):
    """A tool or the network is not there: no verdict about the broker."""


class Broken(Exception):
    """What is kept here does not build."""


def need(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is not installed")


def fetch(path, *command):
    call(Missing, path, *command)


def build(path, *command):
    call(Broken, path, *command)


def call(complaint, path, *command):
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise complaint(f"{' '.join(command[:3])}: {' / '.join(said[-3:])}")


def directory(name, *sources):
    """The client's own build directory, with these sources in it."""
    path = BUILT / name
    path.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy(SOURCES / source, path)
    return path


def kcat(name):
    need("kcat")
    return [sys.executable, str(directory(name, "shared/harness.py", "kcat/client.py") / "client.py")]


def node(name):
    need("node", "npm")
    path = directory(name, f"{name}/client.js", f"{name}/package.json")
    if not (path / "node_modules" / name).is_dir():
        fetch(path, "npm", "install", "--silent", "--no-audit", "--no-fund")
    return ["node", str(path / "client.js")]


def python(name):
    path = directory(name, "shared/harness.py", f"{name}/client.py")
    wanted, have = SOURCES / name / "requirements.txt", path / "requirements.txt"
    if not have.exists() or have.read_text() != wanted.read_text():
        fetch(path, sys.executable, "-m", "venv", "venv")
        fetch(path, "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted))
        shutil.copy(wanted, have)
    return [str(path / "venv/bin/python"), str(path / "client.py")]


def go(name):
    need("go")
    path = directory(name, "shared/harness.go", f"{name}/client.go", f"{name}/go.mod")
    fetch(path, "go", "mod", "tidy")
    build(path, "go", "build", "-o", "client", ".")
    return [str(path / "client")]


JAVA = {"java-4": "4.4.0", "java-3": "3.9.2"}


def java(name):
    need("java", "javac", "mvn")
    path = directory(name, "java/Client.java", "java/pom.xml")
    if not list(path.glob(f"libs/kafka-clients-{JAVA[name]}.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs", f"-Dkafka.version={JAVA[name]}")
    build(path, "javac", "-cp", "libs/*", "Client.java")
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{path}/libs/*:{path}", "Client", name]


def rust(name):
    cargo = os.environ.get("CARGO", "cargo")
    need(cargo, "cc", "c++", "make")  # of librdkafka
    path = directory(name, f"{name}/Cargo.toml")
    (path / "src").mkdir(exist_ok=True)
    shutil.copy(SOURCES / name / "src/main.rs", path / "src")
    fetch(path, cargo, "fetch", "--quiet")
    build(path, cargo, "build", "--quiet", "--target-dir", "target")
    return [str(path / "target/debug/client")]


CLIENTS = {
    "java-4": java,
    "java-3": java,
    "kafka-python": python,
    "aiokafka": python,
    "confluent-kafka": python,
    "franz-go": go,
    "sarama": go,
    "kafka-go": go,
    "rdkafka": rust,
    "kafkajs": node,
    "kcat": kcat,
}


def prepare(name):
    """The command that runs a client's scenarios.

    Raises Missing where the machine cannot have it, Broken where our program is wrong.
    """
    return CLIENTS[name](name)
