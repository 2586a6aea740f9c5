"""Levels of log lines (KIP-412): described and changed while the broker runs, raw and by kafka-python."""

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

import broker as broker_process
from apis import Api
from errors import INVALID_CONFIG, INVALID_REQUEST, NONE

BROKER_LOGGER, OF_LOGGER = 8, 6
SET, DELETE, APPEND = 0, 1, 2


@pytest.fixture
def own(tmp_path):
    """A broker of its own: its log is looked at."""
    broker = broker_process.Broker(tmp_path / "data")
    yield broker
    broker.stop()


@pytest.fixture
def api(own):
    with Api(own.address) as one:
        yield one


def levels(api, name="1"):
    answer = api.call("DescribeConfigs", 4, resources=[{"kind": BROKER_LOGGER, "name": name, "keys": None}]).results[0]
    assert answer.error_code == NONE, answer
    assert {one.source for one in answer.configs} == {OF_LOGGER}
    return {one.name: one.value for one in answer.configs}


def alter(api, *changes, name="1", validate_only=False):
    configs = [{"name": logger, "op": op, "value": level} for logger, op, level in changes]
    one = {"kind": BROKER_LOGGER, "name": name, "configs": configs}
    return api.call("IncrementalAlterConfigs", 1, resources=[one], validate_only=validate_only).responses[0]


def test_levels_change_at_once_and_are_taken_back(api):
    assert levels(api)["root"] == levels(api)["corelane::log"] == "INFO"
    assert alter(api, ("corelane::log", SET, "DEBUG"), validate_only=True).error_code == NONE
    assert levels(api)["corelane::log"] == "INFO"
    assert alter(api, ("corelane::log", SET, "DEBUG"), ("root", SET, "ERROR")).error_code == NONE
    found = levels(api)
    assert (found["corelane::log"], found["corelane::io"], found["root"]) == ("DEBUG", "ERROR", "ERROR")
    assert alter(api, ("corelane::log", DELETE, None)).error_code == NONE
    assert levels(api)["corelane::log"] == "ERROR"


@pytest.mark.parametrize(
    ("logger", "op", "level", "name", "code"),
    [
        ("kafka.server.KafkaApis", SET, "INFO", "1", INVALID_CONFIG),
        ("root", SET, "LOUD", "1", INVALID_CONFIG),
        ("root", DELETE, None, "1", INVALID_REQUEST),
        ("root", APPEND, "INFO", "1", INVALID_REQUEST),
        ("root", SET, "INFO", "", INVALID_REQUEST),
        ("root", SET, "INFO", "77", INVALID_REQUEST),
        ("root", SET, "INFO", "one", INVALID_REQUEST),
    ],
)
def test_what_is_no_logger_no_level_or_no_broker_is_refused(api, logger, op, level, name, code):
    refused = alter(api, ("corelane::log", SET, "TRACE"), (logger, op, level), name=name)
    assert refused.error_code == code, refused
    assert refused.error_message
    assert levels(api)["corelane::log"] == "INFO", "all of a request or none"


def test_the_older_call_does_not_know_loggers(api):
    one = {"kind": BROKER_LOGGER, "name": "1", "configs": [{"name": "root", "value": "INFO"}]}
    assert api.call("AlterConfigs", 2, resources=[one]).responses[0].error_code == INVALID_REQUEST


def test_what_is_written_follows_the_level(own, api):
    """A group goes over to another protocol: a line at INFO."""

    def goes_over(group):
        protocol = {"name": "range", "metadata": b"\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"}
        api.until(lambda: api.call("FindCoordinator", 4, coordinator_keys=[group]).coordinators[0].error_code == NONE, group)
        joined = api.call(
            "JoinGroup", 3, group_id=group, session_timeout_ms=10_000, rebalance_timeout_ms=10_000,
            protocol_type="consumer", protocols=[protocol],
        )  # fmt: skip
        assert joined.error_code == NONE
        beaten = api.call(
            "ConsumerGroupHeartbeat", 1, group_id=group, member_id="m", member_epoch=0, rebalance_timeout_ms=60_000,
            subscribed_topic_names=["t"], topic_partitions=[],
        )  # fmt: skip
        assert beaten.error_code == NONE, beaten
        return f'goes over to the consumer protocol group="{group}"'

    line = goes_over("heard")
    api.until(lambda: line in own.log(), "it is not in the log")
    assert alter(api, ("corelane::coordinator", SET, "WARN")).error_code == NONE
    unheard = goes_over("unheard")
    assert alter(api, ("corelane::coordinator", SET, "INFO")).error_code == NONE
    line = goes_over("again")
    api.until(lambda: line in own.log(), "it is not in the log")
    assert unheard not in own.log()


def test_kafka_python_reads_and_sets_levels(own):
    client = KafkaAdminClient(bootstrap_servers=own.address)
    try:
        client.alter_configs([ConfigResource(ConfigResourceType.BROKER_LOGGER, "1", {"corelane::io": "TRACE"})])
        assert "TRACE" in str(client.describe_configs([ConfigResource(ConfigResourceType.BROKER_LOGGER, "1")], config_filter="all"))
    finally:
        client.close()
