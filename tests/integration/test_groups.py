"""Consumer groups under the classic protocol, and their offsets: every version of every API, then stock clients."""

import threading
import time

import confluent_kafka
import kafka
import pytest

from apis import Api
from errors import (
    COORDINATOR_LOAD_IN_PROGRESS,
    FENCED_INSTANCE_ID,
    GROUP_ID_NOT_FOUND,
    GROUP_SUBSCRIBED_TO_TOPIC,
    ILLEGAL_GENERATION,
    INCONSISTENT_GROUP_PROTOCOL,
    INVALID_GROUP_ID,
    INVALID_SESSION_TIMEOUT,
    MEMBER_ID_REQUIRED,
    NON_EMPTY_GROUP,
    NONE,
    OFFSET_METADATA_TOO_LARGE,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
)

WAIT_S = 120.0  # only so that what waits for ever fails its test
# A subscription to the topic "t" as Kafka's clients write it.
METADATA = b"\0\0" + b"\0\0\0\1" + b"\0\1t" + b"\xff\xff\xff\xff"
RANGE = [{"name": "range", "metadata": METADATA}]


def versions(first, last):
    return pytest.mark.parametrize("version", range(first, last + 1))


def find(api, group, version=3):
    """The group's coordinator, once it has one."""
    answers = []

    def found():
        if version >= 4:
            answers.append(api.call("FindCoordinator", version, coordinator_keys=[group]).coordinators[0])
        else:
            answers.append(api.call("FindCoordinator", version, key=group))
        return answers[-1].error_code == NONE

    api.until(found, f"no coordinator: {answers}")
    return answers[-1]


def join(api, group, version=5, member_id="", **values):
    """Joins, and again with the id that it is given; returns the answer."""
    find(api, group)
    values.setdefault("protocols", RANGE)
    if version >= 3:
        values.setdefault("rebalance_timeout_ms", 10_000)
    while True:
        answer = api.call("JoinGroup", version, group_id=group, member_id=member_id, **values)
        if answer.error_code == MEMBER_ID_REQUIRED:
            assert version >= 4
            member_id = answer.member_id
        elif answer.error_code != COORDINATOR_LOAD_IN_PROGRESS:
            return answer


def lead(api, group, version=5, assignment=b"mine", **values):
    """Joins as the only member and assigns to itself; returns the answer to the join."""
    answer = join(api, group, version, **values)
    assert answer.error_code == NONE, answer
    assert answer.leader == answer.member_id
    mine = [{"member_id": answer.member_id, "assignment": assignment}]
    synced = api.call(
        "SyncGroup", 3, group_id=group, generation_id=answer.generation_id, member_id=answer.member_id, assignments=mine
    )
    assert (synced.error_code, synced.assignment) == (NONE, assignment)
    return answer


def commit(api, group, topic, offset, version=8, partition=0, metadata="", **values):
    one = {"index": partition, "offset": offset, "metadata": metadata}
    answer = api.call("OffsetCommit", version, group_id=group, topics=[{"name": topic, "partitions": [one]}], **values)
    return answer.topics[0].partitions[0].error_code


def committed(api, group, topic, version=7, partition=0):
    wanted = [{"name": topic, "partitions": [partition]}]
    if version >= 8:
        group = api.call("OffsetFetch", version, groups=[{"group_id": group, "topics": wanted}]).groups[0]
        assert group.error_code == NONE
        return group.topics[0].partitions[0]
    answer = api.call("OffsetFetch", version, group_id=group, topics=wanted)
    assert answer.get("error_code", NONE) == NONE
    return answer.topics[0].partitions[0]


def describe(api, group, version=5):
    return api.call("DescribeGroups", version, groups=[group]).groups[0]


@versions(0, 6)
def test_the_coordinator_is_found_in_every_version(api, new_name, version):
    found = find(api, new_name(), version)
    assert found.port > 0 and found.host and found.node_id >= 0


