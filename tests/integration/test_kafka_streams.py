"""Kafka Streams, unmodified, from Maven Central: words are counted by way of a repartition topic, into a store with a
changelog topic. Skipped where Java or Maven is missing."""

import collections
import queue
import random
import subprocess
import threading
import time

import confluent_kafka
import pytest

from apis import EARLIEST, LATEST
from test_groups import committed
from test_other_languages import directory, fetch, need

WAIT_S = 120.0  # only so that an application that hangs fails its test
PARTITIONS = 2
LINES, WORDS_PER_LINE, VOCABULARY = 500, 8, 200


class Application:
    """The word count as a process."""

    def __init__(self, path, state, log, *words):
        heap = ["-Xmx384m", "-XX:+UseSerialGC"]
        classes = ["-cp", "libs/*", "WordCount.java"]
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                ["java", *heap, *classes, *words[:-1], str(state), words[-1]],
                cwd=path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.log, self.restored, self._said = log, 0, queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self._said.put(line.split())
        self._said.put(["gone"])

    def _next(self, deadline):
        try:
            said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            said = ["silent"]
        assert said[0] not in ("gone", "silent") and said != ["state", "ERROR"], (said, self._end_of_log())
        if said[0] == "restored":
            self.restored += int(said[2])
        return said

    def _end_of_log(self):
        return self.log.read_text(errors="replace")[-4000:]

    def wait_for(self, *wanted):
        deadline = time.monotonic() + WAIT_S
        while self._next(deadline) != list(wanted):
            pass

    def counts(self):
        """What the state store holds, or None while partitions move."""
        self.process.stdin.write("store\n")
        self.process.stdin.flush()
        deadline, found = time.monotonic() + WAIT_S, {}
        while (said := self._next(deadline)) != ["end"]:
            if said == ["busy"]:
                return None
            if said[0] == "count":
                found[said[1]] = int(said[2])
        return found

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Returns the exit status."""
        self.process.stdin.close()
        return self.process.wait(WAIT_S)


@pytest.fixture
def application(address, new_topic, new_name, tmp_path):
    """Starts the word count: `application(state, kind)`; its topics and its id stay the same."""
    need("java", "javac", "mvn")
    path = directory("streams", "streams/pom.xml", "streams/WordCount.java")
    if not list(path.glob("libs/kafka-streams-*.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
    started = []

    def start(state, kind):
        names = start.id, start.input, start.output
        one = Application(path, tmp_path / state, tmp_path / "streams.log", address, *names, kind)
        started.append(one)
        return one

    start.id, start.input, start.output = new_name(), new_topic(PARTITIONS), new_topic(PARTITIONS)
    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def write(address, topic, numbers):
    """Writes lines of words; returns how often each word came."""
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "enable.idempotence": True})
    counts = collections.Counter()
    for number in range(LINES):
        words = [f"w{numbers.randrange(VOCABULARY)}" for _ in range(WORDS_PER_LINE)]
        counts.update(words)
        producer.produce(topic, " ".join(words), partition=number % PARTITIONS)
    assert producer.flush(WAIT_S) == 0
    return counts


def read(address, topic, wanted):
    """Reads from the beginning until the newest count of each word is as wanted, or for too long; returns the counts."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "unused", "enable.auto.commit": False})
    try:
        first = confluent_kafka.OFFSET_BEGINNING
        consumer.assign([confluent_kafka.TopicPartition(topic, one, first) for one in range(PARTITIONS)])
        found, deadline = {}, time.monotonic() + WAIT_S
        while found != wanted and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None:
                assert not message.error(), message.error()
                found[message.key().decode()] = int.from_bytes(message.value(), "big")
        return found
    finally:
        consumer.close()


def until(condition, complaint):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["persistent", "in memory"])
def test_kafka_streams_counts_words_and_takes_its_state_from_the_changelog_after_a_kill(api, address, application, kind):
    numbers = random.Random(4)
    repartition, changelog = f"{application.id}-words-repartition", f"{application.id}-counts-changelog"
    read_topics = application.input, repartition

    def ends(topic, which=LATEST):
        return [api.offset(topic, which, partition=one) for one in range(PARTITIONS)]

    def positions(topic):
        return [committed(api, application.id, topic, partition=one).offset for one in range(PARTITIONS)]

    first = application("first", kind)
    wanted = write(address, application.input, numbers)
    assert read(address, application.output, wanted) == wanted
    # With everything committed nothing is counted twice after the kill, though Streams promises at least once only.
    until(lambda: all(positions(one) == ends(one) for one in read_topics), "not committed")
    assert sum(ends(repartition)) == LINES * WORDS_PER_LINE
    # Streams deletes the records of a repartition topic that it has committed.
    until(lambda: ends(repartition, EARLIEST) == ends(repartition), "the repartition topic is not purged")
    until(lambda: sum(ends(changelog)) >= len(wanted), "too little in the changelog")
    first.kill()

    second = application("second", kind)  # an empty directory: the changelog is all there is
    second.wait_for("state", "RUNNING")
    until(lambda: second.counts() == wanted, "not the state of before the kill")
    assert second.restored > 0
    wanted += write(address, application.input, numbers)
    assert read(address, application.output, wanted) == wanted
    until(lambda: second.counts() == wanted, "the store and the output differ")
    assert second.stop() == 0
