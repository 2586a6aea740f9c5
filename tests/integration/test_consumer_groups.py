"""Consumer groups under the new protocol (KIP-848), driven by librdkafka."""

import subprocess
import sys
import time

import confluent_kafka
import pytest

import broker as broker_process
from members import WAIT_S, create, member, new_group, produce, share, until  # noqa: F401 (`member` is a fixture)


@pytest.fixture
def start(tmp_path):
    """Starts a broker whose groups are quick, on the same directory each time."""
    started = []

    def again():
        quick = ["--set", "group.consumer.min.session.timeout.ms=3s", "--set", "group.consumer.session.timeout.ms=3s"]
        quick += ["--set", "group.consumer.min.heartbeat.interval.ms=200ms"]
        quick += ["--set", "group.consumer.heartbeat.interval.ms=200ms"]
        started.append(broker_process.Broker(tmp_path / "data", *quick))
        return started[-1]

    yield again
    for one in started:
        if one.is_running():
            one.stop()


@pytest.fixture
def quick(start):
    return start()


def test_members_share_partitions_and_take_over_from_who_leaves(quick, member):
    create(quick.address, "t", 6)
    group = new_group()
    members = [member(quick.address, group, ["t"])]
    share(members, 6)
    members += [member(quick.address, group, ["t"]) for _ in range(2)]
    share(members, 6)
    members.pop(0).close()
    share(members, 6)


def test_a_member_that_crashes_loses_its_partitions(quick, member):
    create(quick.address, "t", 4)
    group = new_group()
    stays = member(quick.address, group, ["t"])
    program = (
        "import confluent_kafka, sys\n"
        "one = confluent_kafka.Consumer({'bootstrap.servers': sys.argv[1], 'group.id': sys.argv[2],"
        " 'group.protocol': 'consumer'})\n"
        "one.subscribe(['t'])\n"
        "while len(one.assignment()) < 2: one.poll(0.05)\n"
        "print('has two', flush=True)\n"
        "while True: one.poll(0.05)\n"
    )
    crashes = subprocess.Popen([sys.executable, "-c", program, quick.address, group], stdout=subprocess.PIPE)
    try:
        assert crashes.stdout.readline() == b"has two\n"
        until(lambda: len(stays.partitions()) == 2, lambda: str(stays.partitions()))
    finally:
        crashes.kill()
        crashes.wait()
        crashes.stdout.close()
    share([stays], 4)


def test_committed_offsets_are_where_the_group_goes_on_also_after_kill_9(start, member):
    broker = start()
    create(broker.address, "t", 4)
    produce(broker.address, "t", 40)
    group = new_group()
    first = member(broker.address, group, ["t"])
    until(lambda: len(first.values) == 40, lambda: f"{len(first.values)} {first.errors}")
    first.stop_polling()
    first.consumer.commit(asynchronous=False)
    broker.kill()
    first.consumer.close()
    broker = start()
    produce(broker.address, "t", 8, first=40)
    second = member(broker.address, group, ["t"])
    until(lambda: len(second.values) >= 8, lambda: f"{second.values} {second.errors}")
    assert sorted(int(value) for _, _, value in second.values) == list(range(40, 48))


@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_the_group_uses_the_assignor_that_its_members_ask_for(quick, member, assignor):
    admin = create(quick.address, "t", 5)
    group = new_group()
    members = [member(quick.address, group, ["t"], **{"group.remote.assignor": assignor}) for _ in range(2)]
    share(members, 5)
    found = admin.describe_consumer_groups([group])[group].result(timeout=WAIT_S)
    assert found.partition_assignor == assignor
    if assignor == "range":
        for one in members:
            numbers = [number for _, number in one.partitions()]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "neighbours"


def test_a_regular_expression_finds_topics_that_come_later(quick, member):
    create(quick.address, "news-1", 2)
    create(quick.address, "other", 2)
    one = member(quick.address, new_group(), ["^news-.*"], **{"topic.metadata.refresh.interval.ms": 500})
    until(lambda: one.partitions() == [("news-1", 0), ("news-1", 1)], lambda: f"{one.partitions()} {one.errors}")
    create(quick.address, "news-2", 1)
    wanted = [("news-1", 0), ("news-1", 1), ("news-2", 0)]
    until(lambda: one.partitions() == wanted, lambda: f"{one.partitions()} {one.errors}")


def test_a_regular_expression_meets_internal_topics_too(quick, member):
    first = member(quick.address, new_group(), ["^__consumer_offs.*"])  # joining makes the topic, if nobody did yet
    until(lambda: len(first.partitions()) == 50, lambda: f"{first.partitions()} {first.errors}")


def test_a_static_member_comes_back_to_what_it_had(quick, member):
    create(quick.address, "t", 4)
    group = new_group()
    static = member(quick.address, group, ["t"], **{"group.instance.id": "i"})
    other = member(quick.address, group, ["t"], **{"group.instance.id": "j"})
    share([static, other], 4)
    had, others = static.partitions(), other.partitions()
    static.close()
    back = member(quick.address, group, ["t"], **{"group.instance.id": "i"})
    until(lambda: back.partitions() == had, lambda: f"{back.partitions()} {back.errors}")
    assert other.partitions() == others


def test_groups_are_listed_by_type_and_described(quick, member):
    admin = create(quick.address, "t", 2)
    group = new_group()
    one = member(quick.address, group, ["t"], **{"client.id": "me"})
    share([one], 2)
    until(lambda: describe(admin, group).state == confluent_kafka.ConsumerGroupState.STABLE, lambda: "not stable")
    found = describe(admin, group)
    (described,) = found.members
    assert (described.client_id, described.host) == ("me", "/127.0.0.1")
    assert found.type == confluent_kafka.ConsumerGroupType.CONSUMER
    assert [(one.topic, one.partition) for one in described.assignment.topic_partitions] == [("t", 0), ("t", 1)]
    kinds = confluent_kafka.ConsumerGroupType
    for kind, expected in ((kinds.CONSUMER, [group]), (kinds.CLASSIC, [])):
        listed = admin.list_consumer_groups(types={kind}).result(timeout=WAIT_S)
        assert [one.group_id for one in listed.valid] == expected
    one.close()
    until(lambda: describe(admin, group).state == confluent_kafka.ConsumerGroupState.EMPTY, lambda: "not empty")
    admin.delete_consumer_groups([group])[group].result(timeout=WAIT_S)
    assert admin.list_consumer_groups().result(timeout=WAIT_S).valid == []


def describe(admin, group):
    return admin.describe_consumer_groups([group])[group].result(timeout=WAIT_S)


def test_a_group_without_members_goes_over_to_either_protocol_with_its_offsets(quick, member):
    create(quick.address, "t", 4)
    produce(quick.address, "t", 8)
    group = new_group()
    seen = 0
    for protocol in ("consumer", "classic", "consumer"):
        one = member(quick.address, group, ["t"], **{"group.protocol": protocol})
        until(lambda: len(one.values) == 8, lambda: f"{protocol}: {one.values} {one.errors}")
        assert sorted(int(value) for _, _, value in one.values) == list(range(seen, seen + 8))
        one.stop_polling()
        one.consumer.commit(asynchronous=False)
        one.close()
        seen += 8
        produce(quick.address, "t", 8, first=seen)
