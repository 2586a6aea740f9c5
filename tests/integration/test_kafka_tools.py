"""Kafka's own command-line tools, unmodified, from Maven Central. Skipped where Java or Maven is missing."""

import json
import re
import shutil
import subprocess

import pytest

import broker as broker_process
from test_other_languages import RUN_S, SOURCES, fetch, need

TOPICS = "org.apache.kafka.tools.TopicCommand"
CONFIGS = "kafka.admin.ConfigCommand"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"
LOG_DIRS = "org.apache.kafka.tools.LogDirsCommand"
VERIFIABLE_PRODUCER = "org.apache.kafka.tools.VerifiableProducer"
VERIFIABLE_CONSUMER = "org.apache.kafka.tools.VerifiableConsumer"
PRODUCER_PERF = "org.apache.kafka.tools.ProducerPerformance"
CONSUMER_PERF = "org.apache.kafka.tools.ConsumerPerformance"
DUMP_LOG = "kafka.tools.DumpLogSegments"


@pytest.fixture(scope="module")
def classpath():
    need("java", "mvn")
    path = broker_process.TARGET / "smoke" / "tools"
    path.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCES / "tools.pom.xml", path / "pom.xml")
    if not list(path.glob("libs/kafka-tools-*.jar")):
        fetch(path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
    return f"{path}/libs/*"


@pytest.fixture
def tool(classpath, address):
    """Runs a tool against the broker and returns what it printed."""

    def run(name, *words, given=None, bootstrap=True):
        where = ["--bootstrap-server", address] if bootstrap else []
        command = ["java", "-Xmx256m", "-cp", classpath, name, *where, *map(str, words)]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=RUN_S, check=False)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        return done.stdout

    return run


def test_kafka_topics(tool, new_name):
    name = new_name()
    tool(TOPICS, "--create", "--topic", name, "--partitions", 3, "--config", "retention.ms=100000000")
    assert name in tool(TOPICS, "--list").split()
    shown = tool(TOPICS, "--describe", "--topic", name)
    assert "PartitionCount: 3" in shown and "retention.ms=100000000" in shown
    tool(TOPICS, "--alter", "--topic", name, "--partitions", 4)
    assert "PartitionCount: 4" in tool(TOPICS, "--describe", "--topic", name)
    tool(TOPICS, "--delete", "--topic", name)
    assert name not in tool(TOPICS, "--list").split()


def test_kafka_configs(tool, topic):
    of_topic = ["--entity-type", "topics", "--entity-name", topic]
    tool(CONFIGS, "--alter", *of_topic, "--add-config", "max.message.bytes=2000000")
    assert "max.message.bytes=2000000" in tool(CONFIGS, "--describe", *of_topic)
    tool(CONFIGS, "--alter", *of_topic, "--delete-config", "max.message.bytes")
    assert "max.message.bytes" not in tool(CONFIGS, "--describe", *of_topic)
    of_all = ["--entity-type", "brokers", "--entity-default"]
    tool(CONFIGS, "--alter", *of_all, "--add-config", "log.cleaner.delete.retention.ms=86400001")
    assert "log.cleaner.delete.retention.ms=86400001" in tool(CONFIGS, "--describe", *of_all)
    tool(CONFIGS, "--alter", *of_all, "--delete-config", "log.cleaner.delete.retention.ms")
    assert "log.cleaner.delete.retention.ms" not in tool(CONFIGS, "--describe", *of_all)


