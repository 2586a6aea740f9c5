"""What a reader is given, and when."""

import pytest

import batches
import wire
from apis import EARLIEST, LATEST, Api
from batches import NOW, Record
from errors import (
    FENCED_LEADER_EPOCH,
    FETCH_SESSION_ID_NOT_FOUND,
    INVALID_FETCH_SESSION_EPOCH,
    NONE,
    OFFSET_OUT_OF_RANGE,
    UNKNOWN_LEADER_EPOCH,
    UNKNOWN_TOPIC_OR_PARTITION,
)

LONG_MS = 600_000  # longer than any socket here waits


def test_a_fetch_inside_a_batch_returns_the_whole_batch(api, topic):
    api.append(topic, b"a", b"b", b"c")
    api.append(topic, b"d")
    first = batches.split(api.fetch(topic, 2).records)[0]
    assert (first.base_offset, first.count) == (0, 3)


@pytest.mark.parametrize("limit", ["max_bytes", "partition_max_bytes"])
def test_the_first_batch_is_sent_even_above_the_limit(api, topic, limit):
    api.append(topic, b"x" * 10_000)
    api.append(topic, b"y")
    found = batches.split(api.fetch(topic, 0, **{limit: 100}).records)
    assert [one.base_offset for one in found] == [0]


def test_a_limit_holds_behind_the_first_batch(api, topic):
    for _ in range(10):
        api.append(topic, b"x" * 1000)
    records = api.fetch(topic, 0, partition_max_bytes=3500).records
    assert len(records) <= 3500 and 1 <= len(batches.split(records)) <= 3


def test_the_limit_of_the_whole_response_is_shared_by_its_partitions(api, new_topic):
    topic = new_topic(8)
    for index in range(8):
        api.append(topic, b"x" * 10_000, partition=index)
    asked = [{"index": index, "fetch_offset": 0} for index in range(8)]
    answer = api.call("Fetch", 12, max_bytes=25_000, topics=[{"name": topic, "partitions": asked}])
    sizes = [len(one.records or b"") for one in answer.topics[0].partitions]
    assert 10_000 < sum(sizes) <= 25_000 + 10_100


def test_an_offset_beyond_the_log_is_out_of_range_and_the_end_is_not(api, topic):
    api.append(topic, b"a")
    assert api.fetch(topic, 1, max_wait_ms=1).error_code == NONE
    for offset in (2, 10**12, -1):
        assert api.fetch(topic, offset, max_wait_ms=1).error_code == OFFSET_OUT_OF_RANGE, offset


def test_unknown_topics_and_partitions_are_named(api, topic, new_name):
    assert api.fetch(topic, partition=5, max_wait_ms=1).error_code == UNKNOWN_TOPIC_OR_PARTITION
    assert api.fetch(new_name(), max_wait_ms=1).error_code == UNKNOWN_TOPIC_OR_PARTITION


def test_a_waiting_fetch_is_answered_by_the_next_append(api, topic, address):
    waiting = api.send_fetch(topic, 0, max_wait_ms=LONG_MS)
    with Api(address) as other:
        other.append(topic, b"wake")
    answer = api.receive_fetch(waiting)
    assert batches.records(batches.split(answer.records)[0])[0].value == b"wake"


def test_a_waiting_fetch_over_many_partitions_is_answered_by_any_of_them(api, new_topic, address):
    topic = new_topic(8)
    for woken in (0, 7, 3):
        asked = [{"index": i, "fetch_offset": 0} for i in range(8)]
        for one in asked:
            one["fetch_offset"] = api.offset(topic, LATEST, partition=one["index"])
        waiting = api.send("Fetch", 12, max_wait_ms=LONG_MS, topics=[{"name": topic, "partitions": asked}])
        with Api(address) as other:
            other.append(topic, b"wake", partition=woken)
        answer = api.receive(waiting)
        assert [p.index for p in answer.topics[0].partitions if p.records] == [woken]


def test_a_fetch_waits_until_its_least_bytes_are_there(api, topic, address):
    waiting = api.send_fetch(topic, 0, max_wait_ms=LONG_MS, min_bytes=5000)
    with Api(address) as other:
        other.append(topic, b"x" * 1000)
        other.append(topic, b"x" * 6000)
    assert len(batches.split(api.receive_fetch(waiting).records)) == 2


