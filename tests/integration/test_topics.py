"""Creating, changing, describing and deleting topics."""

import pytest

from errors import (
    INVALID_CONFIG,
    INVALID_PARTITIONS,
    INVALID_REPLICATION_FACTOR,
    INVALID_REQUEST,
    INVALID_TOPIC_EXCEPTION,
    NONE,
    TOPIC_ALREADY_EXISTS,
    UNKNOWN_TOPIC_OR_PARTITION,
)

TOPIC, BROKER = 2, 4
TOPIC_KEYS = [
    "cleanup.policy", "compression.type", "delete.retention.ms", "flush.messages", "flush.ms",
    "index.interval.bytes", "max.compaction.lag.ms", "max.message.bytes", "message.timestamp.type",
    "message.timestamp.before.max.ms", "message.timestamp.after.max.ms", "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms", "min.insync.replicas", "preallocate", "retention.bytes", "retention.ms",
    "segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable",
]  # fmt: skip


def create(api, version=5, **fields):
    validate_only = fields.pop("validate_only", False)
    return api.call("CreateTopics", version, topics=[fields], validate_only=validate_only).topics[0]


def configs(api, kind, name, keys=None):
    answer = api.call("DescribeConfigs", 4, resources=[{"kind": kind, "name": name, "keys": keys}]).results[0]
    assert answer.error_code == NONE, answer
    return {one.name: one for one in answer.configs}


def test_minus_1_means_the_broker_s_defaults(api, new_name):
    answer = create(api, name=new_name())
    assert (answer.error_code, answer.num_partitions, answer.replication_factor) == (NONE, 1, 1)


def test_a_topic_can_be_used_as_soon_as_its_creation_is_answered(own_only, api, new_name):
    name = new_name()
    assert create(api, name=name, num_partitions=4).error_code == NONE
    assert [api.append(name, b"a", partition=index) for index in range(4)] == [0] * 4


def test_validate_only_creates_nothing(api, new_name):
    name = new_name()
    assert create(api, name=name, num_partitions=3, validate_only=True).error_code == NONE
    assert name not in [one.name for one in api.call("Metadata", 9, topics=None).topics]
    assert create(api, name=name, num_partitions=0, validate_only=True).error_code == INVALID_PARTITIONS


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ä", "x" * 250, "a\0b", "a:b"])
def test_names_that_are_none_are_refused(api, name):
    answer = create(api, name=name)
    assert answer.error_code == INVALID_TOPIC_EXCEPTION and answer.error_message


def test_the_longest_name_is_accepted(api, new_name):
    name = new_name().ljust(249, "x")
    api.create_topic(name)
    assert api.append(name, b"a") == 0
    api.delete_topic(name)


def test_names_that_differ_in_dot_and_underscore_only_collide(api, new_name):
    name = new_name() + ".a"
    api.create_topic(name)
    assert create(api, name=name.replace(".", "_")).error_code == INVALID_TOPIC_EXCEPTION


def test_every_topic_of_a_request_has_its_own_answer(api, topic, new_name):
    good, bad = new_name(), new_name()
    topics = [{"name": topic}, {"name": good}, {"name": bad, "num_partitions": 0}]
    answer = api.call("CreateTopics", 5, topics=topics).topics
    found = {one.name: one.error_code for one in answer}
    assert found == {topic: TOPIC_ALREADY_EXISTS, good: NONE, bad: INVALID_PARTITIONS}


def test_a_topic_named_twice_in_one_request_is_an_invalid_request(api, new_name):
    name = new_name()
    answer = api.call("CreateTopics", 5, topics=[{"name": name}, {"name": name}]).topics
    assert {(one.name, one.error_code) for one in answer} == {(name, INVALID_REQUEST)}


@pytest.mark.parametrize(
    "fields, error",
    [
        ({"num_partitions": 0}, INVALID_PARTITIONS),
        ({"num_partitions": -2}, INVALID_PARTITIONS),
        ({"num_partitions": 1, "replication_factor": 0}, INVALID_REPLICATION_FACTOR),
        ({"num_partitions": 1, "replication_factor": 3}, INVALID_REPLICATION_FACTOR),
        ({"configs": [{"name": "retention.ms", "value": "soon"}]}, INVALID_CONFIG),
        ({"configs": [{"name": "retension.ms", "value": "1"}]}, INVALID_CONFIG),
        ({"configs": [{"name": "cleanup.policy", "value": "keep"}]}, INVALID_CONFIG),
    ],
)
def test_what_cannot_be_created_is_refused_with_its_reason(api, new_name, fields, error):
    answer = create(api, name=new_name(), **fields)
    assert answer.error_code == error and answer.error_message


