"""Settings of topics and brokers while it runs, and what else administrators ask, through stock clients."""

import os

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from kafka.admin import ConfigResource as KafkaPythonResource
from kafka.admin import KafkaAdminClient

import broker as broker_process

WAIT_S = 120.0
SET, DELETE, APPEND, SUBTRACT = (
    AlterConfigOpType.SET,
    AlterConfigOpType.DELETE,
    AlterConfigOpType.APPEND,
    AlterConfigOpType.SUBTRACT,
)


@pytest.fixture
def kafka_python(address):
    client = KafkaAdminClient(bootstrap_servers=address)
    yield client
    client.close()


@pytest.fixture
def confluent(address):
    return AdminClient({"bootstrap.servers": address})


@pytest.fixture
def start(tmp_path):
    """Starts a broker that no other test has, on the same directory each time."""
    started = []

    def again():
        started.append(broker_process.Broker(tmp_path / "data"))
        return started[-1]

    yield again
    for one in started:
        if one.is_running():
            one.stop()


def resource(kind, name, *changes):
    entries = [ConfigEntry(key, value, incremental_operation=op) for key, op, value in changes]
    return ConfigResource(kind, name, incremental_configs=entries)


def alter(client, kind, name, *changes):
    for future in client.incremental_alter_configs([resource(kind, name, *changes)]).values():
        future.result(timeout=WAIT_S)


def described(client, kind, name):
    (future,) = client.describe_configs([ConfigResource(kind, name)]).values()
    return future.result(timeout=WAIT_S)


