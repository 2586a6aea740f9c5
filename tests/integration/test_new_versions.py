"""The flexible encodings that today's clients send, and what only they can say: topic ids."""

import uuid

import pytest

import batches
from apis import EARLIEST, LATEST
from errors import INCONSISTENT_TOPIC_ID, NONE, UNKNOWN_TOPIC_ID

MAX_TIMESTAMP = -3


@pytest.mark.parametrize("version", [9, 10, 11])
def test_produce_in_every_flexible_version(api, topic, version):
    answer = api.produce(topic, batches.build([b"a", b"b"]), version=version)
    assert (answer.error_code, answer.base_offset, answer.record_errors) == (NONE, 0, [])
    assert api.values(topic) == [b"a", b"b"]


def test_fetch_12_by_name(api, topic):
    api.append(topic, b"a")
    assert batches.split(api.fetch(topic, 0, 12).records)[0].count == 1


@pytest.mark.parametrize("version", [13, 14, 15, 16, 17])
def test_fetch_by_topic_id_in_every_version(api, topic, version):
    api.append(topic, b"a")
    answer = api.fetch(api.topic_id(topic), 0, version)
    assert (answer.error_code, answer.high_watermark) == (NONE, 1)
    assert batches.records(batches.split(answer.records)[0])[0].value == b"a"


def test_fetch_by_an_unknown_topic_id_is_said_to_be_one(api, topic):
    answer = api.fetch(uuid.uuid4(), 0, 13, max_wait_ms=10)
    assert answer.error_code == UNKNOWN_TOPIC_ID


def test_a_topic_made_again_has_another_id_and_the_old_id_is_unknown(api, topic):
    api.append(topic, b"old")
    old = api.topic_id(topic)
    api.delete_topic(topic)
    assert api.fetch(old, 0, 13, max_wait_ms=10).error_code == UNKNOWN_TOPIC_ID
    created = api.create_topic(topic, version=7)
    assert created.topic_id == api.topic_id(topic) != old
    assert api.offset(topic, LATEST) == 0, "nothing of the old topic is in the new one"
    assert api.fetch(old, 0, 13, max_wait_ms=10).error_code == UNKNOWN_TOPIC_ID
    assert api.append(topic, b"new") == 0
    assert api.values(topic) == [b"new"]


def test_a_fetch_session_over_a_topic_made_again_says_that_its_id_is_stale(api, topic):
    partitions = [{"index": 0, "fetch_offset": 0}]
    asked = [{"topic_id": api.topic_id(topic), "partitions": partitions}]
    session = api.call("Fetch", 13, session_epoch=0, topics=asked, max_wait_ms=1).session_id
    api.delete_topic(topic)
    api.create_topic(topic)
    api.append(topic, b"new")
    answer = api.call("Fetch", 13, session_id=session, session_epoch=1, max_wait_ms=1)
    codes = {one.error_code for of_topic in answer.topics for one in of_topic.partitions}
    assert codes <= {UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID} and codes, "none of the new topic's records"


@pytest.mark.parametrize("version", [6, 7, 8, 9, 10])
def test_list_offsets_in_every_flexible_version(api, topic, version):
    api.append(topic, b"a", b"b")
    found = [api.list_offset(topic, timestamp, version) for timestamp in (EARLIEST, LATEST)]
    assert [(one.error_code, one.offset) for one in found] == [(NONE, 0), (NONE, 2)]
    assert all(one.leader_epoch >= 0 for one in found)


def test_list_offsets_finds_the_record_with_the_largest_timestamp(api, topic):
    times = [5, 9, 7]
    api.append(topic, *[batches.Record(None, b"x", (), batches.NOW + ms) for ms in times])
    found = api.list_offset(topic, MAX_TIMESTAMP, 7)
    assert (found.error_code, found.offset, found.timestamp) == (NONE, 1, batches.NOW + 9)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_create_topics_tells_what_was_created(api, new_name, version):
    name = new_name()
    answer = api.create_topic(name, 2, {"retention.ms": 12345}, version)
    assert (answer.num_partitions, answer.replication_factor) == (2, 1)
    assert {one.name: one.value for one in answer.configs}["retention.ms"] == "12345"
    if version >= 7:
        assert answer.topic_id == api.topic_id(name)


@pytest.mark.parametrize("by", ["name", "id"])
def test_delete_topics_6_takes_names_and_ids(api, topic, by):
    topic_id = api.topic_id(topic)
    one = {"name": topic} if by == "name" else {"name": None, "topic_id": topic_id}
    answer = api.call("DeleteTopics", 6, topics=[one]).responses
    assert [(r.name, r.topic_id, r.error_code) for r in answer] == [(topic, topic_id, NONE)]
    api.wait_until_gone(topic)


def test_deleting_an_unknown_topic_id_is_said_to_be_one(api):
    answer = api.call("DeleteTopics", 6, topics=[{"name": None, "topic_id": uuid.uuid4()}]).responses[0]
    assert answer.error_code == UNKNOWN_TOPIC_ID


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_init_producer_id_in_every_flexible_version(api, version):
    answer = api.call("InitProducerId", version)
    assert (answer.error_code, answer.producer_epoch) == (NONE, 0) and answer.producer_id >= 0


def test_describe_configs_4_tells_types_synonyms_and_documentation(api, new_topic):
    topic = new_topic(**{"retention.ms": 12345})
    request = {"resources": [{"kind": 2, "name": topic, "keys": ["retention.ms"]}]}
    answer = api.call("DescribeConfigs", 4, include_synonyms=True, include_documentation=True, **request)
    found = answer.results[0].configs[0]
    assert (found.name, found.value, found.kind) == ("retention.ms", "12345", 5)
    assert [(one.name, one.value) for one in found.synonyms][:1] == [("retention.ms", "12345")]
    assert found.documentation


@pytest.mark.parametrize("version", [2, 3])
def test_create_partitions_in_every_flexible_version(api, topic, version):
    answer = api.call("CreatePartitions", version, topics=[{"name": topic, "count": 2}])
    assert [(one.name, one.error_code) for one in answer.results] == [(topic, NONE)]
    api.wait_for_leader(topic, 2)


def test_offset_for_leader_epoch_4(api, topic):
    api.append(topic, b"a", b"b")
    one = {"name": topic, "partitions": [{"index": 0, "leader_epoch": 0}]}
    found = api.call("OffsetForLeaderEpoch", 4, topics=[one]).topics[0].partitions[0]
    assert (found.error_code, found.leader_epoch, found.end_offset) == (NONE, 0, 2)
