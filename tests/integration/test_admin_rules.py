"""What tools, Connect and Streams rely on in administration: each item its own answer, each key whole."""

import confluent_kafka
import kafka.errors
import pytest
from confluent_kafka.admin import AdminClient
from kafka.admin import KafkaAdminClient

import batches
from apis import EARLIEST, LATEST
from errors import (
    INVALID_CONFIG,
    INVALID_REPLICA_ASSIGNMENT,
    NO_REASSIGNMENT_IN_PROGRESS,
    NONE,
    UNKNOWN_TOPIC_OR_PARTITION,
)

WAIT_S = 30.0
TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
MAX_TIMESTAMP, EARLIEST_LOCAL = -3, -4
# Kafka 4.1's TopicConfig.
TOPIC_KEYS = {
    "cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
    "delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms",
    "follower.replication.throttled.replicas", "index.interval.bytes", "leader.replication.throttled.replicas",
    "local.retention.bytes", "local.retention.ms", "max.compaction.lag.ms", "max.message.bytes",
    "message.timestamp.after.max.ms", "message.timestamp.before.max.ms", "message.timestamp.type",
    "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate",
    "remote.log.copy.disable", "remote.log.delete.on.disable", "remote.storage.enable", "retention.bytes",
    "retention.ms", "segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms",
    "unclean.leader.election.enable",
}  # fmt: skip


def described(api, kind, name):
    resources = [{"kind": kind, "name": name, "keys": None}]
    answer = api.call("DescribeConfigs", 4, resources=resources, include_synonyms=True, include_documentation=True)
    assert answer.results[0].error_code == NONE
    return {one.name: one for one in answer.results[0].configs}


def test_every_topic_key_of_kafka_is_described_whole(api, new_topic):
    found = described(api, TOPIC, new_topic(**{"retention.ms": 12345}))
    assert not TOPIC_KEYS - set(found)
    for key in found.values():
        assert key.value is not None and not key.is_sensitive and not key.read_only, key
        assert 1 <= key.kind <= 9 and 1 <= key.source <= 6 and key.documentation, key
        if key.synonyms:
            assert (key.synonyms[0].value, key.synonyms[0].source) == (key.value, key.source), key
    synonyms = found["retention.ms"].synonyms
    assert [(one.name, one.value, one.source) for one in synonyms[:1]] == [("retention.ms", "12345", 1)]
    assert synonyms[-1].name.startswith("log.retention.") and synonyms[-1].source == 5, "what it is without that"


def test_the_broker_keys_that_connect_and_streams_ask_for_have_values(api):
    found = described(api, BROKER, str(api.call("Metadata", 9, topics=[]).brokers[0].node_id))
    wanted = ["log.cleanup.policy", "log.retention.ms", "log.retention.bytes", "log.cleaner.min.compaction.lag.ms",
              "default.replication.factor", "min.insync.replicas", "offsets.topic.replication.factor"]  # fmt: skip
    assert {key: found[key].value for key in wanted if not found[key].value} == {}


@pytest.mark.parametrize("version", [0, 1])
def test_every_resource_of_an_incremental_change_has_its_own_answer(api, new_topic, new_name, version):
    good, bad, unknown = new_topic(), new_topic(), new_name()
    resources = [
        {"kind": TOPIC, "name": good, "configs": [{"name": "retention.ms", "op": SET, "value": "5000"}]},
        {"kind": TOPIC, "name": bad, "configs": [{"name": "retention.ms", "op": SET, "value": "soon"}]},
        {"kind": TOPIC, "name": unknown, "configs": [{"name": "retention.ms", "op": SET, "value": "5000"}]},
    ]
    answer = api.call("IncrementalAlterConfigs", version, resources=resources)
    found = {one.name: one.error_code for one in answer.responses}
    assert found == {good: NONE, bad: INVALID_CONFIG, unknown: UNKNOWN_TOPIC_OR_PARTITION}
    assert all(one.error_message for one in answer.responses if one.error_code)
    assert described(api, TOPIC, good)["retention.ms"].value == "5000"
    assert described(api, TOPIC, bad)["retention.ms"].value == "604800000"


