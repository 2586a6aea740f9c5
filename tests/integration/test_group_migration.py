"""Clients are rolled from the classic group protocol to the new one (KIP-848), and back, while the group reads on."""

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

import broker as broker_process
from members import WAIT_S, create, member, new_group, produce, share, until  # noqa: F401 (`member` is a fixture)

CONSUMER = {"enable.auto.commit": True, "auto.commit.interval.ms": 100}
CLASSIC = CONSUMER | {"group.protocol": "classic", "session.timeout.ms": 6000, "heartbeat.interval.ms": 200}
PARTITIONS = 4


@pytest.fixture
def start(tmp_path):
    """Starts a broker whose groups are quick, on the same directory and port each time."""
    started, listen = [], f"127.0.0.1:{broker_process.lasting_port()}"

    def again(*settings):
        quick = ["--set", "group.consumer.min.heartbeat.interval.ms=200ms"]
        quick += ["--set", "group.consumer.heartbeat.interval.ms=200ms", "--set", "group.initial.rebalance.delay.ms=0"]
        for setting in settings:
            quick += ["--set", setting]
        started.append(broker_process.Broker(tmp_path / "data", *quick, listen=listen))
        return started[-1]

    yield again
    for one in started:
        if one.is_running():
            one.stop()


def kind(address, group):
    """Asked anew each time: a client that has lost its broker takes its time to come back."""
    admin = AdminClient({"bootstrap.servers": address})
    return admin.describe_consumer_groups([group])[group].result(timeout=WAIT_S).type


class Readings:
    """What is produced, and who reads it: every record at least once, whoever is a member when."""

    def __init__(self, address, everyone):
        self.address, self.everyone, self.produced = address, everyone, 0

    def go_on(self):
        produce(self.address, "t", 40, first=self.produced)
        self.produced += 40
        until(lambda: self.read() == set(range(self.produced)), lambda: f"missing {set(range(self.produced)) - self.read()}")

    def read(self):
        return {int(value) for one in self.everyone for _, _, value in one.values}


def roll(members, readings, member, address, group, config):
    """One by one: a new client comes, then an old one goes."""
    for _ in range(len(members)):
        members.append(member(address, group, ["t"], **config))
        readings.everyone.append(members[-1])
        share(members, PARTITIONS)
        readings.go_on()
        members.pop(0).close()
        share(members, PARTITIONS)
        readings.go_on()


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_a_group_is_rolled_to_the_new_protocol_and_back_without_a_lost_record(start, member, strategy):
    broker = start()
    create(broker.address, "t", PARTITIONS)
    group = new_group()
    classic = CLASSIC | {"partition.assignment.strategy": strategy}
    members = [member(broker.address, group, ["t"], **classic) for _ in range(2)]
    readings = Readings(broker.address, list(members))
    share(members, PARTITIONS)
    readings.go_on()
    assert kind(broker.address, group) == confluent_kafka.ConsumerGroupType.CLASSIC
    roll(members, readings, member, broker.address, group, CONSUMER)
    assert kind(broker.address, group) == confluent_kafka.ConsumerGroupType.CONSUMER
    roll(members, readings, member, broker.address, group, classic)
    until(lambda: kind(broker.address, group) == confluent_kafka.ConsumerGroupType.CLASSIC, lambda: str(kind(broker.address, group)))
    # Who read on all the while read each record once, but for those that were not committed when a partition moved.
    reads = [(int(value)) for one in readings.everyone for _, _, value in one.values]
    assert len(reads) - len(set(reads)) <= 40 * 8, "no partition was read from its start again"
    for one in readings.everyone:
        fatal = [error for error in one.errors if error.fatal()]
        assert fatal == []


def test_a_mixed_group_goes_on_after_kill_9(start, member):
    broker = start()
    create(broker.address, "t", PARTITIONS)
    group = new_group()
    members = [member(broker.address, group, ["t"], **config) for config in (CLASSIC, CLASSIC, CONSUMER)]
    readings = Readings(broker.address, list(members))
    share(members, PARTITIONS)
    readings.go_on()
    broker.kill()
    broker = start()
    share(members, PARTITIONS)
    readings.go_on()
    assert kind(broker.address, group) == confluent_kafka.ConsumerGroupType.CONSUMER
    members.pop(2).close()
    broker.kill()
    broker = start()
    share(members, PARTITIONS)
    readings.go_on()
    assert kind(broker.address, group) == confluent_kafka.ConsumerGroupType.CLASSIC


def test_a_mixed_group_tells_who_speaks_which_protocol(start, member):
    broker = start()
    admin = create(broker.address, "t", PARTITIONS)
    group = new_group()
    members = [
        member(broker.address, group, ["t"], **config | {"client.id": name})
        for name, config in (("old", CLASSIC), ("new", CONSUMER))
    ]
    share(members, PARTITIONS)
    found = admin.describe_consumer_groups([group])[group].result(timeout=WAIT_S)
    assert {one.client_id for one in found.members} == {"old", "new"}
    listed = admin.list_consumer_groups(types={confluent_kafka.ConsumerGroupType.CONSUMER}).result(timeout=WAIT_S)
    assert [one.group_id for one in listed.valid] == [group]


def test_a_policy_of_disabled_keeps_a_classic_group_classic(start, member):
    broker = start("group.consumer.migration.policy=disabled")
    create(broker.address, "t", PARTITIONS)
    group = new_group()
    old = member(broker.address, group, ["t"], **CLASSIC)
    share([old], PARTITIONS)
    new = member(broker.address, group, ["t"], **CONSUMER)
    until(lambda: new.errors, lambda: "it was not refused")
    assert kind(broker.address, group) == confluent_kafka.ConsumerGroupType.CLASSIC
    assert len(old.partitions()) == PARTITIONS
