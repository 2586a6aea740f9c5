"""`corelane topic | group | config | cluster`, against a running broker."""

import json
import subprocess
import time

import confluent_kafka
import pytest

import batches
import broker as broker_process

WAIT_S = 120.0


@pytest.fixture
def tool(address):
    """Runs `corelane WORDS --json`; returns what it printed, read back."""

    def run(*words, status=0):
        command = [broker_process.BINARY, *map(str, words), "--bootstrap", address, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert done.returncode == status, (done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    return run


def commit(address, group, topic, offset):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": group})
    consumer.commit(offsets=[confluent_kafka.TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_a_topic_is_created_shown_grown_and_deleted(tool, new_name):
    name = new_name()
    made = tool("topic", "create", name, "--partitions", 2, "--set", "retention.ms=12345")
    assert made == [{"topic": name, "result": "created"}]
    assert [one["partitions"] for one in tool("topic", "list") if one["topic"] == name] == [2]
    tool("topic", "alter", name, "--partitions", 3)
    assert [one["partition"] for one in tool("topic", "describe", name)] == [0, 1, 2]
    again = tool("topic", "create", name, status=1)
    assert "TOPIC_ALREADY_EXISTS" in again[0]["result"]
    tool("topic", "delete", name)
    assert "UNKNOWN_TOPIC_OR_PARTITION" in tool("topic", "describe", name, status=1)


def test_settings_are_shown_and_changed(tool, topic):
    where = ("--topic", topic)
    assert tool("config", "describe", *where, "--set-only") == []
    tool("config", "alter", *where, "--set", "retention.ms=777", "--set", "cleanup.policy=compact")
    found = {one["key"]: one["value"] for one in tool("config", "describe", *where, "--set-only")}
    assert found == {"retention.ms": "777", "cleanup.policy": "compact"}
    tool("config", "alter", *where, "--delete", "retention.ms")
    (one,) = tool("config", "describe", *where, "retention.ms")
    assert (one["value"], one["source"]) == ("604800000", "default")
    assert "INVALID_CONFIG" in tool("config", "alter", *where, "--set", "no.such.key=1", status=1)


def test_the_lag_of_a_group_is_told_in_records_and_seconds(tool, address, api, topic):
    for number in range(5):
        api.append(topic, batches.Record(None, b"%d" % number, timestamp=int((time.time() - 3600) * 1000)))
    commit(address, f"g-{topic}", topic, 2)
    (one,) = tool("group", "describe", f"g-{topic}")
    assert (one["offset"], one["log_end"], one["lag"]) == (2, 5, 3)
    assert 3500 < one["lag_seconds"] < 4500
    commit(address, f"g-{topic}", topic, 5)
    (one,) = tool("group", "describe", f"g-{topic}")
    assert (one["lag"], one["lag_seconds"]) == (0, 0)


@pytest.mark.parametrize(
    "to, offset",
    [
        (["--to-earliest"], 0),
        (["--to-latest"], 5),
        (["--to-offset", 3], 3),
        (["--to-offset", 99], 5),
        (["--shift-by", -1], 1),
        (["--to-datetime", "2000-01-01T00:00:00Z"], 0),
        (["--to-datetime", "2100-01-01"], 5),
    ],
)
def test_offsets_are_reset_only_when_told_to_execute(tool, address, api, topic, to, offset):
    api.append(topic, *(b"%d" % number for number in range(5)))
    group = f"g-{topic}"
    commit(address, group, topic, 2)
    planned = tool("group", "reset-offsets", group, *to)
    assert planned == [{"topic": topic, "partition": 0, "before": 2, "after": offset}]
    assert tool("group", "describe", group)[0]["offset"] == 2
    tool("group", "reset-offsets", group, *to, "--execute")
    assert tool("group", "describe", group)[0]["offset"] == offset
    assert group in [one["group"] for one in tool("group", "list")]
    tool("group", "delete", group)
    assert group not in [one["group"] for one in tool("group", "list")]


def test_the_cluster_is_shown(tool, address):
    (one,) = tool("cluster", "describe")
    assert (one["address"], one["controller"]) == (address, True)


def test_a_broker_that_is_not_there_is_one_sentence():
    command = [broker_process.BINARY, "topic", "list", "--bootstrap", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("corelane: cannot reach 127.0.0.1:1")
    assert done.stderr.count("\n") == 1