@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_resource_of_a_change_as_a_whole_has_its_own_answer(api, new_topic, new_name, version):
    good, unknown = new_topic(**{"segment.ms": 9000}), new_name()
    configs = [{"name": "retention.ms", "value": "5000"}]
    resources = [{"kind": TOPIC, "name": name, "configs": configs} for name in (good, unknown)]
    answer = api.call("AlterConfigs", version, resources=resources)
    assert {one.name: one.error_code for one in answer.responses} == {good: NONE, unknown: UNKNOWN_TOPIC_OR_PARTITION}
    assert described(api, TOPIC, good)["segment.ms"].value == "604800000", "what is not named goes back"


def test_a_change_that_only_validates_changes_nothing(api, topic):
    one = {"kind": TOPIC, "name": topic, "configs": [{"name": "retention.ms", "op": SET, "value": "5000"}]}
    answer = api.call("IncrementalAlterConfigs", 1, resources=[one], validate_only=True)
    assert answer.responses[0].error_code == NONE
    assert described(api, TOPIC, topic)["retention.ms"].value == "604800000"


def test_values_are_appended_to_lists_once_and_taken_from_them(api, topic):
    def change(op, value):
        one = {"kind": TOPIC, "name": topic, "configs": [{"name": "cleanup.policy", "op": op, "value": value}]}
        assert api.call("IncrementalAlterConfigs", 1, resources=[one]).responses[0].error_code == NONE
        return described(api, TOPIC, topic)["cleanup.policy"].value

    assert change(APPEND, "compact") == "delete,compact"
    assert change(APPEND, "compact") == "delete,compact"
    assert change(SUBTRACT, "delete") == "compact"
    assert change(SUBTRACT, "delete") == "compact"
    assert change(DELETE, None) == "delete"


def test_every_special_time_is_answered_with_the_leader_epoch(api, topic):
    api.append(topic, *[batches.Record(None, b"x", (), batches.NOW + ms) for ms in (5, 9, 7)])
    epoch = api.call("Metadata", 12, topics=[{"name": topic}]).topics[0].partitions[0].leader_epoch
    expected = {LATEST: (3, -1), EARLIEST: (0, -1), MAX_TIMESTAMP: (1, batches.NOW + 9), EARLIEST_LOCAL: (0, -1)}
    for asked, offset_and_time in {**expected, batches.NOW + 6: (1, batches.NOW + 9)}.items():
        found = api.list_offset(topic, asked, 8)
        assert (found.error_code, found.offset, found.timestamp) == (NONE, *offset_and_time), asked
        assert found.leader_epoch == epoch, asked


def test_what_is_not_served_is_an_unsupported_version_to_stock_clients(own_only, address):
    """Connect and Streams go another way on exactly this answer."""
    client = KafkaAdminClient(bootstrap_servers=address)
    with pytest.raises((kafka.errors.IncompatibleBrokerVersion, kafka.errors.UnsupportedVersionError)):
        client.describe_user_scram_credentials(["u"])
    client.close()
    confluent = AdminClient({"bootstrap.servers": address})
    future = confluent.describe_user_scram_credentials(["u"])
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        (future["u"] if isinstance(future, dict) else future).result(timeout=WAIT_S)
    assert refused.value.args[0].code() == confluent_kafka.KafkaError._UNSUPPORTED_FEATURE


def test_nothing_is_elected_or_moved_and_both_are_answered(own_only, api, topic):
    election = api.call("ElectLeaders", 2, topics=[{"name": topic, "partitions": [0]}])
    assert election.error_code == NONE and election.results[0].partitions[0].error_code == 84, "not needed"
    node = api.call("Metadata", 9, topics=[]).brokers[0].node_id
    asked = [{"index": 0, "replicas": [node]}, {"index": 0, "replicas": [node + 1000]}, {"index": 0, "replicas": None}]
    asked.append({"index": 9, "replicas": [node]})
    altered = api.call("AlterPartitionReassignments", 0, topics=[{"name": topic, "partitions": asked}])
    codes = [one.error_code for one in altered.topics[0].partitions]
    assert codes == [NONE, INVALID_REPLICA_ASSIGNMENT, NO_REASSIGNMENT_IN_PROGRESS, UNKNOWN_TOPIC_OR_PARTITION]
    moved = api.call("ListPartitionReassignments", 0, topics=None)
    assert (moved.error_code, moved.topics) == (NONE, [])
