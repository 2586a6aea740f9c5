"""Members of a group, by librdkafka in either protocol, each in a thread of its own."""

import threading
import time
import uuid

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

WAIT_S = 120.0  # only so that what waits for ever fails its test


class Member:
    """A consumer that polls in a thread of its own."""

    def __init__(self, address, group, topics, **config):
        defaults = {
            "bootstrap.servers": address,
            "group.id": group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        self.consumer = confluent_kafka.Consumer(defaults | config)
        self.values, self.errors, self._owned = [], [], []
        self._stop = threading.Event()
        self.consumer.subscribe(topics)
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self):
        # The client's own calls stay in this thread: two of them at once can wait for each other.
        while not self._stop.is_set():
            message = self.consumer.poll(0.05)
            self._owned = sorted((one.topic, one.partition) for one in self.consumer.assignment())
            if message is None:
                continue
            if message.error():
                self.errors.append(message.error())
            else:
                self.values.append((message.partition(), message.offset(), message.value()))

    def partitions(self):
        return self._owned

    def stop_polling(self):
        self._stop.set()
        self._thread.join()

    def close(self):
        self.stop_polling()
        self.consumer.close()


@pytest.fixture
def member():
    members = []

    def make(*args, **config):
        members.append(Member(*args, **config))
        return members[-1]

    yield make
    for one in members:
        one.stop_polling()
        try:
            one.consumer.close()
        except RuntimeError:
            pass  # it was closed by its test


def until(condition, complaint):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.05)


def new_group():
    return f"g-{uuid.uuid4().hex[:8]}"


def create(address, name, partitions):
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([confluent_kafka.admin.NewTopic(name, partitions, 1)])[name].result(timeout=WAIT_S)
    return admin


def produce(address, topic, count, first=0):
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for number in range(first, first + count):
        producer.produce(topic, str(number), partition=number % 4)
    assert producer.flush(WAIT_S) == 0


def share(members, total):
    """Waits until the members have `total` partitions between them, as evenly as can be, none twice."""

    def is_shared():
        owned = [one.partitions() for one in members]
        flat = [place for places in owned for place in places]
        counts = [len(places) for places in owned]
        return len(flat) == len(set(flat)) == total and max(counts) - min(counts) <= 1

    until(is_shared, lambda: f"{[one.partitions() for one in members]} {[one.errors for one in members]}")