def test_keys_of_a_topic_are_set_deleted_and_lists_changed(confluent, topic):
    kind = ConfigResource.Type.TOPIC
    alter(confluent, kind, topic, ("retention.ms", SET, "1234567"), ("cleanup.policy", APPEND, "compact"))
    found = described(confluent, kind, topic)
    assert found["retention.ms"].value == "1234567"
    assert found["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    assert found["cleanup.policy"].value == "delete,compact"
    alter(confluent, kind, topic, ("retention.ms", DELETE, None), ("cleanup.policy", SUBTRACT, "delete"))
    found = described(confluent, kind, topic)
    assert (found["retention.ms"].value, found["cleanup.policy"].value) == ("604800000", "compact")
    assert found["retention.ms"].source == ConfigSource.DEFAULT_CONFIG.value


@pytest.mark.parametrize(
    "key, op, value, code",
    [
        ("retention.ms", SET, "soon", confluent_kafka.KafkaError.INVALID_CONFIG),
        ("no.such.key", SET, "1", confluent_kafka.KafkaError.INVALID_CONFIG),
        ("retention.ms", APPEND, "1", confluent_kafka.KafkaError.INVALID_CONFIG),
    ],
)
def test_what_is_unsound_is_refused_and_changes_nothing(confluent, topic, key, op, value, code):
    kind = ConfigResource.Type.TOPIC
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        alter(confluent, kind, topic, ("segment.ms", SET, "100000"), (key, op, value))
    assert refused.value.args[0].code() == code
    assert described(confluent, kind, topic)["segment.ms"].value == "604800000"


def test_a_topic_that_is_not_there_is_unknown(confluent, new_name):
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        alter(confluent, ConfigResource.Type.TOPIC, new_name(), ("retention.ms", SET, "1"))
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART


def test_the_older_call_replaces_all_that_is_set(confluent, new_topic):
    topic = new_topic(**{"retention.ms": 5000, "segment.ms": 6000})
    kind = ConfigResource.Type.TOPIC
    change = ConfigResource(kind, topic, set_config={"retention.ms": "7000"})
    for future in confluent.alter_configs([change]).values():
        future.result(timeout=WAIT_S)
    found = described(confluent, kind, topic)
    assert (found["retention.ms"].value, found["segment.ms"].value) == ("7000", "604800000")


def test_kafka_python_alters_and_resets_a_topic(kafka_python, topic):
    kafka_python.alter_configs([KafkaPythonResource("topic", topic, {"max.message.bytes": "2000"})])
    asked = [KafkaPythonResource("topic", topic)]
    assert "2000" in str(kafka_python.describe_configs(asked))
    kafka_python.reset_configs([KafkaPythonResource("topic", topic, ["max.message.bytes"])])
    assert "2000" not in str(kafka_python.describe_configs(asked))


def test_a_changed_limit_of_a_topic_holds_for_the_next_batch(confluent, address, topic):
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    errors = []

    def send():
        producer.produce(topic, b"x" * 2000, on_delivery=lambda error, _: errors.append(error))
        producer.flush(WAIT_S)

    alter(confluent, ConfigResource.Type.TOPIC, topic, ("max.message.bytes", SET, "1000"))
    send()
    assert errors[0].code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
    alter(confluent, ConfigResource.Type.TOPIC, topic, ("max.message.bytes", DELETE, None))
    send()
    assert errors[1] is None


def test_broker_settings_change_while_it_runs_reach_topics_and_survive_kill_9(start, new_name):
    kind = ConfigResource.Type.BROKER
    own_broker = start()
    client = AdminClient({"bootstrap.servers": own_broker.address})
    name = new_name()
    client.create_topics([confluent_kafka.admin.NewTopic(name, 1, 1)])[name].result(timeout=WAIT_S)
    (node,) = client.list_topics(timeout=WAIT_S).brokers
    alter(client, kind, str(node), ("log.retention.ms", SET, "888000"), ("max.connections", SET, "99"))
    for _ in range(2):
        found = described(client, kind, str(node))["log.retention.ms"]
        assert (found.value, found.source) == ("888000", ConfigSource.DYNAMIC_BROKER_CONFIG.value)
        of_topic = described(client, ConfigResource.Type.TOPIC, name)["retention.ms"]
        assert (of_topic.value, of_topic.source) == ("888000", ConfigSource.DYNAMIC_BROKER_CONFIG.value)
        own_broker.kill()
        own_broker = start()
        client = AdminClient({"bootstrap.servers": own_broker.address})
    alter(client, kind, str(node), ("log.retention.ms", DELETE, None))
    assert described(client, ConfigResource.Type.TOPIC, name)["retention.ms"].value == "604800000"
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        alter(client, kind, str(node), ("log.dir", SET, "/elsewhere"))
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.INVALID_CONFIG


def test_log_directories_tell_the_bytes_of_every_partition(kafka_python, api, new_topic):
    topic = new_topic(partitions=2)
    api.append(topic, os.urandom(5000))
    dirs = kafka_python.describe_log_dirs({topic: [0, 1]})
    (found,) = [one for one in flat(dirs) if isinstance(one, dict) and one.get("log_dir")]
    (of_topic,) = found["topics"]
    sizes = {one["partition_index"]: one["partition_size"] for one in of_topic["partitions"]}
    assert sizes[0] > 5000 and sizes[1] == 0
    assert found["total_bytes"] > found["usable_bytes"] > 0


def flat(value):
    """Every value within."""
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for one in inner:
        yield from flat(one)


def test_partitions_are_described_page_by_page(kafka_python, new_topic):
    first, second = sorted([new_topic(partitions=3), new_topic(partitions=2)])
    seen, cursor = [], None
    for _ in range(10):
        page = kafka_python.describe_topic_partitions([first, second], response_partition_limit=2, cursor=cursor)
        for topic in page["topics"]:
            seen += [(topic["name"], one["partition_index"]) for one in topic["partitions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == seen and len(seen) == len(set(seen)) == 5


def test_an_idempotent_producer_is_among_those_described(kafka_python, address, topic):
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "enable.idempotence": True})
    for number in range(3):
        producer.produce(topic, str(number))
    producer.flush(WAIT_S)
    place = kafka.TopicPartition(topic, 0)
    (found,) = kafka_python.describe_producers([place]).values()
    assert "last_sequence=2" in str(found) or "'last_sequence': 2" in str(found), found


def test_no_election_is_needed_and_no_reassignment_is_under_way(kafka_python, topic):
    answer = kafka_python.elect_leaders(0, {topic: [0, 9]}, raise_errors=False)
    codes = str(answer)
    assert "84" in codes or "NotNeeded" in codes, answer
    assert kafka_python.list_partition_reassignments() == {}