@versions(0, 9)
def test_a_member_joins_in_every_version_and_new_ones_come_again_with_their_id_from_4_on(api, new_name, version):
    group = new_name()
    find(api, group)
    first = api.call("JoinGroup", version, group_id=group, protocols=RANGE)
    if version >= 4:
        assert first.error_code == MEMBER_ID_REQUIRED and first.member_id
    answer = join(api, group, version, member_id=first.member_id)
    assert answer.error_code == NONE, answer
    assert (answer.protocol_name, answer.leader) == ("range", answer.member_id)
    assert [(m.member_id, m.metadata) for m in answer.members] == [(answer.member_id, METADATA)]


@versions(0, 5)
def test_assignments_are_passed_on_in_every_version(api, new_name, version):
    group = new_name()
    answer = join(api, group)
    mine = [{"member_id": answer.member_id, "assignment": b"\0\1anything"}]
    member = {"group_id": group, "generation_id": answer.generation_id, "member_id": answer.member_id}
    for assignments in (mine, []):
        synced = api.call("SyncGroup", version, assignments=assignments, **member)
        assert (synced.error_code, synced.assignment) == (NONE, b"\0\1anything")
    member["generation_id"] += 1
    assert api.call("SyncGroup", version, **member).error_code == ILLEGAL_GENERATION
    if version >= 5:
        member["generation_id"] -= 1
        wrong = api.call("SyncGroup", version, protocol_name="sticky", **member)
        assert wrong.error_code == INCONSISTENT_GROUP_PROTOCOL


@versions(0, 4)
def test_heartbeats_say_what_is_wrong_in_every_version(api, new_name, version):
    group = new_name()
    member = lead(api, group)
    beat = lambda **values: api.call("Heartbeat", version, **values).error_code  # noqa: E731
    right = {"group_id": group, "generation_id": member.generation_id, "member_id": member.member_id}
    assert beat(**right) == NONE
    assert beat(**{**right, "generation_id": 99}) == ILLEGAL_GENERATION
    assert beat(**{**right, "member_id": "nobody"}) == UNKNOWN_MEMBER_ID
    assert beat(**{**right, "group_id": new_name()}) == UNKNOWN_MEMBER_ID


@versions(0, 5)
def test_members_leave_in_every_version(api, new_name, version):
    group = new_name()
    member = lead(api, group)

    def leave(member_id):
        if version < 3:
            return api.call("LeaveGroup", version, group_id=group, member_id=member_id).error_code
        answer = api.call("LeaveGroup", version, group_id=group, members=[{"member_id": member_id}])
        assert answer.error_code == NONE
        return answer.members[0].error_code

    assert leave("nobody") == UNKNOWN_MEMBER_ID
    assert leave(member.member_id) == NONE
    assert describe(api, group).state == "Empty"


@versions(2, 9)
def test_offsets_metadata_and_epochs_are_read_back_as_committed_in_every_version(api, new_name, topic, version):
    group = new_name()
    find(api, group)
    assert committed(api, group, topic).offset == -1
    assert commit(api, group, topic, 41, version, metadata="it's me") == NONE
    for fetch_version in range(1, 10):
        found = committed(api, group, topic, fetch_version)
        assert (found.offset, found.metadata, found.error_code) == (41, "it's me", NONE)
    assert commit(api, group, topic, 7, version, partition=9) == UNKNOWN_TOPIC_OR_PARTITION
    assert commit(api, group, topic, 7, version, metadata="x" * 4097) == OFFSET_METADATA_TOO_LARGE
    assert commit(api, group, topic, 7, version, generation_id=3, member_id="m") == UNKNOWN_MEMBER_ID
    assert committed(api, group, topic).offset == 41


def test_the_leader_epoch_of_a_commit_is_read_back(api, new_name, topic):
    group = new_name()
    find(api, group)
    one = {"index": 0, "offset": 5, "leader_epoch": 3, "metadata": None}
    api.call("OffsetCommit", 8, group_id=group, topics=[{"name": topic, "partitions": [one]}])
    assert (committed(api, group, topic).leader_epoch, committed(api, group, topic).metadata) == (3, "")


