"""Settings whose effect shows nowhere else among the tests: each does what its sentence says."""

import re
import socket
import uuid

import batches
import broker
import pytest
from apis import Api
from errors import NONE

pytestmark = pytest.mark.usefixtures("own_only")
GROUP_MAX_SIZE_REACHED = 81


def total(one, name):
    """Of all cores."""
    return sum(float(value) for value in re.findall(rf"^corelane_{name}{{.*}} (\S+)$", one.metrics(), re.MULTILINE))


@pytest.fixture
def with_set(start, data):
    def start_with(*settings, more=()):
        words = [word for setting in ("http.listen=127.0.0.1:0", *settings) for word in ("--set", setting)]
        return start(data, *words, *more)

    return start_with


def test_the_counters_are_logged_as_often_as_is_said(with_set):
    one = with_set("metrics.log.interval.ms=1s", more=("--log", "debug"))
    Api.until(lambda: "counted so far: requests" in one.log_path.read_text(), "nothing was logged")


def test_a_connection_without_a_request_is_closed_after_its_time(with_set):
    one = with_set("connections.max.idle.ms=1s")
    host, port = one.address.split(":")
    with socket.create_connection((host, int(port)), timeout=broker.WAIT_S) as idle:
        assert idle.recv(1) == b""


@pytest.mark.parametrize(("slots", "is_kept"), [(0, False), (8, True)])
def test_fetch_sessions_are_kept_as_far_as_there_are_slots(with_set, slots, is_kept):
    one = with_set(f"max.incremental.fetch.session.cache.slots={slots}")
    with Api(one.address) as api:
        api.create_topic("t")
        topics = [{"name": "t", "partitions": [{"index": 0, "fetch_offset": 0}]}]
        answer = api.call("Fetch", 11, session_id=0, session_epoch=0, max_wait_ms=1, topics=topics)
        assert (answer.error_code, answer.session_id > 0) == (NONE, is_kept)


@pytest.mark.parametrize("size", [0, 8 << 20])
def test_the_reserve_is_as_large_as_is_said(with_set, size):
    one = with_set(f"disk.reserve.bytes={size}")
    Api.until(lambda: total(one, "beats_total") >= len(re.findall("^corelane_core{", one.metrics(), re.MULTILINE)), "no beat")
    cores = len(re.findall("^corelane_core{", one.metrics(), re.MULTILINE))
    # Whole blocks for each core.
    assert size <= total(one, "disk_reserve_bytes") <= size + 4096 * cores * (size > 0)


def test_sealed_segments_are_compared_within_the_interval(with_set):
    one = with_set("scrub.interval.ms=1s")
    with Api(one.address) as api:
        api.create_topic("t", 1, {"segment.bytes": 1 << 20})
        for _ in range(5):
            api.append("t", b"x" * 600_000)
    Api.until(lambda: total(one, "checksum_spans_matched") > 0, "nothing is compared")


def test_a_group_under_the_consumer_protocol_has_no_more_members_than_is_said(with_set):
    one = with_set("group.consumer.max.size=1")
    with Api(one.address) as api:
        api.create_topic("t")

        def join():
            fields = {"group_id": "g", "member_epoch": 0, "rebalance_timeout_ms": 5000, "subscribed_topic_names": ["t"]}
            member = str(uuid.uuid4())
            return api.call("ConsumerGroupHeartbeat", 1, member_id=member, topic_partitions=[], **fields).error_code

        api.call("FindCoordinator", 2, key="g", key_type=0)
        first = []
        Api.until(lambda: first.append(join()) or first[-1] == NONE, "nobody may join")
        assert join() == GROUP_MAX_SIZE_REACHED


@pytest.mark.parametrize(("expiration", "is_known"), [("1ms", False), ("1d", True)])
def test_a_silent_producer_is_forgotten_after_its_time(with_set, expiration, is_known):
    one = with_set(f"producer.id.expiration.ms={expiration}")
    with Api(one.address) as api:
        api.create_topic("t")
        producer, epoch = api.producer_id()
        record = batches.build([b"x"], producer_id=producer, producer_epoch=epoch, base_sequence=0)
        assert api.produce("t", record).error_code == NONE

        def known():
            answer = api.call("DescribeProducers", 0, topics=[{"name": "t", "partitions": [0]}])
            return [found.producer_id for found in answer.topics[0].partitions[0].producers]

        if is_known:
            assert known() == [producer]
        else:
            Api.until(lambda: known() == [], "it is still known")
