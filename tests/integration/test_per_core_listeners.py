"""With per_core_listeners each core is a broker to clients, and stock clients reach partitions on their cores."""

import re

import broker
import confluent_kafka
import pytest
from apis import Api
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from errors import INVALID_REPLICATION_FACTOR, NONE

WAIT_S = 120.0  # only so that what waits for ever fails its test
PARTITIONS, RECORDS = 8, 400

pytestmark = pytest.mark.skipif(broker.cores() < 2, reason="needs two cores")


@pytest.fixture
def one(start, data):
    return start(data, "--cores", 2, "--set", "per_core_listeners=true", "--set", "http.listen=127.0.0.1:0",
                 "--set", "group.initial.rebalance.delay.ms=0")  # fmt: skip


def counted(one, name):
    lines = re.findall(rf"^{name}{{[^}}]*}} (\S+)$", one.metrics(), re.MULTILINE)
    assert lines
    return [float(line) for line in lines]


def test_metadata_and_describe_cluster_name_a_broker_for_each_core(one):
    admin = AdminClient({"bootstrap.servers": one.address})
    found = admin.list_topics(timeout=WAIT_S)
    assert sorted(found.brokers) == [1, 2]
    assert len({(known.host, known.port) for known in found.brokers.values()}) == 2
    described = admin.describe_cluster().result(timeout=WAIT_S)
    assert sorted(node.id for node in described.nodes) == [1, 2] and described.controller.id == 1
    admin.create_topics([NewTopic("t", PARTITIONS, 1)])["t"].result(timeout=WAIT_S)
    partitions = admin.list_topics("t", timeout=WAIT_S).topics["t"].partitions.values()
    assert sorted(known.leader for known in partitions) == [1] * 4 + [2] * 4
    assert all(known.replicas == [known.leader] == known.isrs for known in partitions)
    for id in ("1", "2"):
        asked = [ConfigResource(ConfigResource.Type.BROKER, id)]
        (settings,) = [future.result(timeout=WAIT_S) for future in admin.describe_configs(asked).values()]
        assert settings["per_core_listeners"].value == "true"


def test_stock_clients_produce_and_fetch_without_a_hop(one):
    admin = AdminClient({"bootstrap.servers": one.address})
    admin.create_topics([NewTopic("t", PARTITIONS, 1)])["t"].result(timeout=WAIT_S)
    producer = confluent_kafka.Producer({"bootstrap.servers": one.address})
    producer.list_topics("t", timeout=WAIT_S)
    before = counted(one, "corelane_hops_total")
    for number in range(RECORDS):
        producer.produce("t", b"%d" % number, partition=number % PARTITIONS)
    assert producer.flush(WAIT_S) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": one.address, "group.id": "unused"})
    consumer.assign([confluent_kafka.TopicPartition("t", index, 0) for index in range(PARTITIONS)])
    seen = set()
    while len(seen) < RECORDS:
        record = consumer.poll(WAIT_S)
        assert record is not None and record.error() is None, record
        seen.add(record.value())
    consumer.close()
    assert sum(counted(one, "corelane_hops_total")) == sum(before), "every request went to the core it is for"
    assert all(count > 0 for count in counted(one, "corelane_bytes_in_total")), "both cores were asked"


def test_a_group_is_found_at_the_core_that_coordinates_it(one):
    admin = AdminClient({"bootstrap.servers": one.address})
    admin.create_topics([NewTopic("t", PARTITIONS, 1)])["t"].result(timeout=WAIT_S)
    producer = confluent_kafka.Producer({"bootstrap.servers": one.address})
    for index in range(PARTITIONS):
        producer.produce("t", b"x", partition=index)
    producer.flush(WAIT_S)
    groups = [f"g{number}" for number in range(6)]
    for group in groups:
        settings = {"bootstrap.servers": one.address, "group.id": group, "auto.offset.reset": "earliest"}
        consumer = confluent_kafka.Consumer(settings)
        consumer.subscribe(["t"])
        for _ in range(PARTITIONS):
            assert consumer.poll(WAIT_S).error() is None
        consumer.commit(asynchronous=False)
        consumer.close()
    listed = admin.list_consumer_groups().result(timeout=WAIT_S)
    assert sorted(group.group_id for group in listed.valid) == groups, "each once, from its own coordinator"
    with Api(one.address) as api:
        answer = api.call("FindCoordinator", 4, key_type=0, coordinator_keys=groups)
        assert {found.node_id for found in answer.coordinators} == {1, 2}


def test_any_core_answers_for_any_partition(one):
    with Api(one.address) as api:
        api.create_topic("t", PARTITIONS)
        for index in range(PARTITIONS):
            assert api.append("t", b"x", partition=index) == 0
            assert api.values("t", partition=index) == [b"x"]


def test_an_assignment_is_kept_and_a_node_keeps_one_replica(one):
    with Api(one.address) as api:
        wanted = [{"index": index, "broker_ids": [2]} for index in range(3)]
        topic = {"name": "t", "num_partitions": -1, "replication_factor": -1, "assignments": wanted, "configs": []}
        assert api.call("CreateTopics", 5, topics=[topic]).topics[0].error_code == NONE
        found = api.call("Metadata", 12, topics=[{"name": "t"}]).topics[0].partitions
        assert [partition.leader_id for partition in found] == [2] * 3
        twice = {"name": "u", "num_partitions": 1, "replication_factor": 2, "assignments": [], "configs": []}
        assert api.call("CreateTopics", 5, topics=[twice]).topics[0].error_code == INVALID_REPLICATION_FACTOR


def test_leaders_follow_when_the_mode_changes(start, data, one):
    with Api(one.address) as api:
        api.create_topic("t", PARTITIONS)
        assert api.append("t", b"x", partition=1) == 0
    assert one.stop() == 0
    shared = start(data, "--cores", 2)
    with Api(shared.address) as api:
        found = api.call("Metadata", 12, topics=[{"name": "t"}])
        assert {partition.leader_id for partition in found.topics[0].partitions} == {1}
        assert len(found.brokers) == 1 and api.values("t", partition=1) == [b"x"]


def test_ports_that_do_not_exist_are_refused(data):
    status, _, said = broker.run(
        "serve", "--data", data, "--listen", "127.0.0.1:65535", "--cores", "2", "--set", "per_core_listeners=true"
    )
    assert status == 1 and "65535" in said and "per_core_listeners" in said, said
