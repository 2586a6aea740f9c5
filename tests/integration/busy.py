"""What else a broker does while it is killed: retention, DeleteRecords, compaction, topics created and deleted.

usage: busy.py HOST:PORT FILE    works until FILE is there, then checks all that it was told, and prints what it did

Every record is produced with acks=all and counts once it is acknowledged. A stock client; it reconnects by itself.
"""

import os
import random
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

KEPT, COMPACTED = "busy-kept", "busy-compacted"
SETTINGS = {
    KEPT: {"retention.bytes": str(2 << 20), "segment.bytes": str(1 << 20), "retention.ms": "-1"},
    COMPACTED: {
        "cleanup.policy": "compact",
        "segment.bytes": str(256 << 10),
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "0",
    },
}
KEYS = 200
WAIT_S = 120.0


class Busy:
    def __init__(self, address):
        self.address = address
        self.admin = AdminClient({"bootstrap.servers": address})
        self.producer = Producer({"bootstrap.servers": address, "acks": "all", "linger.ms": 2, "enable.idempotence": True})
        self.acknowledged = {KEPT: {}, COMPACTED: {}}  # offset to (key, value)
        self.number = self.deleted_topics = self.deleted_below = 0
        self.unsure = set()  # topics whose deletion was not answered

    def attempt(self, futures):
        """Whether what was asked is known to be done."""
        try:
            for future in futures.values():
                future.result(timeout=WAIT_S)
            return True
        except (KafkaException, TimeoutError):
            return False

    def names(self):
        """Names of all topics, once there is a broker to say them."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return set(self.admin.list_topics(timeout=5).topics)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise

    def create(self, name):
        topic = NewTopic(name, 1, 1, config=SETTINGS.get(name, {}))
        while name not in self.names():
            self.attempt(self.admin.create_topics([topic]))

    def produce(self, topic, key, value):
        def delivered(error, message):
            if error is None and topic in self.acknowledged:
                self.acknowledged[topic][message.offset()] = (message.key(), message.value())

        self.producer.produce(topic, key=key, value=value, partition=0, on_delivery=delivered)

    def step(self):
        self.number += 1
        for _ in range(40):
            self.produce(KEPT, None, os.urandom(random.choice([20, 400, 9_000])))
            key = b"key %d" % random.randrange(KEYS)
            self.produce(COMPACTED, key, b"%d " % self.number + os.urandom(random.choice([10, 700])))
        if self.number % 5 == 0:
            name = f"busy-gone-{self.number}"
            self.create(name)
            for _ in range(10):
                self.produce(name, None, os.urandom(50_000))
            self.producer.poll(0.05)
            if self.attempt(self.admin.delete_topics([name])):
                self.deleted_topics += 1
            else:
                self.unsure.add(name)
        if self.number % 7 == 0 and self.acknowledged[KEPT]:
            below = sorted(self.acknowledged[KEPT])[-20:][0]
            if self.attempt(self.admin.delete_records([TopicPartition(KEPT, 0, below)])):
                self.deleted_below = max(self.deleted_below, below)
        self.producer.poll(0.05)

    def read(self, topic):
        """Earliest offset, and offset to (key, value) of all records."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "busy", "enable.auto.commit": False})
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S)
        consumer.assign([TopicPartition(topic, 0, first)])
        found, deadline = {}, time.monotonic() + WAIT_S
        while consumer.position([TopicPartition(topic, 0)])[0].offset < end:
            assert time.monotonic() < deadline, f"{topic}: read up to {max(found, default=first)} of {end}"
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                found[message.offset()] = (message.key(), message.value())
        consumer.close()
        return first, found

    def check(self):
        first, found = self.read(KEPT)
        assert first >= self.deleted_below, f"{KEPT} starts at {first}, records below {self.deleted_below} were deleted"
        assert sorted(found) == list(range(first, first + len(found))), f"{KEPT} has gaps"
        for offset, record in self.acknowledged[KEPT].items():
            assert offset < first or found.get(offset) == record, f"{KEPT}: the record at {offset} is lost or changed"
        _, left = self.read(COMPACTED)
        latest = {key: offset for offset, (key, _) in sorted(self.acknowledged[COMPACTED].items())}
        for offset, record in left.items():
            known = self.acknowledged[COMPACTED].get(offset)
            assert known in (None, record), f"{COMPACTED}: the record at {offset} has changed"
        newest = {key: offset for offset, (key, _) in sorted(left.items())}
        for key, offset in latest.items():
            assert newest.get(key, -1) >= offset, f"{COMPACTED}: the record of {key} at {offset} is gone"
        there = [name for name in self.names() if name.startswith("busy-gone-") and name not in self.unsure]
        assert not there, f"deleted topics are back: {there}"
        return (
            f"{len(self.acknowledged[KEPT])} records kept by size, now from {first} on; "
            f"{len(self.acknowledged[COMPACTED])} compacted to {len(left)}; "
            f"records below {self.deleted_below} deleted; {self.deleted_topics} topics created and deleted"
        )


def main():
    address, end = sys.argv[1:]
    busy = Busy(address)
    for topic in SETTINGS:
        busy.create(topic)
    while not os.path.exists(end):
        busy.step()
    assert busy.producer.flush(WAIT_S) == 0, "records are never acknowledged"
    print(busy.check())


main()
