"""Kafka Connect as one standalone worker, unmodified, from Maven Central: lines of one file arrive in another by way of
the broker. Skipped where Java or Maven is missing."""

import signal
import subprocess
import time

import pytest

from test_groups import committed
from test_other_languages import directory, fetch, need

WAIT_S = 90.0  # only so that a worker that hangs fails its test
WORKER = "org.apache.kafka.connect.cli.ConnectStandalone"
RETENTION_MS = "987654321"  # said by nobody else: a topic that has it was created by Connect
ENDED_BY_SIGTERM = 128 + signal.SIGTERM


class Worker:
    """One worker with its connectors; `settings` by the name of their file, the worker's own first."""

    def __init__(self, path, at, settings):
        self.log, files = at / "connect.log", []
        for name, pairs in settings.items():
            files.append(at / f"{name}.properties")
            files[-1].write_text("".join(f"{key}={value}\n" for key, value in pairs.items()))
        command = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{path}/libs/*", WORKER, *map(str, files)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=at)

    def until(self, condition, complaint):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            said = self.log.read_text(errors="replace")[-4000:]
            assert self.process.poll() is None, f"the worker has ended\n{said}"
            assert time.monotonic() < deadline, f"{complaint}\n{said}"
            time.sleep(0.1)

    def stop(self):
        """SIGTERM, on which a worker commits what it has done; returns the exit status as a shell would."""
        self.process.terminate()
        status = self.process.wait(WAIT_S)
        return 128 - status if status < 0 else status


@pytest.fixture
def worker(address, new_name, tmp_path):
    """Starts the worker: `worker()`. Its files, topic and connectors stay the same."""
    need("java", "mvn")
    path = directory("connect", "connect/pom.xml")
    if not list(path.glob("libs/connect-file-*.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
    started = []

    def start():
        text = "org.apache.kafka.connect.storage.StringConverter"
        settings = {
            "worker": {
                "bootstrap.servers": address,
                "key.converter": text,
                "value.converter": text,
                "offset.storage.file.filename": tmp_path / "offsets",
                "offset.flush.interval.ms": 500,
                "listeners": "http://127.0.0.1:0",
            },
            "source": {
                "name": start.source,
                "connector.class": "FileStreamSource",
                "file": start.read,
                "topic": start.topic,
                "topic.creation.default.partitions": 1,
                "topic.creation.default.replication.factor": 1,
                "topic.creation.default.retention.ms": RETENTION_MS,
            },
            "sink": {
                "name": start.sink,
                "connector.class": "FileStreamSink",
                "file": start.written,
                "topics": start.topic,
                # The topic is for the source connector to create, and soon found.
                "consumer.override.allow.auto.create.topics": "false",
                "consumer.override.metadata.max.age.ms": 500,
            },
        }
        started.append(Worker(path, tmp_path, settings))
        return started[-1]

    start.topic, start.source, start.sink = new_name(), new_name(), new_name()
    start.read, start.written = tmp_path / "read.txt", tmp_path / "written.txt"
    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def retention_ms(api, topic):
    asked = [{"kind": 2, "name": topic, "keys": ["retention.ms"]}]
    return api.call("DescribeConfigs", 4, resources=asked).results[0].configs[0].value


def test_kafka_connect_carries_lines_from_file_to_file_and_goes_on_after_a_restart(api, worker):
    lines = []

    def append(count):
        new = [f"line {number}" for number in range(len(lines), len(lines) + count)]
        lines.extend(new)
        with worker.read.open("a") as file:
            file.writelines(f"{line}\n" for line in new)

    def arrived():
        return worker.written.exists() and len(worker.written.read_text().splitlines()) >= len(lines)

    append(1000)
    first = worker()
    first.until(arrived, "the first lines do not arrive")
    append(1000)
    first.until(arrived, "appended lines do not arrive")
    assert first.stop() == ENDED_BY_SIGTERM
    assert retention_ms(api, worker.topic) == RETENTION_MS
    group = f"connect-{worker.sink}"
    assert committed(api, group, worker.topic).offset == len(lines)

    append(1000)
    second = worker()
    second.until(arrived, "lines of after the restart do not arrive")
    assert second.stop() == ENDED_BY_SIGTERM
    assert worker.written.read_text().splitlines() == lines  # in order, none twice: both connectors kept their offsets
    assert [value.decode() for value in api.values(worker.topic)] == lines
    assert committed(api, group, worker.topic).offset == len(lines)