def test_kafka_configs_sets_quotas(tool, new_name):
    of_client = ["--entity-type", "clients", "--entity-name", new_name()]
    tool(CONFIGS, "--alter", *of_client, "--add-config", "producer_byte_rate=1048576")
    assert "producer_byte_rate=1048576" in tool(CONFIGS, "--describe", *of_client)
    tool(CONFIGS, "--alter", *of_client, "--delete-config", "producer_byte_rate")
    assert "producer_byte_rate" not in tool(CONFIGS, "--describe", *of_client)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_kafka_console_tools_and_kafka_consumer_groups(tool, topic, protocol):
    tool(PRODUCER, "--topic", topic, given="".join(f"{number}\n" for number in range(20)))
    group = f"g-{topic}"
    words = ["--topic", topic, "--from-beginning", "--max-messages", 20, "--group", group]
    read = tool(CONSUMER, *words, "--consumer-property", f"group.protocol={protocol}")
    assert read.split() == [str(number) for number in range(20)]
    assert group in tool(GROUPS, "--list").split()
    assert re.search(rf"{topic}\s+0\s+20\s+20\s+0", tool(GROUPS, "--describe", "--group", group))
    tool(GROUPS, "--reset-offsets", "--group", group, "--topic", topic, "--to-offset", 5, "--execute")
    assert re.search(rf"{topic}\s+0\s+5\s+20\s+15", tool(GROUPS, "--describe", "--group", group))
    tool(GROUPS, "--delete", "--group", group)
    assert group not in tool(GROUPS, "--list").split()


def test_kafka_verifiable_producer_and_consumer(tool, classpath, address, topic):
    sent = tool(VERIFIABLE_PRODUCER, "--topic", topic, "--max-messages", 100)
    assert json.loads(sent.splitlines()[-1])["acked"] == 100
    words = ["--topic", topic, "--group-id", f"v-{topic}", "--max-messages", "100", "--reset-policy", "earliest"]
    command = ["java", "-Xmx256m", "-cp", classpath, VERIFIABLE_CONSUMER, "--bootstrap-server", address, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as consumer:
        try:
            read = 0
            for line in consumer.stdout:
                said = json.loads(line)
                read += said["count"] if said["name"] == "records_consumed" else 0
                if read == 100:
                    break
            assert read == 100
        finally:
            consumer.kill()


def test_kafka_performance_tools(tool, address, topic):
    words = ["--topic", topic, "--num-records", 5000, "--record-size", 500, "--throughput", -1]
    said = tool(PRODUCER_PERF, *words, "--producer-props", f"bootstrap.servers={address}", "acks=all", bootstrap=False)
    assert "5000 records sent" in said
    said = tool(CONSUMER_PERF, "--topic", topic, "--messages", 5000, "--group", f"p-{topic}")
    assert said.splitlines()[-1].split(", ")[4] == "5000"


def test_kafka_get_offsets_and_kafka_log_dirs(tool, api, topic):
    api.append(topic, b"a", b"b")
    assert f"{topic}:0:2" in tool(OFFSETS, "--topic", topic)
    found = json.loads(tool(LOG_DIRS, "--describe", "--topic-list", topic).splitlines()[-1])
    (directory,) = found["brokers"][0]["logDirs"]
    assert [one["partition"] for one in directory["partitions"]] == [f"{topic}-0"]


def test_kafka_dump_log_reads_our_segments(tool, classpath, tmp_path):
    broker = broker_process.Broker(tmp_path / "data", "--set", "log.segment.bytes=100000")
    try:
        command = ["java", "-Xmx256m", "-cp", classpath, PRODUCER, "--bootstrap-server", broker.address]
        text = "".join(f"value-{number}\n" for number in range(20_000))
        subprocess.run([*command, "--topic", "t"], input=text, text=True, timeout=RUN_S, check=True)
    finally:
        assert broker.stop() == 0
    closed = sorted((tmp_path / "data" / "topics").rglob("*.log"))[:-1]
    shown = "".join(tool(DUMP_LOG, "--files", one, "--print-data-log", bootstrap=False) for one in closed)
    payloads = re.findall(r"payload: value-(\d+)", shown)
    assert len(payloads) > 1_000 and payloads == [str(number) for number in range(len(payloads))]
    assert "isvalid: true" in shown and "isvalid: false" not in shown
