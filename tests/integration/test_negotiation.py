"""ApiVersions, what is advertised, and the cluster as Metadata describes it."""

import re

import pytest

import wire
from apis import Api
from errors import INVALID_REQUEST, NONE, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_VERSION
from schemas import API_KEYS, FIRST_FLEXIBLE

GROUP_APIS = {8, 9, 10, 11, 12, 13, 14, 15, 16}
NOT_WHOLE_YET = {71, 72, *range(76, 92)}
SASL_APIS = {17, 36}
# First and last version that Kafka 4.0 advertises; no client may find less. Produce stops at 11 until there are
# transactions: 12 is their version 2.
KAFKA_4_0 = {
    "Produce": (0, 11), "Fetch": (4, 17), "ListOffsets": (1, 10), "Metadata": (0, 13), "OffsetCommit": (2, 9),
    "OffsetFetch": (1, 9), "FindCoordinator": (0, 6), "JoinGroup": (0, 9), "Heartbeat": (0, 4), "LeaveGroup": (0, 5),
    "SyncGroup": (0, 5), "DescribeGroups": (0, 6), "ListGroups": (0, 5), "ApiVersions": (0, 4), "CreateTopics": (2, 7),
    "DeleteTopics": (1, 6), "DeleteRecords": (0, 2), "InitProducerId": (0, 5), "OffsetForLeaderEpoch": (2, 4),
    "DescribeConfigs": (1, 4), "AlterConfigs": (0, 2), "DescribeLogDirs": (1, 4), "CreatePartitions": (0, 3),
    "DeleteGroups": (0, 2), "ElectLeaders": (0, 2), "IncrementalAlterConfigs": (0, 1),
    "AlterPartitionReassignments": (0, 0), "ListPartitionReassignments": (0, 0), "OffsetDelete": (0, 0), "DescribeClientQuotas": (0, 1),
    "AlterClientQuotas": (0, 1), "DescribeCluster": (0, 1), "DescribeProducers": (0, 0),
    "ConsumerGroupHeartbeat": (0, 1), "ConsumerGroupDescribe": (0, 1), "DescribeTopicPartitions": (0, 0),
}  # fmt: skip
# The least that each request has to say: about nothing.
ABOUT_NOTHING = {
    "Metadata": {"topics": []}, "Fetch": {"max_wait_ms": 0}, "JoinGroup": {"group_id": "g", "protocols": []},
    "OffsetCommit": {"group_id": "g", "topics": []}, "LeaveGroup": {"group_id": "g"},
    "OffsetFetch": {"group_id": "g", "topics": []}, "DescribeGroups": {"groups": []}, "DeleteGroups": {"groups": []},
    "AlterPartitionReassignments": {"topics": []},
    "CreateTopics": {"topics": []}, "DeleteRecords": {"topics": []}, "OffsetForLeaderEpoch": {"topics": []},
    "DescribeConfigs": {"resources": []}, "AlterConfigs": {"resources": []}, "CreatePartitions": {"topics": []},
    "IncrementalAlterConfigs": {"resources": []}, "OffsetDelete": {"group_id": "g", "topics": []},
    "DescribeClientQuotas": {"components": []}, "AlterClientQuotas": {"entries": []},
    "DescribeProducers": {"topics": []}, "ConsumerGroupDescribe": {"groups": []},
    "DescribeTopicPartitions": {"topics": []},
    **{name: {"group_id": "g", "member_id": "m"} for name in ("Heartbeat", "SyncGroup", "ConsumerGroupHeartbeat")},
}  # fmt: skip


def advertised(api):
    return {one.key: (one.min, one.max) for one in api.call("ApiVersions", 3).api_keys}


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_api_versions_is_answered_in_the_version_asked_for(api, version):
    answer = api.call("ApiVersions", version)
    assert answer.error_code == NONE
    assert {API_KEYS["Produce"], API_KEYS["Fetch"], API_KEYS["ApiVersions"]} <= {one.key for one in answer.api_keys}


@pytest.mark.parametrize("version", [3, 4])
def test_the_header_before_an_api_versions_response_has_no_tagged_fields(api, version):
    api.send("ApiVersions", version)
    frame = api.receive_frame()
    assert frame[4:6] == b"\0\0", "the error code follows the correlation id at once"
    assert frame[6] == len(advertised(api)) + 1, "then a compact array"


