"""What may enter a log, and what the log makes of it."""

import pytest

import batches
from apis import Api
from batches import NOW, Record
from errors import (
    CORRUPT_MESSAGE,
    INVALID_RECORD,
    INVALID_REQUIRED_ACKS,
    INVALID_TIMESTAMP,
    MESSAGE_TOO_LARGE,
    NONE,
    UNKNOWN_TOPIC_OR_PARTITION,
    UNSUPPORTED_COMPRESSION_TYPE,
    UNSUPPORTED_FOR_MESSAGE_FORMAT,
    UNSUPPORTED_VERSION,
)

DAY_MS = 86_400_000
YEAR_3000 = 32_503_680_000_000


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_batch_is_served_byte_for_byte_as_it_came_but_for_offset_and_epoch(api, topic, codec):
    records = [Record(b"k", b"v", (("h", b"1"), ("h", None))), Record(None, None), Record(b"", b"")]
    sent = batches.build(records, codec)
    api.append(topic, b"first")
    assert api.produce(topic, sent).base_offset == 1
    (found,) = api.read(topic, 1)
    assert found.base_offset == 1 and found.leader_epoch >= 0
    assert found.bytes[16:] == sent[16:]
    assert [one._replace(offset=None) for one in batches.records(found)] == records


def test_a_batch_with_a_wrong_crc_is_corrupt_and_leaves_nothing(api, topic):
    answer = api.produce(topic, batches.build([b"a"], crc=1))
    assert (answer.error_code, answer.base_offset) == (CORRUPT_MESSAGE, -1)
    assert api.append(topic, b"b") == 0


@pytest.mark.parametrize(
    "lie", [{"length": 1_000_000}, {"length": 48}, {"length": -1}, {"count": 5}, {"last_offset_delta": 7}, {"count": -1}]
)
def test_a_batch_whose_header_lies_is_refused_and_leaves_nothing(api, topic, lie):
    answer = api.produce(topic, batches.build([b"a", b"b"], **lie))
    assert answer.error_code in (CORRUPT_MESSAGE, INVALID_RECORD), answer
    assert api.append(topic, b"c") == 0


@pytest.mark.parametrize("cut", [1, 20, 60, 62])
def test_a_batch_cut_short_is_refused_and_leaves_nothing(api, topic, cut):
    answer = api.produce(topic, batches.build([b"a"])[:cut])
    assert answer.error_code in (CORRUPT_MESSAGE, INVALID_RECORD), answer
    assert api.append(topic, b"c") == 0


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("claimed", [-1, NOW + DAY_MS])
def test_the_broker_sets_the_largest_timestamp_itself(api, topic, codec, claimed):
    records = [Record(None, b"x", (), NOW + ms) for ms in (0, 70, 30)]
    assert api.produce(topic, batches.build(records, codec, max_timestamp=claimed)).error_code == NONE
    (found,) = api.read(topic)
    assert found.max_timestamp == NOW + 70
    assert api.offset(topic, NOW + 1) == 1
    assert api.offset(topic, NOW + 71) == -1


def test_log_append_time_replaces_the_timestamps_and_governs_the_time_index(api, new_topic):
    topic = new_topic(**{"message.timestamp.type": "LogAppendTime"})
    answer = api.produce(topic, batches.build([Record(None, b"x", (), 5), Record(None, b"y", (), 6)]))
    assert answer.error_code == NONE and answer.log_append_time_ms > NOW
    (found,) = api.read(topic)
    assert found.attributes & batches.LOG_APPEND_TIME
    assert found.max_timestamp == answer.log_append_time_ms
    assert api.offset(topic, answer.log_append_time_ms) == 0
    assert api.offset(topic, answer.log_append_time_ms + 1) == -1


def test_a_timestamp_too_far_in_the_future_is_refused(api, topic):
    answer = api.produce(topic, batches.build([Record(None, b"x", (), YEAR_3000)]))
    assert answer.error_code == INVALID_TIMESTAMP
    assert api.append(topic, b"b") == 0


def test_a_record_without_a_key_on_a_compacted_topic_is_named_and_the_batch_refused(api, new_topic):
    topic = new_topic(**{"cleanup.policy": "compact"})
    answer = api.produce(topic, batches.build([Record(b"k", b"1"), Record(None, b"2")]))
    assert answer.error_code == INVALID_RECORD
    assert [one.batch_index for one in answer.record_errors] == [1]
    assert api.append(topic, Record(b"k", b"1")) == 0


def test_the_size_limit_counts_compressed_bytes(api, new_topic):
    topic = new_topic(**{"max.message.bytes": 2000})
    value = b"x" * 5000
    assert api.produce(topic, batches.build([value])).error_code == MESSAGE_TOO_LARGE
    assert api.produce(topic, batches.build([value], "gzip")).error_code == NONE
    assert api.values(topic) == [value]


