"""Topics through the administration of clients that nobody here wrote."""

import json
import shutil
import subprocess

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
from kafka.admin import ConfigResource as KafkaPythonResource
from kafka.admin import KafkaAdminClient

WAIT_S = 120.0


@pytest.fixture
def kafka_python(address):
    client = KafkaAdminClient(bootstrap_servers=address)
    yield client
    client.close()


@pytest.fixture
def confluent(address):
    return AdminClient({"bootstrap.servers": address})


def done(futures):
    """Waits for librdkafka's futures by name."""
    return {name: future.result(timeout=WAIT_S) for name, future in futures.items()}


def test_kafka_python_creates_lists_and_deletes_a_topic(kafka_python, api, new_name):
    name = new_name()
    kafka_python.create_topics({name: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
    assert name in kafka_python.list_topics()
    (found,) = kafka_python.describe_topics([name])
    assert len(found["partitions"]) == 3
    with pytest.raises(kafka.errors.TopicAlreadyExistsError):
        kafka_python.create_topics({name: {"num_partitions": 3, "replication_factor": 1}})
    kafka_python.delete_topics([name])
    api.wait_until_gone(name)
    assert name not in kafka_python.list_topics()
    with pytest.raises(kafka.errors.UnknownTopicOrPartitionError):
        kafka_python.delete_topics([name])


def test_kafka_python_takes_the_broker_for_a_release_of_kafka_4(kafka_python):
    """It infers the release from the versions that are advertised, and switches what it does by it."""
    assert kafka_python._manager.broker_version >= (4, 0)


def test_kafka_python_adds_partitions(kafka_python, api, topic):
    kafka_python.create_partitions({topic: 4})
    api.wait_for_leader(topic, 4)


def test_kafka_python_reads_the_settings_of_a_topic(kafka_python, new_topic):
    topic = new_topic(**{"retention.ms": 12345})
    resources = [KafkaPythonResource("topic", topic)]
    found = json.dumps(kafka_python.describe_configs(resources, config_filter="all"), default=str)
    assert "12345" in found and "min.compaction.lag.ms" in found


def test_kafka_python_describes_the_cluster(kafka_python, address):
    found = kafka_python.describe_cluster()
    assert [f"{one['host']}:{one['port']}" for one in found["brokers"]] == [address]


def test_kafka_python_finds_the_ends_of_partitions(address, api, topic):
    api.append(topic, b"a", b"b")
    consumer = kafka.KafkaConsumer(bootstrap_servers=address)
    place = kafka.TopicPartition(topic, 0)
    assert consumer.beginning_offsets([place]) == {place: 0}
    assert consumer.end_offsets([place]) == {place: 2}
    assert consumer.partitions_for_topic(topic) == {0}
    consumer.close()


def test_librdkafka_creates_lists_and_deletes_a_topic(confluent, api, new_name):
    name = new_name()
    done(confluent.create_topics([NewTopic(name, 3, 1, config={"retention.ms": "12345"})]))
    api.wait_for_leader(name, 3)
    assert len(confluent.list_topics(timeout=WAIT_S).topics[name].partitions) == 3
    with pytest.raises(confluent_kafka.KafkaException, match="TOPIC_ALREADY_EXISTS"):
        done(confluent.create_topics([NewTopic(name, 3, 1)]))
    done(confluent.delete_topics([name]))
    api.wait_until_gone(name)
    assert name not in confluent.list_topics(timeout=WAIT_S).topics


def test_librdkafka_adds_partitions(confluent, api, topic):
    done(confluent.create_partitions([NewPartitions(topic, 4)]))
    api.wait_for_leader(topic, 4)
    with pytest.raises(confluent_kafka.KafkaException, match="INVALID_PARTITIONS"):
        done(confluent.create_partitions([NewPartitions(topic, 2)]))


def test_librdkafka_reads_the_settings_of_a_topic(confluent, new_topic):
    topic = new_topic(**{"retention.ms": 12345})
    (found,) = done(confluent.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)])).values()
    assert found["retention.ms"].value == "12345" and not found["retention.ms"].is_default
    assert found["min.compaction.lag.ms"].value == "0" and found["min.compaction.lag.ms"].is_default


def test_librdkafka_describes_cluster_and_topics(confluent, address, topic):
    cluster = confluent.describe_cluster().result(timeout=WAIT_S)
    assert [f"{one.host}:{one.port}" for one in cluster.nodes] == [address]
    names = confluent_kafka.TopicCollection([topic])
    (found,) = done(confluent.describe_topics(names)).values()
    assert [(one.id, one.leader.id, len(one.isr)) for one in found.partitions] == [(0, cluster.controller.id, 1)]


def test_librdkafka_finds_the_ends_of_partitions(confluent, api, topic, address):
    api.append(topic, b"a", b"b")
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "unused"})
    assert consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=WAIT_S) == (0, 2)
    consumer.close()
    spec = {confluent_kafka.TopicPartition(topic, 0): confluent_kafka.admin.OffsetSpec.latest()}
    (found,) = done(confluent.list_offsets(spec)).values()
    assert found.offset == 2


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_kcat_lists_topics_and_asks_for_offsets(address, api, new_topic):
    topic = new_topic(3)
    api.append(topic, b"a", partition=2)
    listed = subprocess.run(["kcat", "-L", "-J", "-b", address], capture_output=True, timeout=WAIT_S, check=True)
    found = json.loads(listed.stdout)
    assert [one["name"] for one in found["brokers"]] == [address]
    assert [len(one["partitions"]) for one in found["topics"] if one["topic"] == topic] == [3]
    asked = ["kcat", "-Q", "-b", address, "-t", f"{topic}:2:-1"]
    assert subprocess.run(asked, capture_output=True, timeout=WAIT_S, check=True).stdout.split() == [topic.encode(), b"[2]", b"offset", b"1"]
