"""Three clients that nobody here wrote, behind one small interface: produce these, consume those."""

import json
import shutil
import subprocess
import time
from collections import namedtuple

import confluent_kafka
import kafka
import pytest

from batches import Record

WAIT_S = 120.0  # only so that a client which waits for ever fails its test
SIZE_MAX = 8 << 20
Time = namedtuple("Time", "ms")  # a place to consume from, beside "beginning", "end" and an offset


class Refused(Exception):
    """The broker's error for a record, as the client says it."""


class KafkaPython:
    """kafka-python; it infers the broker's release from the ranges that ApiVersions tells."""

    name = "kafka-python"

    def produce(self, address, topic, records, acks="all", codec="none", partition=0, idempotent=False):
        producer = kafka.KafkaProducer(
            bootstrap_servers=address,
            acks=acks if acks == "all" else int(acks),
            compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent,
            max_request_size=SIZE_MAX,
        )
        try:
            sent = [
                producer.send(
                    topic, value=r.value, key=r.key, headers=list(r.headers), partition=partition, timestamp_ms=r.timestamp
                )
                for r in records
            ]
            producer.flush(timeout=WAIT_S)
            for one in sent:
                one.get(timeout=WAIT_S)
        except kafka.errors.KafkaError as error:
            raise Refused(str(error) + type(error).__name__) from error
        finally:
            producer.close()

    def consume(self, address, topic, start, count, partition=0):
        place = kafka.TopicPartition(topic, partition)
        consumer = kafka.KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, max_partition_fetch_bytes=SIZE_MAX)
        try:
            consumer.assign([place])
            if start == "beginning":
                consumer.seek_to_beginning(place)
            elif start == "end":
                consumer.seek_to_end(place)
            elif isinstance(start, Time):
                consumer.seek(place, consumer.offsets_for_times({place: start.ms})[place].offset)
            else:
                consumer.seek(place, start)
            found, deadline = [], time.monotonic() + WAIT_S
            while len(found) < count and time.monotonic() < deadline:
                for r in consumer.poll(timeout_ms=500).get(place, []):
                    found.append(Record(r.key, r.value, tuple(r.headers), r.timestamp, r.offset))
            return found
        finally:
            consumer.close()


class Confluent:
    """confluent-kafka, which is librdkafka."""

    name = "confluent-kafka"

    def produce(self, address, topic, records, acks="all", codec="none", partition=0, idempotent=False):
        settings = {
            "bootstrap.servers": address,
            "acks": acks,
            "compression.type": codec,
            "enable.idempotence": idempotent,
            "linger.ms": 5,
            "message.max.bytes": SIZE_MAX,
            "message.timeout.ms": int(WAIT_S * 1000),
        }
        producer, errors = confluent_kafka.Producer(settings), []
        done = lambda error, _: errors.append(error) if error else None  # noqa: E731
        for r in records:
            options = {} if partition is None else {"partition": partition}
            producer.produce(
                topic, r.value, r.key, headers=list(r.headers), timestamp=r.timestamp, on_delivery=done, **options
            )
        assert producer.flush(WAIT_S) == 0, "not everything was delivered"
        if errors:
            raise Refused(str(errors[0]))

    def consume(self, address, topic, start, count, partition=0):
        settings = {
            "bootstrap.servers": address,
            "group.id": "unused: partitions are assigned by hand",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.max.bytes": SIZE_MAX,
            "auto.offset.reset": "error",
        }
        consumer = confluent_kafka.Consumer(settings)
        try:
            names = {"beginning": confluent_kafka.OFFSET_BEGINNING, "end": confluent_kafka.OFFSET_END}
            if isinstance(start, Time):
                asked = confluent_kafka.TopicPartition(topic, partition, start.ms)
                offset = consumer.offsets_for_times([asked], timeout=WAIT_S)[0].offset
            else:
                offset = names.get(start, start)
            consumer.assign([confluent_kafka.TopicPartition(topic, partition, offset)])
            found, deadline = [], time.monotonic() + WAIT_S
            while len(found) < count and time.monotonic() < deadline:
                m = consumer.poll(0.5)
                if m is None:
                    continue
                assert not m.error(), m.error()
                found.append(Record(m.key(), m.value(), tuple(m.headers() or ()), m.timestamp()[1], m.offset()))
            return found
        finally:
            consumer.close()


class Kcat:
    """kcat: lines of text; its records take the time of their sending."""

    name = "kcat"

    def produce(self, address, topic, records, acks="all", codec="none", partition=0, idempotent=False):
        """Headers are those of the first record; all values are null, or none is."""
        command = ["-P", "-b", address, "-t", topic, "-K", "\t", "-z", codec, "-X", f"acks={acks}"]
        command += ["-X", f"message.max.bytes={SIZE_MAX}", "-X", f"enable.idempotence={str(idempotent).lower()}"]
        command += [] if partition is None else ["-p", str(partition)]
        for name, value in records[0].headers:
            command += ["-H", f"{name}={value.decode()}"]
        command += ["-Z"] if records[0].value is None else []
        lines = b"".join((r.key or b"") + b"\t" + (r.value or b"") + b"\n" for r in records)
        done = self._run(command, lines)
        if done.returncode != 0 or b"ERROR" in done.stderr:
            raise Refused(done.stderr.decode())

    def consume(self, address, topic, start, count, partition=0):
        place = f"s@{start.ms}" if isinstance(start, Time) else str(start)
        command = ["-C", "-b", address, "-t", topic, "-p", str(partition), "-o", place, "-c", str(count), "-J", "-q"]
        done = self._run(command)
        assert done.returncode == 0, done.stderr.decode()
        return [self._record(json.loads(line)) for line in done.stdout.splitlines()]

    @staticmethod
    def _record(one):
        def raw(text):
            return None if text is None else text.encode()

        flat = one.get("headers", [])
        headers = tuple((name, raw(value)) for name, value in zip(flat[::2], flat[1::2]))
        return Record(raw(one["key"]), raw(one["payload"]), headers, one["ts"], one["offset"])

    @staticmethod
    def _run(command, lines=b""):
        if shutil.which("kcat") is None:
            pytest.skip("kcat is not installed")
        return subprocess.run(["kcat", *command], input=lines, capture_output=True, timeout=WAIT_S, check=False)


CLIENTS = {one.name: one for one in (Kcat(), KafkaPython(), Confluent())}
