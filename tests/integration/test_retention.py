"""Old data goes when it is told to, or when its topic says so, and stays gone."""

import time

import kafka
import pytest

import batches
from apis import EARLIEST, LATEST, Api
from batches import NOW, Record
from errors import (
    INVALID_TOPIC_EXCEPTION,
    NONE,
    OFFSET_OUT_OF_RANGE,
    POLICY_VIOLATION,
    UNKNOWN_TOPIC_OR_PARTITION,
)

MAX_TIMESTAMP = -3


def delete(api, topic, offset, version=2, partition=0):
    one = {"name": topic, "partitions": [{"index": partition, "offset": offset}]}
    return api.call("DeleteRecords", version, topics=[one]).topics[0].partitions[0]


@pytest.mark.parametrize("version", range(3))
def test_records_are_deleted_up_to_an_offset_in_every_version(api, topic, version):
    api.append(topic, *[b"%d" % n for n in range(10)])
    answer = delete(api, topic, 4, version)
    assert (answer.error_code, answer.low_watermark) == (NONE, 4)
    assert api.offset(topic, EARLIEST) == 4
    assert api.fetch(topic, 3).error_code == OFFSET_OUT_OF_RANGE
    assert api.values(topic, 4) == [b"%d" % n for n in range(4, 10)]
    assert delete(api, topic, 2, version).low_watermark == 4, "never back"
    assert delete(api, topic, -1, version).low_watermark == 10, "-1 is the high watermark"
    assert api.offset(topic, EARLIEST) == api.offset(topic, LATEST) == 10
    assert api.append(topic, b"goes on") == 10


def test_what_a_deletion_may_not_be(api, topic, new_topic):
    api.append(topic, b"one")
    for offset in (2, -2):
        answer = delete(api, topic, offset)
        assert (answer.error_code, answer.low_watermark) == (OFFSET_OUT_OF_RANGE, -1)
    assert delete(api, topic, 0, partition=7).error_code == UNKNOWN_TOPIC_OR_PARTITION
    assert delete(api, "nowhere", 0).error_code == UNKNOWN_TOPIC_OR_PARTITION
    compacted = new_topic(**{"cleanup.policy": "compact"})
    assert delete(api, compacted, 0).error_code == POLICY_VIOLATION
    api.call("FindCoordinator", 3, key="any")
    assert delete(api, "__consumer_offsets", 0).error_code in (INVALID_TOPIC_EXCEPTION, POLICY_VIOLATION)
    assert api.values(topic) == [b"one"]


def test_an_admin_client_deletes_records(address, api, topic):
    api.append(topic, *[b"%d" % n for n in range(10)])
    admin = kafka.KafkaAdminClient(bootstrap_servers=address)
    admin.delete_records({kafka.TopicPartition(topic, 0): 7})
    admin.close()
    assert api.offset(topic, EARLIEST) == 7


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_deleted_records_stay_deleted_after_any_end(start, data, how):
    for number in range(3):
        one = start(data)
        with Api(one.address) as api:
            if number == 0:
                api.create_topic("t")
            else:
                assert api.offset("t", EARLIEST) == number * 100 - 50
                assert len(api.values("t", number * 100 - 50)) == 50
            for at in range(0, 100, 10):
                api.append("t", *[b"x" * 5000] * 10)
            assert delete(api, "t", number * 100 + 50).error_code == NONE
        assert getattr(one, how)() in (0, None), one.log()


QUICK = ["--set", "log.retention.check.interval.ms=100", "--set", "shards.checkpoint.interval.ms=200"]


def logs(data):
    return sorted(data.glob("topics/*/*/*.log"))


def test_a_partition_keeps_retention_bytes_and_its_files_go(start, data):
    with Api(start(data, *QUICK).address) as api:
        api.create_topic("t", configs={"segment.bytes": 1 << 20, "retention.bytes": 3 << 20, "retention.ms": -1})
        for _ in range(40):
            api.append("t", b"x" * 250_000)
        api.until(lambda: api.offset("t", EARLIEST) > 0, "nothing was deleted")
        api.until(lambda: len(logs(data)) <= 5, "files remain")
        assert sum(path.stat().st_size for path in logs(data)) >= 3 << 20
        start_offset = api.offset("t", EARLIEST)
        assert len(api.values("t", start_offset)) == 40 - start_offset


