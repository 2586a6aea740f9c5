"""Bytes that are no request: that connection pays for it, and nothing else notices."""

import os
import random
import struct

import pytest

import batches
import wire
from apis import Api
from errors import NONE

DEAD = [
    ("a negative size", struct.pack(">i", -1)),
    ("the smallest size", struct.pack(">i", -(1 << 31))),
    ("a size of 0", struct.pack(">i", 0)),
    ("a size below a header", wire.frame(b"\0\x03\0")),
    ("a size above the limit", struct.pack(">i", (1 << 31) - 1)),
    ("text", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a TLS hello", bytes.fromhex("1603010200010001fc0303") + bytes(100)),
    ("an API that does not exist", wire.frame(struct.pack(">hhih", 9999, 0, 1, -1))),
    ("a negative API", wire.frame(struct.pack(">hhih", -1, 0, 1, -1))),
    ("a negative version", wire.frame(struct.pack(">hhih", 3, -1, 1, -1))),
    ("a client id beyond the frame", wire.frame(struct.pack(">hhih", 3, 1, 1, 30_000))),
    ("more topics than bytes", wire.frame(struct.pack(">hhihi", 3, 1, 1, -1, 1 << 30))),
    ("a body cut short", wire.frame(struct.pack(">hhihi", 3, 1, 1, -1, 1) + b"\0\x09abc")),
    ("a name that is no text", wire.frame(struct.pack(">hhihi", 3, 1, 1, -1, 1) + b"\0\x02\xff\xfe")),
    ("a varint that does not end", wire.frame(struct.pack(">hhih", 3, 9, 1, -1) + b"\0" + b"\xff" * 20)),
    ("produce cut short", wire.frame(struct.pack(">hhih", 0, 8, 1, -1) + b"\xff\xff\0\x01\0\0\0\x01\0\0\0\x01\0\x09")),
    ("fetch cut short", wire.frame(struct.pack(">hhih", 1, 4, 1, -1) + b"\xff\xff\xff\xff\0\0")),
    ("fetch of too many topics", wire.frame(struct.pack(">hhihiiiibi", 1, 4, 1, -1, -1, 0, 0, 0, 0, 1 << 30))),
]


@pytest.mark.parametrize("data", [data for _, data in DEAD], ids=[name.replace(" ", "_") for name, _ in DEAD])
def test_a_connection_that_sends_garbage_is_closed_or_answered_and_others_go_on(api, address, topic, data):
    with Api(address) as bad:
        bad.send_bytes(data)
        bad.end_sending()
        while not bad.is_closed():
            pass
    assert api.append(topic, b"a") == 0
    with Api(address) as second:
        assert second.values(topic) == [b"a"]


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 20])
def test_half_a_request_and_then_nothing_disturbs_nobody(api, address, topic, cut):
    with Api(address) as bad:
        bad.send_bytes(wire.request("Metadata", 1, 1, {"topics": [{"name": topic}]})[:cut])
    assert api.append(topic, b"a") == 0


def test_a_connection_that_closes_without_reading_its_answer_disturbs_nobody(api, address, topic):
    api.append(topic, os.urandom(500_000))
    for _ in range(10):
        with Api(address) as bad:
            for _ in range(5):
                bad.send_fetch(topic, 0)
    assert api.append(topic, b"a") == 1


def test_a_connection_that_closes_while_its_fetch_waits_disturbs_nobody(api, address, topic):
    for _ in range(10):
        with Api(address) as bad:
            bad.send_fetch(topic, 0, max_wait_ms=600_000)
    assert api.append(topic, b"a") == 0
    assert api.values(topic) == [b"a"]


def test_random_bytes_behind_a_sound_header_disturb_nobody(api, address, topic):
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    source = random.Random(seed)
    for _ in range(200):
        key = source.choice([0, 1, 2, 3, 18, 19, 20, 22, 23, 32, 37])
        header = struct.pack(">hhih", key, source.randrange(0, 12), 1, -1)
        with Api(address) as bad:
            bad.send_bytes(wire.frame(header + source.randbytes(source.randrange(0, 200))))
            bad.end_sending()
            while not bad.is_closed():
                pass
    assert api.append(topic, b"a") == 0
    assert api.values(topic) == [b"a"]


def test_500_idle_connections_leave_room_for_work(address, topic):
    idle = [Api(address) for _ in range(500)]
    try:
        with Api(address) as one:
            assert one.append(topic, b"a") == 0
        for each in idle[::50]:
            assert each.call("ApiVersions", 0).error_code == NONE
            assert each.values(topic) == [b"a"]
    finally:
        for each in idle:
            each.socket.close()


def test_a_declared_length_does_not_become_memory(start, data):
    one = start(data)
    with Api(one.address) as api:
        api.create_topic("t")
        before = one.resident_bytes()
        liars = []
        for declared in [(1 << 31) - 1] * 10 + [100 << 20] * 10 + [90_000_000] * 10:
            liar = Api(one.address)
            liars.append(liar)
            liar.send_bytes(struct.pack(">i", declared) + struct.pack(">hhih", 0, 8, 1, -1))
        assert api.append("t", b"a") == 0, "after all of them have arrived"
        grown = one.resident_bytes() - before
        assert grown < 64 << 20, f"{grown} bytes more for 30 declared lengths of 90 MB and above"
        for liar in liars:
            liar.socket.close()


@pytest.mark.parametrize("api_name, version", [("Metadata", 1), ("Metadata", 12), ("Fetch", 12), ("Produce", 8), ("ListOffsets", 6)])
def test_bytes_behind_the_last_field_are_ignored(api, topic, api_name, version):
    # librdkafka 2.16 sends three of them behind a Metadata request for all topics.
    topics = {
        "Metadata": None,
        "Fetch": [{"name": topic, "partitions": [{"index": 0, "fetch_offset": 0}]}],
        "Produce": [{"name": topic, "partitions": [{"index": 0, "records": batches.build([b"a"])}]}],
        "ListOffsets": [{"name": topic, "partitions": [{"index": 0, "timestamp": -1}]}],
    }[api_name]
    whole = wire.request(api_name, version, 5, {"topics": topics})
    api.send_bytes(wire.frame(whole[4:] + b"\0\0\0"))
    assert api.receive((api_name, version, 5)).topics
