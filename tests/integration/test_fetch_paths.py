"""Every way that bytes of a log take to a consumer gives the same bytes; and no consumer holds the broker's memory."""

import random
import re
import struct
import time

import kafka
import pytest

import batches
from apis import LATEST, Api
from errors import NONE

MIB = 1 << 20
SMALL_CACHE = ("--set", "shards.tail.cache.bytes.max=1MiB")
HELD_MAX = 2 * MIB  # what one connection may hold: an answer's memory, or two chunks of a file
STUCK = 100


def batches_of_many_sizes(seed):
    drawn = random.Random(seed)
    values = lambda: [drawn.randbytes(drawn.choice([10, 500, 3_000])) for _ in range(drawn.randint(1, 20))]
    return [batches.build(values()) for _ in range(40)]


def fill(api, topic, total, seed=1):
    """Produces at least `total` bytes; returns what a consumer has to get, without what the broker stamps."""
    prepared = batches_of_many_sizes(seed)
    drawn = random.Random(seed)
    stored, size = [], 0
    while size < total:
        one = drawn.choice(prepared)
        assert api.produce(topic, one, acks=1).error_code == NONE
        stored.append(unstamped(one))
        size += len(one)
    return stored


def unstamped(batch):
    """A batch without base offset and leader epoch."""
    return batch[8:12] + batch[16:]


def fetch_all(api, topic, start=0, **limits):
    """All batches from the one that holds `start`, as they came; every answer is whole batches."""
    end = api.offset(topic, LATEST)
    found, offset = [], start
    while offset < end:
        answer = api.fetch(topic, offset, **limits)
        assert answer.error_code == NONE, answer
        assert answer.records, f"nothing at {offset} of {end}"
        at = 0
        while at < len(answer.records):
            base, length = struct.unpack_from(">qi", answer.records, at)
            one = answer.records[at : at + 12 + length]
            assert len(one) == 12 + length, f"a cut batch at {base}"
            found.append(unstamped(one))
            offset = base + struct.unpack_from(">i", one, 23)[0] + 1
            at += len(one)
    return found


def counted(broker):
    """The counters that a broker logs when it stops."""
    assert broker.stop() == 0, broker.log()
    line = [line for line in broker.log().splitlines() if "counted: " in line][-1]
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)[,)]", line)}


@pytest.mark.parametrize("path", ["auto", "sendfile", "direct"])
def test_closed_segments_read_the_same_on_every_path(start, data, path):
    one = start(data, "--cores", 2, "--set", f"fetch.path={path}", *SMALL_CACHE)
    with Api(one.address) as api:
        api.create_topic("t", configs={"segment.bytes": MIB})
        stored = fill(api, "t", 12 * MIB)
        for limits in ({}, {"max_bytes": 300_000}, {"partition_max_bytes": 100_000}, {"partition_max_bytes": 1}):
            if limits.get("partition_max_bytes") == 1:
                middle = fetch_all(api, "t", 2_000, **limits)
                assert middle == stored[-len(middle) :], limits
            else:
                assert fetch_all(api, "t", **limits) == stored, limits
        consumer = kafka.KafkaConsumer("t", bootstrap_servers=one.address, auto_offset_reset="earliest")
        found, end = 0, api.offset("t", LATEST)
        while found < end:
            polled = consumer.poll(timeout_ms=10_000)
            assert polled, f"no more after {found} of {end} records"
            found += sum(len(records) for records in polled.values())
        consumer.close()
        assert found == end
    counts = counted(one)
    by_sendfile, directly = counts["fetch_sendfile_bytes"], counts["fetch_direct_bytes"]
    if path == "direct":
        assert by_sendfile == 0 and directly > 20 * MIB, counts
    if path == "sendfile":
        assert by_sendfile > 20 * MIB and counts["fetch_cache_hits"] > 0, counts
    if path == "auto":
        assert by_sendfile + directly > 20 * MIB, counts


@pytest.mark.parametrize("path", ["auto", "direct"])
def test_a_batch_above_every_limit_comes_from_disk_as_well(start, data, path):
    one = start(data, "--set", f"fetch.path={path}", *SMALL_CACHE)
    with Api(one.address) as api:
        api.create_topic("t", configs={"segment.bytes": 4 * MIB})
        batch = batches.build([random.Random(3).randbytes(900_000)])
        for _ in range(12):
            assert api.produce("t", batch).error_code == NONE
        for limits in ({"partition_max_bytes": 1}, {"partition_max_bytes": 100_000}, {"max_bytes": 100_000}):
            assert fetch_all(api, "t", **limits) == [unstamped(batch)] * 12, limits


def stuck_consumers(address, partitions):
    """Connections that ask for 50 MiB and never read."""
    asked = [{"index": index, "fetch_offset": 0, "partition_max_bytes": 50 * MIB} for index in range(partitions)]
    connections = [Api(address) for _ in range(STUCK)]
    for each in connections:
        each.send("Fetch", 12, max_bytes=50 * MIB, topics=[{"name": "t", "partitions": asked}])
    return connections


@pytest.mark.parametrize("settled", [True, False], ids=["on disk", "in memory"])
def test_consumers_that_do_not_read_hold_little_memory_and_hinder_nobody(start, data, settled):
    one = start(data, "--cores", 2, *(SMALL_CACHE if settled else ()))
    with Api(one.address) as api:
        api.create_topic("t", 4, configs={"segment.bytes": 6 * MIB})
        batch = batches.build([random.Random(3).randbytes(400_000)])
        for _ in range(40):
            for index in range(4):
                assert api.produce("t", batch, partition=index, acks=1).error_code == NONE
        time.sleep(1)  # segments are closed in the background
        before = one.resident_bytes()
        stuck = stuck_consumers(one.address, 4)
        for _ in range(6):
            time.sleep(0.5)
            held = one.resident_bytes() - before
            assert held < STUCK * HELD_MAX, f"{held / STUCK / 1024:.0f} KiB for each stuck connection"
        # Others produce and consume meanwhile.
        assert api.append("t", b"live") == 40
        assert api.values("t", 40) == [b"live"]
        assert len(api.fetch("t", 0, partition=3, partition_max_bytes=50 * MIB).records) >= 400_000
        # And whoever goes on gets all that was promised.
        answer = stuck[0].receive_frame()
        assert len(answer) > (20 * MIB if settled else 400_000), len(answer)
        for each in stuck:
            each.__exit__()
