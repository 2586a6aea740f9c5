"""ApiVersions, what is advertised, and the cluster as Metadata describes it."""

import re

import pytest

import wire
from apis import Api
from errors import INVALID_REQUEST, NONE, UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_VERSION
from schemas import API_KEYS

GROUP_APIS = {8, 9, 10, 11, 12, 13, 14, 15, 16}
NOT_WHOLE_YET = {71, 72, *range(76, 92)}


def advertised(api):
    return {one.key: (one.min, one.max) for one in api.call("ApiVersions", 3).api_keys}


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_api_versions_is_answered_in_the_version_asked_for(api, version):
    answer = api.call("ApiVersions", version)
    assert answer.error_code == NONE
    assert {API_KEYS["Produce"], API_KEYS["Fetch"], API_KEYS["ApiVersions"]} <= {one.key for one in answer.api_keys}


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


def test_metadata_without_permission_to_create_creates_nothing(api, new_name):
    name = new_name()
    for _ in range(2):
        answer = api.call("Metadata", 9, topics=[{"name": name}], allow_auto_topic_creation=False)
        assert answer.topics[0].error_code == UNKNOWN_TOPIC_OR_PARTITION
    assert name not in [one.name for one in api.call("Metadata", 9, topics=None).topics]


@pytest.mark.parametrize("version", [1, 4, 9, 12])
def test_metadata_creates_a_topic_that_is_asked_for(api, new_name, version):
    name = new_name()
    first = api.call("Metadata", version, topics=[{"name": name}]).topics[0]
    assert first.error_code in (NONE, 3, 5), first
    api.wait_for_leader(name)
