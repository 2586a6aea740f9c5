"""Settings of one group (KIP-848): described and altered, and what they change. In raw messages, and by kafka-python."""

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

import broker as broker_process
from apis import Api
from errors import INVALID_CONFIG, INVALID_REQUEST, NONE

GROUP = 32
SET, DELETE, APPEND = 0, 1, 2
OF_GROUP, DEFAULT = 8, 5
SESSION, HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"


def described(api, group):
    asked = {"kind": GROUP, "name": group, "keys": None}
    answer = api.call("DescribeConfigs", 4, resources=[asked], include_synonyms=True, include_documentation=True)
    return answer.results[0]


def values(api, group):
    return {one.name: (one.value, one.source) for one in described(api, group).configs}


def alter(api, group, *changes, validate_only=False):
    configs = [{"name": key, "op": op, "value": value} for key, op, value in changes]
    one = {"kind": GROUP, "name": group, "configs": configs}
    answer = api.call("IncrementalAlterConfigs", 1, resources=[one], validate_only=validate_only)
    return answer.responses[0]


def has_coordinator(api, group):
    found = api.call("FindCoordinator", 4, coordinator_keys=[group]).coordinators[0]
    return found.error_code == NONE


def beat(api, group, member="m", epoch=0):
    api.until(lambda: has_coordinator(api, group), "no coordinator")
    return api.call(
        "ConsumerGroupHeartbeat", 1, group_id=group, member_id=member, member_epoch=epoch, rebalance_timeout_ms=60_000,
        subscribed_topic_names=["nothing"], topic_partitions=[],
    )  # fmt: skip


def test_a_group_has_the_brokers_times_until_it_has_its_own(api, new_name):
    group = new_name()
    assert values(api, group) == {SESSION: ("45000", DEFAULT), HEARTBEAT: ("5000", DEFAULT)}
    assert alter(api, group, (HEARTBEAT, SET, "7000"), (SESSION, SET, "50000"), validate_only=True).error_code == NONE
    assert values(api, group)[HEARTBEAT] == ("5000", DEFAULT)
    assert alter(api, group, (HEARTBEAT, SET, "7000"), (SESSION, SET, "50000")).error_code == NONE
    assert values(api, group) == {SESSION: ("50000", OF_GROUP), HEARTBEAT: ("7000", OF_GROUP)}
    (found,) = [one for one in described(api, group).configs if one.name == HEARTBEAT]
    assert [(one.name, one.value, one.source) for one in found.synonyms] == [(HEARTBEAT, "7000", OF_GROUP)]
    assert found.documentation
    assert alter(api, group, (HEARTBEAT, DELETE, None)).error_code == NONE
    assert values(api, group) == {SESSION: ("50000", OF_GROUP), HEARTBEAT: ("5000", DEFAULT)}


def test_members_are_told_their_groups_heartbeat_interval_from_the_next_one_on(api, new_name):
    group, other = new_name(), new_name()
    joined = beat(api, group)
    assert (joined.error_code, joined.heartbeat_interval_ms) == (NONE, 5000)
    assert alter(api, group, (HEARTBEAT, SET, "6000")).error_code == NONE
    assert beat(api, group, epoch=joined.member_epoch).heartbeat_interval_ms == 6000
    assert beat(api, other).heartbeat_interval_ms == 5000


@pytest.mark.parametrize(
    ("key", "op", "value", "code"),
    [
        (SESSION, SET, "44999", INVALID_CONFIG),
        (SESSION, SET, "60001", INVALID_CONFIG),
        (HEARTBEAT, SET, "4999", INVALID_CONFIG),
        (HEARTBEAT, SET, "soon", INVALID_CONFIG),
        (HEARTBEAT, APPEND, "1", INVALID_CONFIG),
        ("share.session.timeout.ms", SET, "45000", INVALID_CONFIG),
        (SESSION, SET, None, INVALID_REQUEST),
    ],
)
def test_what_a_group_cannot_have_is_refused(api, new_name, key, op, value, code):
    group = new_name()
    refused = alter(api, group, (key, op, value))
    assert refused.error_code == code, refused
    assert refused.error_message
    assert values(api, group)[SESSION] == ("45000", DEFAULT)


def test_a_group_without_a_name_has_no_settings(api):
    assert alter(api, "", (SESSION, SET, "50000")).error_code == INVALID_REQUEST
    assert described(api, "").error_code == INVALID_REQUEST


def test_kafka_python_sets_and_reads_a_group(address, new_name):
    client, group = KafkaAdminClient(bootstrap_servers=address), new_name()
    try:
        client.alter_configs([ConfigResource(ConfigResourceType.GROUP, group, {SESSION: "51000"})])
        assert "51000" in str(client.describe_configs([ConfigResource(ConfigResourceType.GROUP, group)]))
    finally:
        client.close()


def test_settings_of_groups_survive_kill_9(tmp_path):
    broker = broker_process.Broker(tmp_path / "data")
    try:
        with Api(broker.address) as api:
            assert alter(api, "g", (SESSION, SET, "50000")).error_code == NONE
        broker.kill()
        broker = broker_process.Broker(tmp_path / "data")
        with Api(broker.address) as api:
            assert values(api, "g")[SESSION] == ("50000", OF_GROUP)
    finally:
        broker.stop()