def test_every_version_that_is_advertised_is_answered_to_its_last_byte(own_only, api):
    names = {key: name for name, key in API_KEYS.items()}
    for key, (least, most) in advertised(api).items():
        name = names[key]
        for version in range(max(least, 3) if name == "Produce" else least, most + 1):
            values = ABOUT_NOTHING.get(name, {})
            if name == "OffsetFetch" and version >= 8:
                values = {"groups": [{"group_id": "g", "topics": []}]}
            if name == "LeaveGroup" and version < 3:
                values = {"group_id": "g", "member_id": "m"}
            try:
                answer = api.call(name, version, **values)
            except wire.ConnectionClosed as closed:
                raise AssertionError(f"{name} {version} closed the connection") from closed
            assert answer.get("error_code", NONE) != UNSUPPORTED_VERSION, (name, version)


def test_versions_are_those_of_kafka_4_0(own_only, api):
    found = {key: least_and_most for key, least_and_most in advertised(api).items()}
    assert found == {API_KEYS[name]: expected for name, expected in KAFKA_4_0.items()}
    assert set(KAFKA_4_0) == set(FIRST_FLEXIBLE), "and each of them has its schema here"


def test_api_versions_above_ours_is_answered_in_version_0_with_error_35(api):
    header = wire.struct.pack(">hhih", 18, 99, 7, 1) + b"x\0"
    api.send_bytes(wire.frame(header + b"\x02x\x021\0"))
    reader = wire.Reader(api.receive_frame())
    assert reader.number("int32") == 7
    answer = wire.decode_response("ApiVersions", 0, reader)
    assert answer.error_code == UNSUPPORTED_VERSION
    ours = [one for one in answer.api_keys if one.key == 18]
    assert len(ours) == 1 and ours[0].min == 0 and ours[0].max >= 3
    assert api.call("ApiVersions", 3).error_code == NONE, "the connection goes on"


@pytest.mark.parametrize("name", ["", "-x", "a b", "x-"])
def test_a_client_name_that_metrics_cannot_carry_is_an_invalid_request(api, name):
    assert api.call("ApiVersions", 3, software_name=name).error_code == INVALID_REQUEST


@pytest.mark.parametrize("software_version", ["", "1.0-", "1 0", ".1"])
def test_a_client_version_that_metrics_cannot_carry_is_an_invalid_request(api, software_version):
    assert api.call("ApiVersions", 3, software_version=software_version).error_code == INVALID_REQUEST


def test_another_api_above_our_version_closes_the_connection(api, address):
    api.send_bytes(wire.frame(wire.struct.pack(">hhih", 3, 99, 1, 1) + b"x\0\0"))
    assert api.is_closed()
    with Api(address) as second:
        assert second.call("ApiVersions", 0).error_code == NONE


@pytest.mark.parametrize("version", [0, 1, 2])
def test_produce_below_3_is_advertised_and_closes_the_connection(api, version):
    assert advertised(api)[API_KEYS["Produce"]][0] == 0
    api.send("Produce", version, topics=[])
    assert api.is_closed()


def test_what_is_advertised_is_what_librdkafka_needs(api):
    ranges = advertised(api)
    assert all(least <= most for least, most in ranges.values())
    for name, least, most in [("Produce", 0, 8), ("Fetch", 4, 12), ("ListOffsets", 1, 7), ("Metadata", 0, 12)]:
        found = ranges[API_KEYS[name]]
        assert found[0] <= least and found[1] >= most, f"{name} {found}"
    assert API_KEYS["InitProducerId"] in ranges


def test_group_apis_are_advertised_all_or_none(api):
    assert len(GROUP_APIS & set(advertised(api))) in (0, len(GROUP_APIS))


def test_nothing_is_advertised_that_is_not_whole(own_only, api):
    ranges = advertised(api)
    assert ranges[API_KEYS["Produce"]][1] <= 11, "12 means version 2 of transactions"
    assert not NOT_WHOLE_YET & set(ranges)


def test_sasl_is_not_offered_and_a_handshake_closes_the_connection(own_only, api):
    """Nothing is authenticated yet: clients that are told to, say so themselves, as the API is not advertised."""
    assert not SASL_APIS & set(advertised(api))
    api.send_bytes(wire.frame(wire.struct.pack(">hhih", 17, 1, 1, -1) + b"\0\x05PLAIN"))
    assert api.is_closed()