@pytest.mark.parametrize("target, number", [("gzip", 1), ("lz4", 3), ("zstd", 4), ("snappy", 2), ("uncompressed", 0)])
def test_a_topic_with_a_codec_of_its_own_holds_that_codec(api, new_topic, target, number):
    topic = new_topic(**{"compression.type": target})
    for codec in ("none", "gzip"):
        assert api.produce(topic, batches.build([b"a" * 1000, b"b" * 1000], codec)).error_code == NONE
    found = api.read(topic)
    assert {batch.attributes & 7 for batch in found} == {number}
    assert sum(batch.count for batch in found) == 4
    if number <= 1:
        assert api.values(topic) == [b"a" * 1000, b"b" * 1000] * 2


@pytest.mark.parametrize("magic", [0, 1, 3])
def test_another_message_format_is_refused_and_leaves_nothing(api, topic, magic):
    answer = api.produce(topic, batches.build([b"a"], magic=magic))
    assert answer.error_code in (
        INVALID_RECORD,
        CORRUPT_MESSAGE,
        UNSUPPORTED_VERSION,
        UNSUPPORTED_FOR_MESSAGE_FORMAT,
    ), answer
    assert api.append(topic, b"b") == 0


def test_two_batches_for_one_partition_are_an_invalid_record(api, topic):
    assert api.produce(topic, batches.build([b"a"]) + batches.build([b"b"])).error_code == INVALID_RECORD
    assert api.append(topic, b"c") == 0


def test_zstd_in_a_version_that_did_not_know_it_is_refused(api, topic):
    records = batches.build([b"a"], attributes=batches.CODECS["zstd"])
    assert api.produce(topic, records, version=6).error_code == UNSUPPORTED_COMPRESSION_TYPE


def test_a_codec_that_does_not_exist_is_refused(own_only, api, topic):
    # Kafka answers UNKNOWN_SERVER_ERROR here, on which the Java client bumps its epoch and sends again.
    answer = api.produce(topic, batches.build([b"a"], attributes=6))
    assert answer.error_code in (CORRUPT_MESSAGE, INVALID_RECORD, UNSUPPORTED_COMPRESSION_TYPE), answer
    assert api.append(topic, b"b") == 0


@pytest.mark.parametrize("acks", [2, -2, 7])
def test_acks_other_than_minus_1_0_and_1_are_refused(api, topic, acks):
    answer = api.produce(topic, batches.build([b"a"]), acks=acks)
    assert (answer.error_code, answer.base_offset) == (INVALID_REQUIRED_ACKS, -1)
    assert api.append(topic, b"b") == 0


def test_an_unknown_topic_or_partition_is_named_and_the_others_are_appended(api, topic, new_name):
    batch = batches.build([b"a"])
    topics = [
        {"name": new_name(), "partitions": [{"index": 0, "records": batch}]},
        {"name": topic, "partitions": [{"index": 0, "records": batch}, {"index": 9, "records": batch}]},
    ]
    answer = api.call("Produce", 8, topics=topics)
    found = {(t.name, p.index): p.error_code for t in answer.topics for p in t.partitions}
    assert found == {
        (topics[0]["name"], 0): UNKNOWN_TOPIC_OR_PARTITION,
        (topic, 0): NONE,
        (topic, 9): UNKNOWN_TOPIC_OR_PARTITION,
    }


def test_one_request_to_partitions_of_every_core_is_answered_whole_and_in_its_order(api, new_topic):
    topic = new_topic(16)
    order = [7, 0, 15, 3, 11, 8, 1, 14, 2, 5, 4, 13, 6, 9, 10, 12]
    partitions = [{"index": index, "records": batches.build([b"%d" % index])} for index in order]
    answer = api.call("Produce", 8, topics=[{"name": topic, "partitions": partitions}])
    assert sorted(one.index for one in answer.topics[0].partitions) == sorted(order)
    assert {(one.error_code, one.base_offset) for one in answer.topics[0].partitions} == {(NONE, 0)}
    for index in order:
        assert api.values(topic, partition=index) == [b"%d" % index]


def test_acks_0_has_no_response(api, topic):
    records = {"topics": [{"name": topic, "partitions": [{"index": 0, "records": batches.build([b"a"])}]}]}
    api.send("Produce", 8, acks=0, **records)
    assert api.call("ApiVersions", 0).error_code == NONE, "the next response on the wire is that of the next request"
    api.until(lambda: api.values(topic) == [b"a"], "the record has not arrived")


def test_an_error_under_acks_0_closes_the_connection(api, topic, address):
    records = {"topics": [{"name": topic, "partitions": [{"index": 0, "records": batches.build([b"a"], crc=1)}]}]}
    api.send("Produce", 8, acks=0, **records)
    assert api.is_closed()
    with Api(address) as second:
        assert second.append(topic, b"b") == 0


def test_offsets_of_a_partition_follow_each_other_without_a_gap(api, topic):
    sizes = [1, 5, 2, 100, 1]
    bases = [api.append(topic, *[b"x"] * size) for size in sizes]
    assert bases == [sum(sizes[:index]) for index in range(len(sizes))]