def test_a_fetch_does_not_wait_for_bytes_that_its_limit_keeps_out(api, topic, new_topic):
    """As kafka-go asks: of batches of 113 bytes, never 200 within a limit of 200."""
    for _ in range(4):
        api.append(topic, b"x" * 40)
    limits = {"partition_max_bytes": 200, "max_bytes": 200, "min_bytes": 200, "max_wait_ms": LONG_MS}
    for offset in range(3):
        assert len(batches.split(api.fetch(topic, offset, **limits).records)) == 1
    # The same where more than one core is asked.
    several = new_topic(4)
    for index in range(4):
        api.append(several, b"x" * 40, partition=index)
        api.append(several, b"x" * 40, partition=index)
    asked = [{"index": index, "fetch_offset": 0, "partition_max_bytes": 150} for index in range(4)]
    answer = api.call("Fetch", 12, max_wait_ms=LONG_MS, min_bytes=600, topics=[{"name": several, "partitions": asked}])
    assert all(len(batches.split(one.records)) == 1 for one in answer.topics[0].partitions)


def test_a_fetch_returns_what_there_is_when_its_time_is_over(api, topic):
    api.append(topic, b"a")
    answer = api.fetch(topic, 0, max_wait_ms=50, min_bytes=1 << 20)
    assert len(batches.split(answer.records)) == 1


def test_a_fetch_that_waits_does_not_stall_others(api, topic, new_topic, address):
    other_topic = new_topic()
    waiting = api.send_fetch(topic, 0, max_wait_ms=LONG_MS)
    with Api(address) as other:
        for number in range(50):
            assert other.append(other_topic, b"%d" % number) == number
        other.append(topic, b"wake")
    assert api.receive_fetch(waiting).records


def test_a_fetch_outlives_the_topic_it_waits_for(api, topic, address):
    waiting = api.send_fetch(topic, 0, max_wait_ms=3000)
    with Api(address) as other:
        other.delete_topic(topic)
    answer = api.receive_fetch(waiting)
    assert answer.error_code in (NONE, UNKNOWN_TOPIC_OR_PARTITION, 6) and not answer.records


def test_offsets_by_time_are_those_of_the_first_record_at_or_after_it(api, topic):
    api.append(topic, *[Record(None, b"x", (), NOW + ms) for ms in (0, 10, 20)])
    api.append(topic, *[Record(None, b"x", (), NOW + ms) for ms in (30, 40)], codec="gzip")
    for asked, offset, found in [(-5, 0, 0), (0, 0, 0), (1, 1, 10), (20, 2, 20), (21, 3, 30), (31, 4, 40)]:
        answer = api.list_offset(topic, NOW + asked)
        assert (answer.error_code, answer.offset, answer.timestamp) == (NONE, offset, NOW + found), asked
        assert answer.leader_epoch >= 0
    late = api.list_offset(topic, NOW + 41)
    assert (late.error_code, late.offset, late.timestamp) == (NONE, -1, -1)


def test_earliest_and_latest_carry_no_timestamp(api, topic):
    api.append(topic, b"a")
    for asked, offset in [(EARLIEST, 0), (LATEST, 1)]:
        answer = api.list_offset(topic, asked)
        assert (answer.offset, answer.timestamp) == (offset, -1)


def test_a_wrong_leader_epoch_is_refused(api, topic):
    api.append(topic, b"a")
    assert api.fetch(topic, 0, current_leader_epoch=0).error_code == NONE
    assert api.fetch(topic, 0, current_leader_epoch=99).error_code == UNKNOWN_LEADER_EPOCH


def test_the_end_of_an_unknown_leader_epoch_is_unknown(api, topic):
    api.append(topic, b"a")
    one = {"name": topic, "partitions": [{"index": 0, "leader_epoch": 99}]}
    found = api.call("OffsetForLeaderEpoch", 3, topics=[one]).topics[0].partitions[0]
    assert (found.error_code, found.leader_epoch, found.end_offset) == (NONE, -1, -1)
    one["partitions"][0] |= {"leader_epoch": 0, "current_leader_epoch": 99}
    found = api.call("OffsetForLeaderEpoch", 3, topics=[one]).topics[0].partitions[0]
    assert found.error_code in (UNKNOWN_LEADER_EPOCH, FENCED_LEADER_EPOCH)