def test_cluster_and_controller_are_the_same_on_every_connection(address):
    def ask():
        with Api(address) as one:
            answer = one.call("Metadata", 8, topics=[])
            return answer.cluster_id, answer.controller_id, [(b.node_id, b.host, b.port) for b in answer.brokers]

    cluster_id, controller, brokers = ask()
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", cluster_id), cluster_id
    assert controller in [node_id for node_id, _, _ in brokers]
    assert ask() == (cluster_id, controller, brokers)


def test_the_advertised_address_is_the_one_that_was_given(api, address):
    host, port = address.rsplit(":", 1)
    brokers = api.call("Metadata", 1, topics=[]).brokers
    assert [(one.host, one.port) for one in brokers] == [(host, int(port))]


@pytest.mark.parametrize("version", range(0, 13))
def test_metadata_describes_a_topic_in_every_version(api, new_topic, version):
    name = new_topic(3)
    answer = api.call("Metadata", version, topics=[{"name": name}])
    topic = answer.topics[0]
    assert (topic.error_code, topic.name, len(topic.partitions)) == (NONE, name, 3)
    nodes = [one.node_id for one in answer.brokers]
    for partition in topic.partitions:
        assert partition.error_code == NONE and partition.leader_id in nodes
        assert partition.replicas == partition.isr == [partition.leader_id]
        assert partition.get("leader_epoch", 0) >= 0
    assert sorted(one.index for one in topic.partitions) == [0, 1, 2]
    if version >= 10:
        assert topic.topic_id.int != 0
    if version >= 8:
        assert topic.authorized_operations == -(1 << 31), "not asked for"


def test_metadata_lists_all_topics_for_null_and_in_version_0_for_an_empty_list(api, topic):
    for version, asked in [(0, []), (1, None), (12, None)]:
        assert topic in [one.name for one in api.call("Metadata", version, topics=asked).topics], version


@pytest.mark.parametrize("version", [1, 4, 9, 12])
def test_metadata_lists_no_topic_for_an_empty_list(api, topic, version):
    assert api.call("Metadata", version, topics=[]).topics == []


def test_metadata_finds_a_topic_by_its_id(api, topic):
    answer = api.call("Metadata", 12, topics=[{"topic_id": api.topic_id(topic), "name": None}])
    assert [(one.error_code, one.name) for one in answer.topics] == [(NONE, topic)]


@pytest.mark.parametrize("version", [10, 11])
def test_metadata_takes_no_null_name_before_version_12(api, topic, version):
    asked = [{"topic_id": api.topic_id(topic), "name": None}, {"name": topic}]
    answer = api.call("Metadata", version, topics=asked)
    assert INVALID_REQUEST in {one.error_code for one in answer.topics}


def test_metadata_knows_no_topic_by_the_id_it_had_before_it_was_made_again(api, topic):
    old = api.topic_id(topic)
    api.delete_topic(topic)
    api.create_topic(topic)
    answer = api.call("Metadata", 12, topics=[{"topic_id": old, "name": None}])
    assert [one.error_code for one in answer.topics] == [UNKNOWN_TOPIC_ID]


def test_metadata_without_permission_to_create_creates_nothing(api, new_name):
    name = new_name()
    for _ in range(2):
        answer = api.call("Metadata", 9, topics=[{"name": name}], allow_auto_topic_creation=False)
        assert answer.topics[0].error_code == UNKNOWN_TOPIC_OR_PARTITION
    assert name not in [one.name for one in api.call("Metadata", 9, topics=None).topics]


@pytest.mark.parametrize("version", range(0, 14))
def test_a_topic_that_metadata_creates_is_answered_at_once(own_only, api, new_name, version):
    """Kafka answers it with an error first; see src/handlers/metadata.rs."""
    name = new_name()
    topic = api.call("Metadata", version, topics=[{"name": name}]).topics[0]
    assert (topic.error_code, topic.name, len(topic.partitions)) == (NONE, name, 1)
    assert api.append(name, b"a") == 0, "and its partition is there"


@pytest.mark.parametrize("version", [1, 4, 9, 12])
def test_metadata_creates_a_topic_that_is_asked_for(api, new_name, version):
    name = new_name()
    first = api.call("Metadata", version, topics=[{"name": name}]).topics[0]
    assert first.error_code in (NONE, 3, 5), first
    api.wait_for_leader(name)