def test_no_topics_means_all_topics(api, new_name, new_topic):
    group, topics = new_name(), sorted([new_topic(), new_topic()])
    find(api, group)
    for topic in topics:
        assert commit(api, group, topic, 3) == NONE
    answer = api.call("OffsetFetch", 7, group_id=group, topics=None)
    assert [one.name for one in answer.topics] == topics
    answer = api.call("OffsetFetch", 8, groups=[{"group_id": group, "topics": None}, {"group_id": "x", "topics": None}])
    assert [[one.name for one in found.topics] for found in answer.groups] == [topics, []]


def test_a_group_with_members_takes_commits_of_its_members_only(api, new_name, topic):
    group = new_name()
    member = lead(api, group)
    assert commit(api, group, topic, 1) == UNKNOWN_MEMBER_ID
    mine = {"generation_id": member.generation_id, "member_id": member.member_id}
    assert commit(api, group, topic, 1, **mine) == NONE
    assert commit(api, group, topic, 1, **{**mine, "generation_id": 0}) == ILLEGAL_GENERATION


@versions(0, 6)
def test_groups_are_described_in_every_version(api, new_name, version):
    group = new_name()
    absent = describe(api, group, version)
    assert (absent.state, absent.error_code) == ("Dead", GROUP_ID_NOT_FOUND if version >= 6 else NONE)
    member = lead(api, group)
    found = describe(api, group, version)
    assert (found.state, found.protocol_type, found.protocol) == ("Stable", "consumer", "range")
    only = found.members[0]
    assert (only.member_id, only.metadata, only.assignment) == (member.member_id, METADATA, b"mine")
    assert only.client_host == "/127.0.0.1"


@versions(0, 5)
def test_groups_are_listed_in_every_version_by_state_and_type(api, new_name, topic, version):
    stable, empty = new_name(), new_name()
    lead(api, stable)
    assert commit(api, empty, topic, 1) == NONE
    names = lambda **values: {one.group_id for one in api.call("ListGroups", version, **values).groups}  # noqa: E731
    assert {stable, empty} <= names()
    if version >= 4:
        assert stable in names(states_filter=["stable"]) and empty not in names(states_filter=["stable"])
    if version >= 5:
        assert stable in names(types_filter=["classic"]) and stable not in names(types_filter=["consumer"])


@versions(0, 2)
def test_only_empty_groups_are_deleted_and_their_offsets_with_them(api, new_name, topic, version):
    group = new_name()
    delete = lambda: api.call("DeleteGroups", version, groups=[group]).results[0].error_code  # noqa: E731
    find(api, group)
    assert delete() == GROUP_ID_NOT_FOUND
    member = lead(api, group)
    assert commit(api, group, topic, 1, generation_id=member.generation_id, member_id=member.member_id) == NONE
    assert delete() == NON_EMPTY_GROUP
    api.call("LeaveGroup", 3, group_id=group, members=[{"member_id": member.member_id}])
    assert delete() == NONE
    assert committed(api, group, topic).offset == -1
    assert describe(api, group).state == "Dead"


def test_offsets_of_topics_that_members_read_are_not_deleted(api, new_name, new_topic):
    group, free, read = new_name(), new_topic(), new_topic()
    metadata = b"\0\0" + b"\0\0\0\1" + len(read).to_bytes(2, "big") + read.encode() + b"\xff\xff\xff\xff"
    member = lead(api, group, protocols=[{"name": "range", "metadata": metadata}])
    mine = {"generation_id": member.generation_id, "member_id": member.member_id}
    for topic in (free, read):
        assert commit(api, group, topic, 1, **mine) == NONE
    topics = [{"name": topic, "partitions": [{"index": 0}]} for topic in (free, read)]
    answer = api.call("OffsetDelete", 0, group_id=group, topics=topics)
    assert [one.partitions[0].error_code for one in answer.topics] == [NONE, GROUP_SUBSCRIBED_TO_TOPIC]
    assert [committed(api, group, topic).offset for topic in (free, read)] == [-1, 1]