def test_what_retention_deleted_stays_deleted_after_a_kill_and_what_it_kept_is_there(start, data):
    first = start(data, *QUICK)
    with Api(first.address) as api:
        api.create_topic("t", configs={"segment.bytes": 1 << 20, "retention.bytes": 3 << 20})
        for number in range(40):
            api.append("t", b"%d" % number + b"x" * 250_000)
        api.until(lambda: api.offset("t", EARLIEST) > 20, "too little was deleted")
        earliest = api.offset("t", EARLIEST)
    first.kill()
    with Api(start(data, "--set", "log.retention.check.interval.ms=3600000").address) as api:
        assert api.offset("t", EARLIEST) >= earliest and api.offset("t", LATEST) == 40
        kept = api.offset("t", EARLIEST)
        assert [int(value.rstrip(b"x")) for value in api.values("t", kept)] == list(range(kept, 40))
        assert api.fetch("t", kept - 1).error_code == OFFSET_OUT_OF_RANGE


def test_records_older_than_retention_ms_go_also_from_a_partition_at_rest(start, data):
    with Api(start(data, *QUICK).address) as api:
        api.create_topic("t", configs={"retention.ms": 60_000})
        now = int(time.time() * 1000)
        api.produce("t", batches.build([Record(None, b"old", timestamp=now - 120_000)]))
        api.until(lambda: api.offset("t", EARLIEST) == 1, "it is still there")
        api.create_topic("kept", configs={"retention.ms": 60_000})
        api.produce("kept", batches.build([Record(None, b"new", timestamp=now)]))
        api.create_topic("compacted", configs={"retention.ms": 1, "cleanup.policy": "compact"})
        api.produce("compacted", batches.build([Record(b"k", b"old", timestamp=now - 120_000)]))
        time.sleep(0.5)
        assert api.values("kept") == [b"new"] and api.values("compacted") == [b"old"]


def test_timestamps_in_the_future_do_not_keep_a_partition_for_ever(start, data):
    with Api(start(data, *QUICK).address) as api:
        year = 365 * 24 * 3_600_000
        configs = {"retention.ms": 500, "message.timestamp.after.max.ms": 2 * year}
        api.create_topic("t", configs=configs)
        future = int(time.time() * 1000) + year
        assert api.produce("t", batches.build([Record(None, b"later", timestamp=future)])).error_code == NONE
        api.until(lambda: api.offset("t", EARLIEST) == 1, "it is still there")


def test_the_time_of_the_append_decides_how_long_a_record_is_kept(start, data):
    with Api(start(data, *QUICK).address) as api:
        old = int(time.time() * 1000) - 120_000
        for name, of_time in (("by-append", "LogAppendTime"), ("by-creation", "CreateTime")):
            api.create_topic(name, configs={"retention.ms": 60_000, "message.timestamp.type": of_time})
            assert api.produce(name, batches.build([Record(None, b"v", timestamp=old)])).error_code == NONE
        api.until(lambda: api.offset("by-creation", EARLIEST) == 1, "the old record is still there")
        assert api.values("by-append") == [b"v"]


def test_the_largest_timestamp_is_found_among_records_that_can_be_seen(api, topic):
    for timestamp in [NOW + 5, NOW + 9, NOW + 7, NOW + 9, NOW + 1]:
        assert api.produce(topic, batches.build([Record(None, b"v", timestamp=timestamp)])).error_code == NONE
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.offset, found.timestamp) == (1, NOW + 9)
    delete(api, topic, 2)
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.offset, found.timestamp) == (3, NOW + 9)
    delete(api, topic, 4)
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.offset, found.timestamp) == (4, NOW + 1), "the largest ones are below the log start"
    delete(api, topic, 5)
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.error_code, found.offset, found.timestamp) == (NONE, -1, -1)