def test_partitions_are_added_and_the_old_ones_keep_their_records(api, new_topic):
    topic = new_topic(2)
    api.append(topic, b"old", partition=1)
    answer = api.call("CreatePartitions", 3, topics=[{"name": topic, "count": 6}]).results[0]
    assert answer.error_code == NONE
    api.wait_for_leader(topic, 6)
    assert api.append(topic, b"new", partition=5) == 0
    assert api.values(topic, partition=1) == [b"old"]


def test_every_topic_of_create_partitions_has_its_own_answer(api, new_topic, new_name):
    more, fewer, unknown = new_topic(2), new_topic(2), new_name()
    topics = [{"name": more, "count": 3}, {"name": fewer, "count": 1}, {"name": unknown, "count": 3}]
    found = {one.name: one.error_code for one in api.call("CreatePartitions", 2, topics=topics).results}
    assert found == {more: NONE, fewer: INVALID_PARTITIONS, unknown: UNKNOWN_TOPIC_OR_PARTITION}


def test_as_many_partitions_as_there_are_is_refused(api, topic):
    answer = api.call("CreatePartitions", 2, topics=[{"name": topic, "count": 1}]).results[0]
    assert answer.error_code == INVALID_PARTITIONS and answer.error_message


def test_create_partitions_that_only_validates_adds_nothing(api, topic):
    answer = api.call("CreatePartitions", 2, topics=[{"name": topic, "count": 5}], validate_only=True)
    assert answer.results[0].error_code == NONE
    assert len(api.call("Metadata", 9, topics=[{"name": topic}]).topics[0].partitions) == 1


def test_a_topic_has_every_key_that_connectors_look_for(api, new_topic):
    topic = new_topic(**{"retention.ms": 12345, "cleanup.policy": "compact,delete"})
    found = configs(api, TOPIC, topic)
    assert not set(TOPIC_KEYS) - set(found)
    assert (found["retention.ms"].value, found["retention.ms"].source) == ("12345", 1)
    assert found["cleanup.policy"].value == "compact,delete"
    assert (found["min.compaction.lag.ms"].value, found["min.compaction.lag.ms"].source) == ("0", 5)
    assert not any(one.read_only or one.is_sensitive for one in found.values())


def test_a_topic_s_defaults_are_kafka_s(api, topic):
    found = {name: one.value for name, one in configs(api, TOPIC, topic).items()}
    expected = {
        "cleanup.policy": "delete", "compression.type": "producer", "max.message.bytes": "1048588",
        "message.timestamp.type": "CreateTime", "retention.ms": "604800000", "segment.bytes": "1073741824",
        "segment.ms": "604800000", "min.insync.replicas": "1", "delete.retention.ms": "86400000",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_the_broker_tells_the_keys_that_connectors_look_for(api):
    node = str(api.call("Metadata", 9, topics=[]).brokers[0].node_id)
    found = configs(api, BROKER, node)
    assert found["default.replication.factor"].value == "1"
    assert found["num.partitions"].value == "1"
    assert found["auto.create.topics.enable"].value == "true"


def test_configs_of_an_unknown_topic_are_an_error_of_that_topic(api, topic, new_name):
    resources = [{"kind": TOPIC, "name": new_name()}, {"kind": TOPIC, "name": topic}]
    answer = api.call("DescribeConfigs", 2, resources=resources).results
    found = {one.name: (one.error_code, bool(one.configs)) for one in answer}
    assert found == {
        resources[0]["name"]: (UNKNOWN_TOPIC_OR_PARTITION, False),
        topic: (NONE, True),
    }


def test_every_topic_of_a_deletion_has_its_own_answer(api, topic, new_name):
    unknown = new_name()
    answer = api.call("DeleteTopics", 5, topic_names=[unknown, topic]).responses
    assert {one.name: one.error_code for one in answer} == {unknown: UNKNOWN_TOPIC_OR_PARTITION, topic: NONE}
    api.wait_until_gone(topic)


def test_a_deleted_topic_takes_and_gives_nothing(api, topic):
    api.append(topic, b"a")
    api.delete_topic(topic)
    assert api.fetch(topic, 0, max_wait_ms=1).error_code == UNKNOWN_TOPIC_OR_PARTITION
    assert api.list_offset(topic, -1).error_code == UNKNOWN_TOPIC_OR_PARTITION


def test_200_partitions_take_and_give_records(api, new_topic):
    topic = new_topic(200)
    for index in range(200):
        assert api.append(topic, b"%d" % index, partition=index) == 0
    asked = [{"index": index, "fetch_offset": 0} for index in range(200)]
    answer = api.call("Fetch", 12, topics=[{"name": topic, "partitions": asked}], min_bytes=200 * 62)
    found = {one.index: one.high_watermark for one in answer.topics[0].partitions}
    assert found == {index: 1 for index in range(200)}
    assert api.values(topic, partition=199) == [b"199"]
