"""Client quotas: kept, told, and enforced by a wait that the client cannot ignore."""

import json
import time

import batches
import confluent_kafka
import pytest
from apis import Api
from errors import INVALID_REQUEST, NONE
from http_port import place_of, until

RATE = 50_000
PRODUCE, FETCH = "producer_byte_rate", "consumer_byte_rate"


def alter(api, entity, version=1, **changes):
    """Sets quotas of one entity, `None` takes one away; returns the answer for it."""
    ops = [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in changes.items()]
    parts = [{"entity_type": kind, "entity_name": name} for kind, name in entity.items()]
    return api.call("AlterClientQuotas", version, entries=[{"entity": parts, "ops": ops}]).entries[0]


def described(api, *components, strict=False, version=1):
    asked = [{"entity_type": kind, "match_type": how, "match": name} for kind, how, name in components]
    answer = api.call("DescribeClientQuotas", version, components=asked, strict=strict)
    assert answer.error_code == NONE, answer
    return {
        tuple(sorted((part.entity_type, part.entity_name) for part in entry.entity)): {
            one.key: one.value for one in entry["values"]
        }
        for entry in answer.entries
    }


@pytest.fixture
def name(api, new_name):
    """A client id of its own, without quotas afterwards."""
    name = new_name()
    yield name
    alter(api, {"client-id": name}, **{PRODUCE: None, FETCH: None})


@pytest.mark.parametrize("version", [0, 1])
def test_a_quota_is_described_as_it_was_set(api, name, version):
    entity = {"client-id": name}
    assert alter(api, entity, version, **{PRODUCE: 1000.0, FETCH: 2000.0}).error_code == NONE
    key = (("client-id", name),)
    exactly = ("client-id", 0, name)
    assert described(api, exactly, version=version) == {key: {PRODUCE: 1000.0, FETCH: 2000.0}}
    assert alter(api, entity, version, **{PRODUCE: None}).error_code == NONE
    assert described(api, ("client-id", 2, None), strict=True)[key] == {FETCH: 2000.0}
    assert described(api, exactly, ("user", 1, None)) == {}
    assert alter(api, entity, version, **{FETCH: None}).error_code == NONE
    assert described(api, exactly) == {}


@pytest.mark.parametrize(
    ("entity", "changes", "said"),
    [
        ({}, {PRODUCE: 1.0}, "empty"),
        ({"topic": "t"}, {PRODUCE: 1.0}, "Unhandled"),
        ({"user": "u", "ip": "127.0.0.1"}, {PRODUCE: 1.0}, "combin"),
        ({"user": "u"}, {"bytes": 1.0}, "Invalid configuration key"),
        ({"user": "u"}, {PRODUCE: -1.0}, "greater than 0"),
        ({"user": "u"}, {PRODUCE: 1.5}, "fractional"),
        ({"user": "u"}, {"request_percentage": 50.0}, "not enforced"),
        ({"ip": "127.0.0.1"}, {"connection_creation_rate": 5.0}, "not enforced"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(api, entity, changes, said):
    answer = alter(api, entity, **changes)
    assert answer.error_code == INVALID_REQUEST and said in answer.error_message, answer
    assert described(api, ("user", 0, "u")) == {}


def test_a_quota_survives_a_restart(start, data):
    one = start(data)
    with Api(one.address) as api:
        assert alter(api, {"user": None, "client-id": "c"}, **{PRODUCE: 7.0}).error_code == NONE
    one.kill()
    with Api(start(data).address) as api:
        assert described(api, ("user", 1, None)) == {(("client-id", "c"), ("user", None)): {PRODUCE: 7.0}}


@pytest.fixture
def limited(address, name):
    """A connection of a client that has a quota."""
    with Api(address) as one:
        one.client_id = name
        yield one


def waited(api, throttle_ms):
    """The connection takes nothing more until the time has passed."""
    began = time.monotonic()
    api.call("ApiVersions", 0)
    return (time.monotonic() - began) * 1000 >= throttle_ms - 50


def test_a_producer_beyond_its_quota_is_told_to_wait_and_has_to(api, limited, name, topic):
    assert alter(api, {"client-id": name}, **{PRODUCE: float(RATE)}).error_code == NONE
    one = [{"index": 0, "records": batches.build([b"x" * (RATE + RATE // 2)])}]
    request = {"acks": 1, "topics": [{"name": topic, "partitions": one}]}
    answer = limited.call("Produce", 8, **request)
    assert answer.topics[0].partitions[0].error_code == NONE, "nothing is refused"
    assert 400 < answer.throttle_time_ms < 700, "half a second beyond the burst of one"
    assert waited(limited, answer.throttle_time_ms)
    free = api.call("Produce", 8, **request)
    assert free.throttle_time_ms == 0, "another client id has no quota"


def test_a_consumer_beyond_its_quota_is_told_to_wait_and_has_to(api, limited, name, topic):
    api.append(topic, b"x" * (RATE + RATE // 2))
    assert alter(api, {"client-id": name}, **{FETCH: float(RATE)}).error_code == NONE
    answer = limited.receive(limited.send_fetch(topic, 0))
    assert answer.topics[0].partitions[0].records, "it has its records"
    assert 400 < answer.throttle_time_ms < 700
    assert waited(limited, answer.throttle_time_ms)


def test_the_wait_of_a_quota_is_not_told_as_time_of_the_broker(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    with Api(one.address) as api:
        api.create_topic("t")
        assert alter(api, {"user": None, "client-id": api.client_id}, **{PRODUCE: float(RATE)}).error_code == NONE
        partitions = [{"index": 0, "records": batches.build([b"x" * (3 * RATE)])}]
        answer = api.call("Produce", 8, acks=1, topics=[{"name": "t", "partitions": partitions}])
        assert answer.throttle_time_ms > 1_500, answer
        api.append("t", b"late")

    def produced(text):
        return [one for one in json.loads(text)["requests"] if one["api"] == "Produce"]

    text = until(place_of(one), lambda text: len(produced(text)) == 2, "/debug/slowest")
    late = min(produced(text), key=lambda request: request["request_bytes"])
    assert late["total_us"] < answer.throttle_time_ms * 1000 / 2, late


def test_connections_of_a_client_share_its_quota(api, address, name, topic):
    assert alter(api, {"client-id": name}, **{PRODUCE: float(RATE)}).error_code == NONE
    waits = []
    for _ in range(3):
        with Api(address) as one:
            one.client_id = name
            partitions = [{"index": 0, "records": batches.build([b"x" * (RATE // 2)])}]
            topics = [{"name": topic, "partitions": partitions}]
            waits.append(one.call("Produce", 8, acks=1, topics=topics).throttle_time_ms)
    assert waits[0] == 0 and waits[2] > 0, waits


def test_librdkafka_sees_the_throttle_and_loses_nothing(api, address, name, topic):
    assert alter(api, {"client-id": name}, **{PRODUCE: float(RATE)}).error_code == NONE
    told = []
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": address, "client.id": name, "throttle_cb": lambda event: told.append(event.throttle_time)}
    )
    failed = []
    for _ in range(10):
        producer.produce(topic, b"x" * (RATE // 5), on_delivery=lambda error, _: error and failed.append(error))
        producer.flush(30)
    assert not failed and max(told, default=0) > 0, (failed, told)
    assert api.offset(topic, -1) == 10