def test_a_topic_of_the_same_name_does_not_inherit_what_was_committed_for_a_deleted_one(start, data):
    one = start(data)
    with Api(one.address) as api:
        for group in ("one", "two", "three"):
            find(api, group)
        for topic in ("gone", "kept"):
            api.create_topic(topic)
            for group in ("one", "two"):
                assert commit(api, group, topic, 7) == NONE
        member = lead(api, "three")
        mine = {"generation_id": member.generation_id, "member_id": member.member_id}
        assert commit(api, "three", "gone", 7, **mine) == NONE
        api.delete_topic("gone")
        api.create_topic("gone")
        assert [committed(api, group, "gone").offset for group in ("one", "two", "three")] == [-1, -1, -1]
        assert [committed(api, group, "kept").offset for group in ("one", "two")] == [7, 7]
        assert commit(api, "one", "gone", 3) == NONE
    one.kill()
    # As it is stored, too.
    with Api(start(data).address) as api:
        for group in ("one", "two"):
            find(api, group)
        assert [committed(api, group, "gone").offset for group in ("one", "two")] == [3, -1]
        assert committed(api, "two", "kept").offset == 7


def test_what_a_join_may_not_be(api, new_name):
    group = new_name()
    lead(api, group)
    other = [{"name": "other", "metadata": b""}]
    assert join(api, group, protocols=other).error_code == INCONSISTENT_GROUP_PROTOCOL
    assert join(api, group, protocol_type="connect").error_code == INCONSISTENT_GROUP_PROTOCOL
    assert join(api, group, session_timeout_ms=1).error_code == INVALID_SESSION_TIMEOUT
    assert join(api, group, member_id="nobody").error_code == UNKNOWN_MEMBER_ID
    assert join(api, "").error_code == INVALID_GROUP_ID


def test_a_second_member_makes_the_first_join_again(api, address, new_name):
    group = new_name()
    first = lead(api, group)
    answers = []
    with Api(address) as other:
        thread = threading.Thread(target=lambda: answers.append(join(other, group)))
        thread.start()
        beat = {"group_id": group, "generation_id": first.generation_id, "member_id": first.member_id}
        api.until(lambda: api.call("Heartbeat", 3, **beat).error_code == REBALANCE_IN_PROGRESS, "no rebalance")
        assert commit(api, group, "t", 1, generation_id=first.generation_id, member_id=first.member_id) in (
            NONE,
            UNKNOWN_TOPIC_OR_PARTITION,
        )
        again = join(api, group, member_id=first.member_id)
        thread.join(WAIT_S)
    assert (again.generation_id, again.leader) == (first.generation_id + 1, first.member_id)
    assert len(again.members) == 2
    assert (answers[0].generation_id, answers[0].members) == (again.generation_id, [])


def test_a_static_member_that_returns_keeps_its_place_and_fences_its_former_self(api, new_name):
    group = new_name()
    first = lead(api, group, group_instance_id="one")
    again = join(api, group, version=9, group_instance_id="one")
    assert (again.error_code, again.generation_id) == (NONE, first.generation_id), again
    assert again.member_id != first.member_id and again.skip_assignment
    beat = {"group_id": group, "generation_id": first.generation_id, "group_instance_id": "one"}
    assert api.call("Heartbeat", 3, member_id=first.member_id, **beat).error_code == FENCED_INSTANCE_ID
    assert api.call("Heartbeat", 3, member_id=again.member_id, **beat).error_code == NONE


def test_the_offsets_topic_is_internal_compacted_and_not_for_others(api, new_name):
    find(api, new_name())
    topic = api.call("Metadata", 12, topics=[{"name": "__consumer_offsets"}]).topics[0]
    assert topic.is_internal and len(topic.partitions) == 50
    resources = [{"kind": 2, "name": "__consumer_offsets", "keys": ["cleanup.policy"]}]
    assert api.call("DescribeConfigs", 2, resources=resources).results[0].configs[0].value == "compact"
    assert api.call("DeleteTopics", 5, topic_names=["__consumer_offsets"]).responses[0].error_code != NONE


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_offsets_and_groups_survive_any_end(start, data, how):
    member = None
    for number in range(3):
        one = start(data)
        with Api(one.address) as api:
            if number == 0:
                api.create_topic("t", 4)
                member = lead(api, "with-member")
            for at in range(4):
                found = -1 if number == 0 else number * 10 + at
                find(api, f"g{at}")
                api.until(lambda: committed(api, f"g{at}", "t", 1, at).error_code == NONE, "still loading")
                assert committed(api, f"g{at}", "t", partition=at).offset == found
                assert commit(api, f"g{at}", "t", number * 10 + 10 + at, partition=at, metadata="m") == NONE
            beat = {"group_id": "with-member", "generation_id": member.generation_id, "member_id": member.member_id}
            assert api.call("Heartbeat", 3, **beat).error_code == NONE
            assert describe(api, "with-member").members[0].assignment == b"mine"
        assert getattr(one, how)() in (0, None), one.log()


