"""Compacted topics: of each key the last record is left, for every client, before and after a crash."""

import random
import time

import pytest

import batches
from apis import EARLIEST, LATEST, Api
from batches import NOW, Record
from clients import CLIENTS
from errors import NONE

QUICK = ("--set", "log.cleaner.backoff.ms=50ms", "--set", "shards.checkpoint.interval.ms=200ms")
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": 20_000, "min.cleanable.dirty.ratio": 0.01}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
KEYS = 30


def left(api, topic):
    """Records that the broker still has."""
    return sum(batch.count for batch in api.read(topic, api.offset(topic, EARLIEST)))


def settled(api, topic, most):
    """Waits until no more than `most` records are left, and compaction has come to rest."""
    seen = []

    def is_settled():
        seen.append(left(api, topic))
        time.sleep(0.2)
        return len(seen) > 15 and seen[-1] <= most and len(set(seen[-15:])) == 1

    api.until(is_settled, f"compaction leaves {seen}")
    return seen[-1]


def rounds(source, count, codec):
    """Records over the same keys again and again; values as large as make several segments."""
    return [
        Record(b"key %d" % source.randrange(KEYS), b"%s %d " % (codec.encode(), n) + source.randbytes(120), (("h", b"x"),), NOW + n)
        for n in range(count)
    ]


def latest(records):
    return {record.key: (record.value, record.headers, record.timestamp) for record in records}


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_a_stock_consumer_finds_the_last_value_of_each_key_also_after_a_crash(start, data, client):
    one, source = CLIENTS[client], random.Random(1)
    broker = start(data, *QUICK)
    sent = []
    with Api(broker.address) as api:
        api.create_topic("t", configs=COMPACTED)
    for round_number in range(2):
        for codec in CODECS:
            new = rounds(source, 300, codec)
            # An idempotent producer's last batch stays, empty if need be.
            one.produce(broker.address, "t", new, codec=codec, idempotent=codec in ("none", "zstd"))
            sent += new
        with Api(broker.address) as api:
            assert api.offset("t", LATEST) == len(sent)
            # What the active segment holds, and one record of each key.
            count = settled(api, "t", len(sent) // 2)
            assert api.offset("t", EARLIEST) == 0
        found = one.consume(broker.address, "t", "beginning", count)
        assert latest(found) == latest(sent)
        offsets = [record.offset for record in found]
        assert offsets == sorted(set(offsets)) and len(offsets) == count
        for record in found:
            original = sent[record.offset]
            assert (record.key, record.value, record.headers) == (original.key, original.value, original.headers)
        broker.kill()
        broker = start(data, *QUICK)
        again = one.consume(broker.address, "t", "beginning", count)
        assert [(r.offset, r.key, r.value) for r in again] == [(r.offset, r.key, r.value) for r in found]


def test_kills_amid_compaction_cost_no_key_its_last_value(start, data):
    source, expected = random.Random(2), {}
    for number in range(6):
        broker = start(data, *QUICK)
        with Api(broker.address) as api:
            if number == 0:
                api.create_topic("t", configs=COMPACTED)
            found = {r.key: r.value for batch in api.read("t") for r in batches.records(batch)}
            assert found == expected
            deadline = time.monotonic() + 0.3 + 0.2 * number
            while time.monotonic() < deadline:
                new = [Record(b"%d" % source.randrange(KEYS), source.randbytes(300)) for _ in range(10)]
                codec = source.choice(["none", "gzip"])
                assert api.produce("t", batches.build(new, codec), acks=1).error_code == NONE
                expected.update({record.key: record.value for record in new})
        broker.kill()
    broker = start(data, *QUICK)
    with Api(broker.address) as api:
        end = api.offset("t", LATEST)
        settled(api, "t", end // 3)
        found = {r.key: r.value for batch in api.read("t") for r in batches.records(batch)}
        assert found == expected


def test_a_tombstone_takes_its_key_away_and_goes_itself_after_its_time(start, data):
    broker = start(data, *QUICK)
    with Api(broker.address) as api:
        api.create_topic("t", configs={**COMPACTED, "delete.retention.ms": 1})

        def put(key, value):
            assert api.produce("t", batches.build([Record(key, value)])).error_code == NONE

        def keys():
            return {r.key for batch in api.read("t") for r in batches.records(batch)}

        put(b"gone", b"value")
        put(b"gone", None)
        put(b"stays", b"value")
        for number in range(3):
            # A pass needs something new; the first sets the horizon, the next takes the tombstone.
            for _ in range(30):
                put(b"filler", b"x" * 2_000)
            api.until(lambda: left(api, "t") < 25, "nothing is compacted")
        api.until(lambda: b"gone" not in keys() or put(b"filler", b"x" * 2_000), "the tombstone stays")
        assert keys() == {b"stays", b"filler"}


def test_look_ups_and_fetches_within_a_gap_lead_behind_it(start, data):
    broker = start(data, *QUICK)
    with Api(broker.address) as api:
        api.create_topic("t", configs=COMPACTED)
        for n in range(60):
            record = Record(b"%d" % (n % 3), b"x" * 1_500, (), NOW + n)
            assert api.produce("t", batches.build([record])).error_code == NONE
        settled(api, "t", 30)
        offsets = [r.offset for batch in api.read("t") for r in batches.records(batch)]
        assert len(offsets) < 30
        for n in range(60):
            expected = next(offset for offset in offsets if offset >= n)
            first = batches.split(api.fetch("t", n, partition_max_bytes=1).records)[0]
            assert first.base_offset + first.last_offset_delta >= n
            found = batches.records(first)
            assert not found or found[-1].offset == expected
            answer = api.list_offset("t", NOW + n)
            assert (answer.offset, answer.timestamp) == (expected, NOW + expected)


def test_a_producer_that_resends_after_compaction_and_a_crash_is_recognised(start, data):
    def send(api, sequence, value):
        header = {"producer_id": producer, "producer_epoch": epoch, "base_sequence": sequence}
        return api.produce("t", batches.build([Record(b"key", value)], **header))

    broker = start(data, *QUICK)
    with Api(broker.address) as api:
        api.create_topic("t", configs=COMPACTED)
        producer, epoch = api.producer_id()
        for sequence in range(40):
            assert send(api, sequence, b"%d" % sequence * 700).base_offset == sequence
        settled(api, "t", 25)
    broker.kill()
    with Api(start(data, *QUICK).address) as api:
        again = send(api, 37, b"37" * 700)
        assert (again.error_code, again.base_offset) == (NONE, 37)
        assert send(api, 40, b"new").base_offset == 40


def test_a_topic_that_compacts_and_deletes_does_both(start, data):
    broker = start(data, *QUICK, "--set", "log.retention.check.interval.ms=100")
    with Api(broker.address) as api:
        api.create_topic("t", configs={**COMPACTED, "cleanup.policy": "compact,delete", "retention.ms": -1, "retention.bytes": 60_000})
        for n in range(100):
            # One half supersedes itself, the other half is more than the topic may keep.
            key = b"0" if n % 2 else b"%d" % n
            assert api.produce("t", batches.build([Record(key, b"x" * 3_000)])).error_code == NONE
        api.until(lambda: api.offset("t", EARLIEST) > 0, "nothing is deleted")
        settled(api, "t", 40)
        first = api.offset("t", EARLIEST)
        kept = {r.key for batch in api.read("t", first) for r in batches.records(batch)}
        assert b"0" in kept and b"98" in kept and b"2" not in kept
