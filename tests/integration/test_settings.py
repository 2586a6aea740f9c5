"""Settings that change what clients see."""

import json
import signal
import subprocess
import time

import pytest
from apis import Api
from broker import BINARY, ROOT, WAIT_S
from errors import NONE, UNKNOWN_TOPIC_OR_PARTITION


def test_no_topic_is_created_by_itself_where_that_is_switched_off(start, data):
    one = start(data, "--set", "auto.create.topics.enable=false")
    with Api(one.address) as api:
        for _ in range(2):
            answer = api.call("Metadata", 9, topics=[{"name": "t"}], allow_auto_topic_creation=True)
            assert answer.topics[0].error_code == UNKNOWN_TOPIC_OR_PARTITION
        assert api.call("Metadata", 9, topics=None).topics == []


def test_topics_that_create_themselves_have_the_broker_s_number_of_partitions(start, data):
    one = start(data, "--set", "num.partitions=6")
    with Api(one.address) as api:
        api.call("Metadata", 9, topics=[{"name": "t"}])
        api.wait_for_leader("t", 6)


def test_flags_win_over_the_file(start, data, tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text('num.partitions = 3\nnode.id = 7\nlisteners = "127.0.0.1:1"\n')
    one = start(data, "--config", file, "--set", "num.partitions=4")
    with Api(one.address) as api:
        assert [broker.node_id for broker in api.call("Metadata", 9, topics=[]).brokers] == [7]
        assert api.call("CreateTopics", 5, topics=[{"name": "t"}]).topics[0].num_partitions == 4


def test_another_address_is_advertised_where_it_is_told(start, data):
    one = start(data, "--set", "advertised.listeners=broker.example:19092")
    with Api(one.address) as api:
        found = [(b.host, b.port) for b in api.call("Metadata", 9, topics=[]).brokers]
        assert found == [("broker.example", 19092)]
        assert api.call("ApiVersions", 0).error_code == NONE


def corelane(*words):
    """Exit status, what went to stdout, what went to stderr."""
    done = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("profile", sorted((ROOT / "tuning" / "profiles").glob("*.toml")), ids=lambda path: path.name)
def test_every_profile_of_the_tree_passes_the_check(profile):
    status, out, err = corelane("serve", "--check", "--config", profile)
    assert (status, err) == (0, ""), err
    assert f"# {profile}:" in out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\nnum.partition = 3\n", ':2: unknown setting "num.partition"; did you mean "num.partitions"?'),
        ("num.partitions = 0\n", ':1: "num.partitions" is "0", expected a number from 1 to 100000'),
        ("[shards]\nspin.us = \"1h\"\n", ':2: "shards.spin.us" is "1h", expected a time such as 50us, from 0 to 10ms'),
        ("ssl.keystore.location = \"/k\"\n", ':1: "ssl.keystore.location" is "/k", expected no value'),
        ("[[shard]]\nspin.us = 0\n", ":1: a [[shard]] needs its core"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_line(tmp_path, text, sentence):
    file = tmp_path / "broker.toml"
    file.write_text(text)
    status, out, err = corelane("serve", "--config", file, "--data", tmp_path / "data")
    assert (status, out) == (1, "")
    assert f"{file}{sentence}" in err
    assert not (tmp_path / "data").exists()


def test_the_check_shows_each_core_and_what_clients_are_told(tmp_path):
    file = tmp_path / "broker.toml"
    text = 'cores = 1\nadvertised.listeners = "broker.example:19092"\n[[shard]]\nnuma = 0\nspin.us = 7\n'
    file.write_text(text + "ring.entries = 64\n[[shard]]\ncore = 0\nspin.us = 8\n")
    status, out, err = corelane("serve", "--check", "--config", file, "--listen", "127.0.0.1:9999")
    assert (status, err) == (0, ""), err
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert f'# spin.us = "8us" # {file}:9' in shown
    assert f"# ring.entries = 64 # {file}:6" in shown
    assert "# every core listens on 127.0.0.1:9999; clients are told broker.example port 19092" in shown
    # What is shown is a file that gives the same settings.
    again = tmp_path / "again.toml"
    again.write_text(out)
    status, differences, _ = corelane("config", "diff", "--json", file, again)
    found = [one["name"] for one in json.loads(differences)]
    assert status == 0 and found == ["listeners"], found  # the flag was not in the file


def test_two_configurations_are_compared(tmp_path):
    one, other = tmp_path / "a.toml", tmp_path / "b.toml"
    one.write_text("num.partitions = 3\nlog.retention.hours = 1\n")
    other.write_text("num.partitions = 4\n[[shard]]\ncore = 0\nspin.us = 0\n")
    assert json.loads(corelane("config", "diff", "--json", one, other)[1]) == [
        {"name": "num.partitions", "first": "3", "second": "4"},
        {"name": "log.retention.ms", "first": "1h", "second": "7d"},
        {"name": "core 0: shards.spin.us", "first": None, "second": "0"},
    ]
    plain = [" ".join(line.split()) for line in corelane("config", "diff", one)[1].splitlines()]
    assert plain[:2] == ["- num.partitions = 1 # default", f"+ num.partitions = 3 # {one}:1"]
    assert corelane("config", "diff", one, one) == (0, "", "")
    assert corelane("config", "diff", tmp_path / "nowhere.toml")[0] == 1


def test_the_reference_page_is_that_of_the_tree():
    page = (ROOT / "src/config/reference.md").read_text()
    assert corelane("config", "reference") == (0, page, "")


def test_every_broker_key_of_kafka_is_described(start, data):
    """Connect, Streams and Schema Registry look for them before they run."""
    one = start(data, "--set", "log.retention.hours=2", "--set", "num.io.threads=16")
    wanted = {}
    for line in (ROOT / "src/config/kafka-4.1-broker-keys.tsv").read_text().splitlines():
        name, kind, default = line.split("\t")
        wanted[name] = (kind, default)
    with Api(one.address) as api:
        resources = [{"kind": 4, "name": "1", "keys": None}]
        answer = api.call("DescribeConfigs", 4, resources=resources, include_synonyms=True, include_documentation=True)
    found = {key.name: key for key in answer.results[0].configs}
    assert set(wanted) <= set(found), set(wanted) - set(found)
    assert all(key.documentation for key in found.values())
    assert found["log.retention.ms"].value == "7200000"
    assert [synonym.name for synonym in found["log.retention.ms"].synonyms] == ["log.retention.hours", "log.retention.ms"]
    assert found["ssl.keystore.password"].is_sensitive and found["ssl.keystore.password"].value is None
    assert found["num.io.threads"].value == "16"
    assert '"num.io.threads" is accepted and changes nothing' in one.log()


def test_a_hangup_reads_the_file_again_and_takes_what_can_change_while_running(start, data, tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text("num.partitions = 2\n")
    one = start(data, "--config", file)
    with Api(one.address) as api:

        def describe():
            resources = [{"kind": 4, "name": "1", "keys": ["auto.create.topics.enable", "num.partitions"]}]
            configs = api.call("DescribeConfigs", 4, resources=resources).results[0].configs
            return {key.name: (key.value, key.read_only) for key in configs}

        assert describe() == {"auto.create.topics.enable": ("true", False), "num.partitions": ("2", True)}
        file.write_text("num.partitions = 3\nauto.create.topics.enable = false\n")
        one.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT_S
        while describe()["auto.create.topics.enable"][0] == "true":
            assert time.monotonic() < deadline, one.log()
            time.sleep(0.01)
        assert describe()["num.partitions"] == ("2", True)
        assert '"num.partitions" changes with the next start only' in one.log()
        answer = api.call("Metadata", 9, topics=[{"name": "t"}], allow_auto_topic_creation=True)
        assert answer.topics[0].error_code == UNKNOWN_TOPIC_OR_PARTITION
        # A mistake changes nothing, and does not end the broker.
        file.write_text("auto.create.topics.enabled = true\n")
        one.process.send_signal(signal.SIGHUP)
        while "did you mean" not in one.log():
            assert time.monotonic() < deadline, one.log()
            time.sleep(0.01)
        assert describe()["auto.create.topics.enable"] == ("false", False)
    assert one.stop() == 0
