"""Kafka Connect, unmodified, from Maven Central: lines of one file arrive in another by way of the broker, with one
standalone worker and with a group of workers. Skipped where Java or Maven is missing."""

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from test_groups import committed
from test_other_languages import directory, fetch, need

WAIT_S = 240.0  # only so that a worker that hangs fails its test
STANDALONE = "org.apache.kafka.connect.cli.ConnectStandalone"
DISTRIBUTED = "org.apache.kafka.connect.cli.ConnectDistributed"
TEXT = "org.apache.kafka.connect.storage.StringConverter"
RETENTION_MS = "987654321"  # said by nobody else: a topic that has it was created by Connect
ENDED_BY_SIGTERM = 128 + signal.SIGTERM


class Worker:
    """A worker as a process; `settings` by the name of their file, the worker's own first."""

    def __init__(self, path, at, name, settings):
        at.mkdir(exist_ok=True)
        self.log, files = at / "connect.log", []
        for title, pairs in settings.items():
            files.append(at / f"{title}.properties")
            files[-1].write_text("".join(f"{key}={value}\n" for key, value in pairs.items()))
        command = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{path}/libs/*", name, *map(str, files)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=at)

    def until(self, condition, complaint):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, f"the worker has ended\n{self._end_of_log()}"
            assert time.monotonic() < deadline, f"{complaint}\n{self._end_of_log()}"
            time.sleep(0.1)

    def _end_of_log(self):
        return self.log.read_text(errors="replace")[-4000:]

    def configure(self, connector):
        """Gives the worker a connector."""
        body = {key: str(value) for key, value in connector.items()}
        self.until(lambda: self._ask("PUT", f"{connector['name']}/config", body), "the worker takes no connector")

    def offsets(self, connector):
        """What the connector has committed: the values of one offset, or an empty set."""
        found = (self._ask("GET", f"{connector['name']}/offsets") or {}).get("offsets", [])
        return set(found[0]["offset"].values()) if found else set()

    def _ask(self, method, path, body=None):
        """The answer by HTTP, None from a worker that is not ready."""
        served = re.search(r"REST server listening at (http://[0-9.:]+/)", self.log.read_text(errors="replace"))
        if not served:
            return None
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{served[1]}connectors/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            assert error.code in (404, 409, 500, 503), error.read()  # not up yet, or a rebalance
            return None
        except OSError as error:
            raise AssertionError(f"{method} {path}: {error}\n{self._end_of_log()}") from error

    def stop(self):
        """SIGTERM, on which a worker commits what it has done; returns the exit status as a shell would."""
        self.process.terminate()
        status = self.process.wait(WAIT_S)
        return 128 - status if status < 0 else status

    def kill(self):
        self.process.kill()
        self.process.wait()


class Files:
    """The file that is read, the file that is written, the topic between them."""

    def __init__(self, at, new_name):
        self.read, self.written, self.lines = at / "read.txt", at / "written.txt", []
        self.topic, self.source_name, self.sink_name = new_name(), new_name(), new_name()
        self.source = {
            "name": self.source_name,
            "connector.class": "FileStreamSource",
            "file": self.read,
            "topic": self.topic,
            "topic.creation.default.partitions": 1,
            "topic.creation.default.replication.factor": 1,
            "topic.creation.default.retention.ms": RETENTION_MS,
        }
        self.sink = {
            "name": self.sink_name,
            "connector.class": "FileStreamSink",
            "file": self.written,
            "topics": self.topic,
            # The topic is for the source connector to create, and soon found.
            "consumer.override.allow.auto.create.topics": "false",
            "consumer.override.metadata.max.age.ms": 500,
            "consumer.override.session.timeout.ms": 6000,  # the least that brokers grant: a killed one leaves soon
        }

    def append(self, count):
        new = [f"line {number}" for number in range(len(self.lines), len(self.lines) + count)]
        self.lines.extend(new)
        with self.read.open("a") as file:
            file.writelines(f"{line}\n" for line in new)

    def arrived(self):
        return self.written.read_text().splitlines() if self.written.exists() else []

    def all_arrived(self):
        return set(self.arrived()) >= set(self.lines)


@pytest.fixture
def files(tmp_path, new_name):
    return Files(tmp_path, new_name)


@pytest.fixture
def worker(address, tmp_path):
    """Starts a worker: `worker(STANDALONE, "one", settings, **connectors)`."""
    need("java", "mvn")
    path = directory("connect", "connect/pom.xml")
    if not list(path.glob("libs/connect-file-*.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
    started = []

    def start(kind, name, settings, **connectors):
        common = {
            "bootstrap.servers": address,
            "key.converter": TEXT,
            "value.converter": TEXT,
            "offset.flush.interval.ms": 500,
            "listeners": "http://127.0.0.1:0",
        }
        started.append(Worker(path, tmp_path / name, kind, {"worker": {**common, **settings}, **connectors}))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def retention_ms(api, topic):
    asked = [{"kind": 2, "name": topic, "keys": ["retention.ms"]}]
    return api.call("DescribeConfigs", 4, resources=asked).results[0].configs[0].value


def test_kafka_connect_carries_lines_from_file_to_file_and_goes_on_after_a_restart(api, worker, files, tmp_path):
    def start():
        settings = {"offset.storage.file.filename": tmp_path / "offsets"}
        return worker(STANDALONE, "standalone", settings, source=files.source, sink=files.sink)

    files.append(1000)
    first = start()
    first.until(files.all_arrived, "the first lines do not arrive")
    files.append(1000)
    first.until(files.all_arrived, "appended lines do not arrive")
    assert first.stop() == ENDED_BY_SIGTERM
    assert retention_ms(api, files.topic) == RETENTION_MS
    group = f"connect-{files.sink_name}"
    assert committed(api, group, files.topic).offset == len(files.lines)

    files.append(1000)
    second = start()
    second.until(files.all_arrived, "lines of after the restart do not arrive")
    assert second.stop() == ENDED_BY_SIGTERM
    assert files.arrived() == files.lines  # in order, none twice: both connectors kept their offsets
    assert [value.decode() for value in api.values(files.topic)] == files.lines
    assert committed(api, group, files.topic).offset == len(files.lines)


def test_kafka_connect_workers_form_a_group_and_one_takes_over_from_a_killed_one(worker, files, new_name):
    settings = {
        "group.id": new_name(),
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1000,
        "scheduled.rebalance.max.delay.ms": 0,  # the tasks of a killed worker do not wait for it
    }
    for kind in ("config", "offset", "status"):
        settings |= {f"{kind}.storage.topic": new_name(), f"{kind}.storage.replication.factor": 1}
    settings |= {"offset.storage.partitions": 2, "status.storage.partitions": 2}

    files.append(1000)
    first = worker(DISTRIBUTED, "first", settings)
    first.configure(files.source)
    first.configure(files.sink)
    first.until(files.all_arrived, "the first lines do not arrive")
    # With everything committed nothing comes twice after the kill, though Connect promises at least once only.
    first.until(lambda: first.offsets(files.source) == {files.read.stat().st_size}, "the source does not commit")
    first.until(lambda: first.offsets(files.sink) == {len(files.lines)}, "the sink does not commit")
    first.kill()
    files.append(1000)
    second = worker(DISTRIBUTED, "second", settings)  # it knows the connectors and how far they came from topics alone
    second.until(files.all_arrived, "lines of after the kill do not arrive")
    second.stop()
    assert files.arrived() == files.lines
