"""What members and tools rely on in the classic group protocol, and what lies in `__consumer_offsets`."""

import os

import confluent_kafka
import pytest

import batches
import wire
from apis import Api
from errors import (
    GROUP_ID_NOT_FOUND,
    ILLEGAL_GENERATION,
    INVALID_SESSION_TIMEOUT,
    INVALID_TOPIC_EXCEPTION,
    NONE,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
)
from schemas import f
from test_groups import METADATA, RANGE, commit, committed, describe, find, join, lead

OFFSETS_TOPIC, OFFSETS_PARTITIONS = "__consumer_offsets", 50
NOT_ASKED = -(1 << 31)
# Keys and values of the topic, each behind its version: Kafka's OffsetCommitKey 1 and value 3, GroupMetadataKey 2
# and value 3.
OFFSET_KEY = [f("group", "string"), f("topic", "string"), f("partition", "int32")]
OFFSET_VALUE = [f("offset", "int64"), f("leader_epoch", "int32"), f("metadata", "string"), f("commit_time_ms", "int64")]
GROUP_KEY = [f("group", "string")]
GROUP_VALUE = [
    f("protocol_type", "string"), f("generation", "int32"), f("protocol", "string"), f("leader", "string"),
    f("state_time_ms", "int64"),
    f("members", [
        f("member_id", "string"), f("group_instance_id", "string"), f("client_id", "string"),
        f("client_host", "string"), f("rebalance_timeout_ms", "int32"), f("session_timeout_ms", "int32"),
        f("subscription", "bytes"), f("assignment", "bytes"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("protocol_type", ["connect", "sr", "consumer", "what ever"])
def test_any_protocol_type_joins_and_its_bytes_are_passed_on_unread(api, new_name, protocol_type):
    group, metadata, assignment = new_name(), os.urandom(100), os.urandom(300)
    protocols = [{"name": "v0", "metadata": metadata}]
    member = lead(api, group, protocol_type=protocol_type, protocols=protocols, assignment=assignment)
    found = describe(api, group)
    assert (found.state, found.protocol_type, found.protocol) == ("Stable", protocol_type, "v0")
    assert [(one.metadata, one.assignment) for one in found.members] == [(metadata, assignment)]
    mine = {"generation_id": member.generation_id, "member_id": member.member_id}
    assert api.call("Heartbeat", 3, group_id=group, **mine).error_code == NONE


@pytest.mark.parametrize(
    "timeout_ms, error",
    [(5_999, INVALID_SESSION_TIMEOUT), (6_000, NONE), (1_800_000, NONE), (1_800_001, INVALID_SESSION_TIMEOUT)],
)
def test_sessions_last_from_six_seconds_to_thirty_minutes(api, new_name, timeout_ms, error):
    assert join(api, new_name(), session_timeout_ms=timeout_ms).error_code == error


def two_joins(first, second, group):
    """Both ask before either is answered; version 3 has no round for the member id."""
    values = {"group_id": group, "protocols": RANGE, "rebalance_timeout_ms": 10_000}
    asked = [(one, one.send("JoinGroup", 3, **values)) for one in (first, second)]
    return [one.receive(sent) for one, sent in asked]


def test_a_new_group_waits_three_seconds_for_more_members_by_default(start, data):
    one = start(data)
    with Api(one.address) as first, Api(one.address) as second:
        resources = [{"kind": 4, "name": "1", "keys": ["group.initial.rebalance.delay.ms"]}]
        assert first.call("DescribeConfigs", 2, resources=resources).results[0].configs[0].value == "3000"
        find(first, "g")
        answers = two_joins(first, second, "g")
    assert [answer.generation_id for answer in answers] == [1, 1], "one rebalance for both"
    assert sorted(len(answer.members) for answer in answers) == [0, 2]


@pytest.fixture
def pair(api, address, new_name):
    """A stable group of a leader and a follower: its name, generation, and both members' connections and ids."""
    group = new_name()
    first = lead(api, group)
    with Api(address) as other:
        sent = other.send("JoinGroup", 3, group_id=group, protocols=RANGE, rebalance_timeout_ms=10_000)
        leader = api, first.member_id
        api.until(lambda: beat(leader, group, first.generation_id) == REBALANCE_IN_PROGRESS, "no rebalance")
        values = {"group_id": group, "member_id": first.member_id, "rebalance_timeout_ms": 10_000}
        again = api.call("JoinGroup", 3, protocols=RANGE, **values)
        follower = other, other.receive(sent).member_id
        yield group, again.generation_id, [leader, follower]


def sync(member, group, generation, members=()):
    connection, member_id = member
    values = {"group_id": group, "generation_id": generation, "member_id": member_id}
    values["assignments"] = [{"member_id": name, "assignment": b"some"} for _, name in members]
    return connection.send("SyncGroup", 3, **values)


def settle(group, generation, members):
    leader, follower = members
    waiting = sync(follower, group, generation)
    sent = sync(leader, group, generation, members)
    answers = leader[0].receive(sent), follower[0].receive(waiting)
    assert [(one.error_code, one.assignment) for one in answers] == [(NONE, b"some")] * 2


def beat(member, group, generation):
    connection, member_id = member
    values = {"group_id": group, "generation_id": generation, "member_id": member_id}
    return connection.call("Heartbeat", 3, **values).error_code


def test_a_follower_that_joins_again_as_it_was_starts_no_rebalance(pair):
    group, generation, members = pair
    settle(group, generation, members)
    leader, (connection, member_id) = members
    again = connection.call("JoinGroup", 3, group_id=group, member_id=member_id, protocols=RANGE)
    assert (again.error_code, again.generation_id, again.members) == (NONE, generation, [])
    assert beat(leader, group, generation) == NONE
    changed = [{"name": "range", "metadata": METADATA + b"\0"}]
    sent = connection.send("JoinGroup", 3, group_id=group, member_id=member_id, protocols=changed)
    leader[0].until(lambda: beat(leader, group, generation) == REBALANCE_IN_PROGRESS, "no rebalance")
    new = leader[0].call("JoinGroup", 3, group_id=group, member_id=leader[1], protocols=RANGE)
    assert new.generation_id == connection.receive(sent).generation_id == generation + 1


def test_a_rebalance_is_said_to_heartbeats_syncs_and_commits_until_it_is_over(pair, topic):
    group, generation, members = pair
    leader, follower = members
    mine = {"generation_id": generation, "member_id": leader[1]}
    assert commit(leader[0], group, topic, 1, **mine) == REBALANCE_IN_PROGRESS, "nobody has its partitions yet"
    settle(group, generation, members)
    assert commit(leader[0], group, topic, 1, **mine) == NONE
    sent = leader[0].send("JoinGroup", 3, group_id=group, member_id=leader[1], protocols=RANGE)
    follower[0].until(lambda: beat(follower, group, generation) == REBALANCE_IN_PROGRESS, "a leader begins a rebalance")
    assert follower[0].receive(sync(follower, group, generation)).error_code == REBALANCE_IN_PROGRESS
    mine["member_id"] = follower[1]
    assert commit(follower[0], group, topic, 2, **mine) == NONE, "what was read before it counts"
    again = follower[0].call("JoinGroup", 3, group_id=group, member_id=follower[1], protocols=RANGE)
    assert leader[0].receive(sent).generation_id == again.generation_id == generation + 1
    settle(group, generation + 1, members)
    assert commit(follower[0], group, topic, 3, **mine) == ILLEGAL_GENERATION
    assert beat(follower, group, generation) == ILLEGAL_GENERATION
    assert beat((follower[0], "nobody"), group, generation + 1) == UNKNOWN_MEMBER_ID


def partition_of(group):
    """As Java's String.hashCode says."""
    code = 0
    for byte in group.encode("utf-16-be")[1::2]:
        code = (code * 31 + byte) & 0xFFFFFFFF
    return (code & 0x7FFFFFFF) % OFFSETS_PARTITIONS


def decoded(data, fields):
    """Version and fields of a key or value, to its last byte."""
    reader = wire.Reader(data)
    version = reader.number("int16")
    message = reader.struct(fields, 0, False)
    assert reader.left == 0
    return version, message


def stored(api, group):
    """Records about the group as any reader finds them: key version, key, value; the last of each key."""
    found = {}
    for batch in api.read(OFFSETS_TOPIC, partition=partition_of(group)):
        for record in batches.records(batch):
            version = int.from_bytes(record.key[:2])
            key = tuple(decoded(record.key, OFFSET_KEY if version < 2 else GROUP_KEY)[1].values())
            if key[0] == group:
                found[version, *key] = record.value
    return found


def test_the_offsets_topic_holds_kafka_s_own_records(api, new_name, topic):
    group = new_name()
    member = lead(api, group, group_instance_id="one")
    mine = {"generation_id": member.generation_id, "member_id": member.member_id, "group_instance_id": "one"}
    assert commit(api, group, topic, 41, metadata="it's me", **mine) == NONE
    records = stored(api, group)
    version, offset = decoded(records[1, group, topic, 0], OFFSET_VALUE)
    assert (version, offset.offset, offset.leader_epoch, offset.metadata) == (3, 41, -1, "it's me")
    assert offset.commit_time_ms > batches.NOW
    version, value = decoded(records[2, group], GROUP_VALUE)
    assert (version, value.protocol_type, value.protocol, value.leader) == (3, "consumer", "range", member.member_id)
    (only,) = value.members
    assert (only.member_id, only.group_instance_id, only.client_id) == (member.member_id, "one", "wire")
    assert (only.session_timeout_ms, only.rebalance_timeout_ms) == (10_000, 10_000)
    assert (only.subscription, only.assignment) == (METADATA, b"mine")
    api.call("LeaveGroup", 3, group_id=group, members=[{"member_id": member.member_id}])
    assert api.call("DeleteGroups", 1, groups=[group]).results[0].error_code == NONE
    assert set(stored(api, group).values()) == {None}, "what is deleted has its tombstones"


def test_a_stock_consumer_reads_the_offsets_topic(address, api, new_name, topic):
    group = new_name()
    find(api, group)
    assert commit(api, group, topic, 41) == NONE
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": new_name()})
    place = confluent_kafka.TopicPartition(OFFSETS_TOPIC, partition_of(group), confluent_kafka.OFFSET_BEGINNING)
    consumer.assign([place])
    keys = []
    api.until(lambda: keys.extend(one.key() for one in consumer.consume(100, 0.2)) or any(group.encode() in key for key in keys), "not found")
    consumer.close()


def test_nobody_else_writes_to_the_offsets_topic(api, new_name):
    find(api, new_name())
    batch = batches.build([batches.Record(b"k", b"v")])
    before = api.offset(OFFSETS_TOPIC, -1)
    assert api.produce(OFFSETS_TOPIC, batch).error_code == INVALID_TOPIC_EXCEPTION
    assert api.offset(OFFSETS_TOPIC, -1) == before


@pytest.mark.parametrize("version", range(2, 10))
def test_a_group_without_members_takes_commits_without_a_generation_whoever_sends_them(api, new_name, topic, version):
    """librdkafka's consumer of the new protocol names itself even where it assigned its partitions by hand."""
    group = new_name()
    find(api, group)
    for member_id in ("", "never-joined"):
        assert commit(api, group, topic, 5, version, member_id=member_id) == NONE
    assert commit(api, group, topic, 6, version, member_id="never-joined", generation_id=1) == UNKNOWN_MEMBER_ID
    no_such_group = commit(api, new_name(), topic, 6, version, member_id="m", generation_id=1)
    assert no_such_group == (GROUP_ID_NOT_FOUND if version >= 9 else ILLEGAL_GENERATION)
    assert committed(api, group, topic).offset == 5


def test_rights_are_told_only_where_they_are_asked_for(api, new_name):
    group = new_name()
    lead(api, group)
    for version in range(3, 7):
        for asked in (False, True):
            answer = api.call("DescribeGroups", version, groups=[group], include_authorized_operations=asked)
            assert (answer.groups[0].authorized_operations == NOT_ASKED) != asked
    for asked in (False, True):
        cluster = api.call("DescribeCluster", 1, include_cluster_authorized_operations=asked)
        assert (cluster.authorized_operations == NOT_ASKED) != asked


def test_offsets_outlive_an_empty_group_by_seven_days(own_only, api, new_name, topic):
    """How long is shown by its setting; the rule itself has its tests in the coordinator."""
    node = str(api.call("Metadata", 9, topics=[]).brokers[0].node_id)
    resources = [{"kind": 4, "name": node, "keys": ["offsets.retention.minutes"]}]
    assert api.call("DescribeConfigs", 2, resources=resources).results[0].configs[0].value == str(7 * 24 * 60)
    group = new_name()
    member = lead(api, group)
    mine = {"generation_id": member.generation_id, "member_id": member.member_id}
    assert commit(api, group, topic, 7, **mine) == NONE
    api.call("LeaveGroup", 3, group_id=group, members=[{"member_id": member.member_id}])
    assert describe(api, group).state == "Empty"
    assert committed(api, group, topic).offset == 7, "and its lag can still be told"