def produce(address, topic, values, partitions=1):
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for number, value in enumerate(values):
        producer.produce(topic, key=str(number), value=value, partition=number % partitions)
    assert producer.flush(WAIT_S) == 0


class Member(threading.Thread):
    """A confluent consumer that reads until it is told to leave, or to vanish."""

    def __init__(self, address, group, topic, seen, **config):
        super().__init__(daemon=True)
        self.consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": address,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                **config,
            }
        )
        self.assigned, self.seen, self.leaving = [], seen, threading.Event()
        self.consumer.subscribe([topic])
        self.start()

    def run(self):
        while not self.leaving.is_set():
            message = self.consumer.poll(0.1)
            self.assigned = sorted(one.partition for one in self.consumer.assignment())
            if message is not None and not message.error():
                self.seen.append(message.value())
        self.consumer.close()

    def leave(self):
        self.leaving.set()
        self.join(WAIT_S)


def until(condition, complaint):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.05)


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_three_members_share_the_partitions_as_they_join_and_leave(address, new_topic, strategy):
    topic, seen = new_topic(partitions=4), []
    produce(address, topic, [b"%d" % n for n in range(100)], partitions=4)
    config = {"partition.assignment.strategy": strategy}
    members = [Member(address, f"group-of-{topic}", topic, seen, **config) for _ in range(3)]

    def shares():
        return sorted(len(member.assigned) for member in members)

    try:
        until(lambda: shares() == [1, 1, 2] and len(set(seen)) == 100, lambda: f"{shares()}, {len(set(seen))} seen")
        members.pop().leave()
        until(lambda: shares() == [2, 2], shares)
        members.append(Member(address, f"group-of-{topic}", topic, seen, **config))
        until(lambda: shares() == [1, 1, 2], shares)
    finally:
        for member in members:
            member.leave()
    assert len(set(seen)) == 100


def test_a_member_that_vanishes_is_replaced_after_its_session(address, new_topic):
    topic, seen = new_topic(partitions=2), []
    staying = Member(address, f"group-of-{topic}", topic, seen)
    crashed = kafka.KafkaConsumer(
        topic, bootstrap_servers=address, group_id=f"group-of-{topic}", session_timeout_ms=6000, max_poll_interval_ms=10_000
    )
    try:
        until(lambda: crashed.poll(100) is not None and len(crashed.assignment()) == 1, crashed.assignment)
        until(lambda: len(staying.assigned) == 1, lambda: staying.assigned)
        crashed._client.close()  # no LeaveGroup, no more heartbeats
        crashed._coordinator._heartbeat_thread = None
        until(lambda: len(staying.assigned) == 2, lambda: staying.assigned)
    finally:
        staying.leave()


@pytest.mark.parametrize("auto_commit", [True, False])
def test_a_group_goes_on_where_it_stopped(address, new_topic, auto_commit):
    topic = new_topic()
    for part in range(3):
        produce(address, topic, [b"%d" % (part * 10 + n) for n in range(10)])
        consumer = kafka.KafkaConsumer(
            topic,
            bootstrap_servers=address,
            group_id=f"group-of-{topic}",
            auto_offset_reset="earliest",
            enable_auto_commit=auto_commit,
            consumer_timeout_ms=WAIT_S * 1000,
        )
        values = [next(consumer).value for _ in range(10)]
        if not auto_commit:
            consumer.commit()
        consumer.close()
        assert values == [b"%d" % (part * 10 + n) for n in range(10)]
