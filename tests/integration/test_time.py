"""Time: whose clock records carry, how far it may be off, and offsets asked for by it."""

import time

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, OffsetSpec

import batches
from apis import EARLIEST, LATEST
from batches import NOW, Record
from errors import INVALID_REQUEST, INVALID_TIMESTAMP, NONE, UNSUPPORTED_VERSION

MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED = -3, -4, -5
HOUR_MS = 3_600_000
TIMES = [30, 10, 50, 20, 50, 40]  # milliseconds after NOW, in the order of appends


def append_times(api, topic, codec="none", each=1):
    """Batches of `each` records."""
    for at in range(0, len(TIMES), each):
        records = [Record(b"k", b"v", (), NOW + ms) for ms in TIMES[at : at + each]]
        assert api.produce(topic, batches.build(records, codec)).error_code == NONE


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("each", [1, 3, 6])
def test_a_time_is_that_of_the_first_record_at_or_after_it_wherever_batches_end(api, topic, each, codec):
    append_times(api, topic, codec, each)
    for asked in range(0, 52):
        expected = next((offset for offset, ms in enumerate(TIMES) if ms >= asked), -1)
        found = api.list_offset(topic, NOW + asked)
        time_ms = NOW + TIMES[expected] if expected >= 0 else -1
        assert (found.error_code, found.offset, found.timestamp) == (NONE, expected, time_ms), asked


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("each", [1, 2, 3, 6])
def test_the_largest_timestamp_is_that_of_the_first_record_that_has_it(api, topic, each, codec):
    append_times(api, topic, codec, each)
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.error_code, found.offset, found.timestamp) == (NONE, 2, NOW + 50)


def test_an_empty_partition_has_no_largest_timestamp(api, topic):
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.error_code, found.offset, found.timestamp) == (NONE, -1, -1)


# Special time, first version that knows it, and the offset in a partition of six records.
@pytest.mark.parametrize(
    "asked, first, offset", [(LATEST, 1, 6), (EARLIEST, 1, 0), (MAX_TIMESTAMP, 7, 2), (EARLIEST_LOCAL, 8, 0), (LATEST_TIERED, 9, -1)]
)
def test_a_special_time_is_known_from_its_version_on(api, topic, asked, first, offset):
    append_times(api, topic)
    for version in range(1, 10):
        found = api.list_offset(topic, asked, version)
        if version < first:
            assert (found.error_code, found.offset) == (UNSUPPORTED_VERSION, -1), version
        else:
            assert (found.error_code, found.offset) == (NONE, offset), version


def test_a_special_time_that_nobody_knows_is_refused_and_the_connection_stays(api, topic):
    for asked in (-7, -(2**63)):
        assert api.list_offset(topic, asked, 9).error_code == UNSUPPORTED_VERSION
    assert api.offset(topic, LATEST) == 0


def test_a_partition_asked_for_twice_is_an_invalid_request(api, new_topic):
    topic = new_topic(2)
    asked = [{"index": index, "timestamp": LATEST} for index in (0, 1, 0)]
    answer = api.call("ListOffsets", 6, topics=[{"name": topic, "partitions": asked}])
    found = sorted((one.index, one.error_code) for one in answer.topics[0].partitions)
    assert set(found) == {(0, INVALID_REQUEST), (1, NONE)}


def test_clients_ask_by_time(address, api, topic):
    append_times(api, topic)
    place = kafka.TopicPartition(topic, 0)
    consumer = kafka.KafkaConsumer(bootstrap_servers=address)
    found = consumer.offsets_for_times({place: NOW + 35})[place]
    assert (found.offset, found.timestamp) == (2, NOW + 50)
    consumer.close()
    admin = AdminClient({"bootstrap.servers": address})
    specs = {OffsetSpec.earliest(): 0, OffsetSpec.latest(): 6, OffsetSpec.max_timestamp(): 2, OffsetSpec.for_timestamp(NOW + 31): 2}
    for spec, offset in specs.items():
        asked = {confluent_kafka.TopicPartition(topic, 0): spec}
        (answer,) = admin.list_offsets(asked, request_timeout=120).values()
        assert answer.result().offset == offset, spec


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("key, sign", [("message.timestamp.before.max.ms", -1), ("message.timestamp.after.max.ms", 1)])
def test_records_too_far_from_the_clock_are_named_and_the_batch_refused(api, new_topic, key, sign, codec):
    topic = new_topic(**{key: HOUR_MS})
    now = int(time.time() * 1000)
    near = Record(None, b"near", (), now + sign * HOUR_MS // 2)
    far = Record(None, b"far", (), now + sign * HOUR_MS * 2)
    answer = api.produce(topic, batches.build([near, far, near, far], codec))
    assert (answer.error_code, answer.base_offset) == (INVALID_TIMESTAMP, -1)
    assert [one.batch_index for one in answer.record_errors] == [1, 3]
    assert api.produce(topic, batches.build([near, near], codec)).base_offset == 0


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_the_time_of_the_append_takes_the_place_of_any_other(api, new_topic, codec):
    configs = {"message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": 1, "message.timestamp.after.max.ms": 1}
    topic = new_topic(**configs)
    before = int(time.time() * 1000)
    far = [Record(None, b"x", (), ms) for ms in (5, before + 400 * 24 * HOUR_MS)]
    answer = api.produce(topic, batches.build(far, codec))
    after = int(time.time() * 1000)
    assert answer.error_code == NONE and before <= answer.log_append_time_ms <= after
    (found,) = api.read(topic)
    assert found.attributes & batches.LOG_APPEND_TIME and found.max_timestamp == answer.log_append_time_ms
    largest = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (largest.offset, largest.timestamp) == (0, answer.log_append_time_ms)
    assert api.offset(topic, before) == 0 and api.offset(topic, after + 1) == -1


def test_a_batch_that_claims_the_time_of_its_append_is_refused(api, topic):
    answer = api.produce(topic, batches.build([b"a"], attributes=batches.LOG_APPEND_TIME))
    assert answer.error_code == INVALID_TIMESTAMP
    assert api.append(topic, b"b") == 0