def test_a_fetch_session_nobody_opened_is_not_found(api, topic):
    answer = api.call("Fetch", 11, session_id=123456, session_epoch=1, topics=[])
    assert (answer.error_code, answer.session_id) == (FETCH_SESSION_ID_NOT_FOUND, 0)


def test_a_session_reads_on_by_itself_and_tells_only_what_is_new(api, new_topic):
    topic = new_topic(2)
    api.append(topic, b"a")
    wanted = [{"index": index, "fetch_offset": 0} for index in range(2)]
    first = api.call("Fetch", 11, session_id=0, session_epoch=0, topics=[{"name": topic, "partitions": wanted}])
    session = first.session_id
    assert first.error_code == NONE and session > 0
    assert [one.index for one in first.topics[0].partitions] == [0, 1], "at first everything is told"

    def fetch(epoch, topics=(), forgotten=()):
        one = {"name": topic, "partitions": list(topics)}
        gone = {"name": topic, "partitions": list(forgotten)}
        fields = {"topics": [one] if topics else [], "forgotten_topics": [gone] if forgotten else []}
        return api.call("Fetch", 11, session_id=session, session_epoch=epoch, max_wait_ms=1, **fields)

    second = fetch(1, [{"index": 0, "fetch_offset": 1}])
    assert (second.error_code, second.session_id, second.topics) == (NONE, session, [])
    api.append(topic, b"b", partition=1)
    third = fetch(2)
    assert [one.index for one in third.topics[0].partitions] == [1], "who has nothing new is left out"
    assert len(batches.split(third.topics[0].partitions[0].records)) == 1
    fourth = fetch(3, forgotten=[1])
    assert (fourth.error_code, fourth.topics) == (NONE, [])
    assert fetch(3).error_code == INVALID_FETCH_SESSION_EPOCH
    last = fetch(-1)
    assert (last.error_code, last.session_id) == (NONE, 0)
    assert fetch(4).error_code == FETCH_SESSION_ID_NOT_FOUND


def test_pipelined_requests_are_answered_in_their_order(api, new_topic):
    topic = new_topic(4)
    sent = []
    for number in range(200):
        kind = number % 4
        if kind == 0:
            records = batches.build([b"%d" % number])
            one = {"name": topic, "partitions": [{"index": number // 4 % 4, "records": records}]}
            sent.append(api.send("Produce", 8, topics=[one]))
        elif kind == 1:
            sent.append(api.send_fetch(topic, 0, partition=number // 4 % 4, max_wait_ms=1))
        elif kind == 2:
            sent.append(api.send("Metadata", 1, topics=[{"name": topic}]))
        else:
            sent.append(api.send("ApiVersions", 3))
    for one in sent:
        api.receive(one)  # which compares correlation ids
    assert [api.offset(topic, LATEST, partition=index) for index in range(4)] == [13, 13, 12, 12]


def test_a_client_may_send_thousands_of_requests_before_it_reads(api, topic):
    sent = [api.send("ListOffsets", 1, topics=[]) for _ in range(3_000)]
    sent.append(api.send("Produce", 8, topics=[{"name": topic, "partitions": [{"index": 0, "records": batches.build([b"a"])}]}]))
    for one in sent:
        api.receive(one)
    assert api.offset(topic, LATEST) == 1


def test_a_connection_reads_what_it_has_just_produced(api, topic):
    for number in range(100):
        offset = api.append(topic, b"%d" % number)
        found = batches.split(api.fetch(topic, offset).records)
        assert batches.records(found[-1])[-1].value == b"%d" % number


def test_a_request_in_single_bytes_is_a_request(api, topic):
    for byte in wire.request("Metadata", 1, 77, {"topics": [{"name": topic}]}):
        api.send_bytes(bytes([byte]))
    assert api.receive(("Metadata", 1, 77)).topics[0].name == topic
