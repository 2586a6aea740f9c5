"""Records through clients that nobody here wrote: in by one, out by all."""

import itertools
import threading

import pytest

from batches import NOW, Record
from clients import CLIENTS, Refused, Time

T0 = NOW
MIB = 1 << 20


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]


def text_records(count):
    headers = (("trace", b"a1"), ("kind", b"text"))
    return [Record(b"key%d" % (n % 7), b"value %d" % n + b"." * (n % 50), headers, T0 + n) for n in range(count)]


def contents(records):
    return [(one.key, one.value, one.headers) for one in records]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_what_one_client_produces_every_client_reads_in_order(client, acks, codec, address, topic):
    sent = text_records(200)
    client.produce(address, topic, sent, acks, codec)
    for reader in CLIENTS.values():
        found = reader.consume(address, topic, "beginning", len(sent))
        assert contents(found) == contents(sent), reader.name
        assert [one.offset for one in found] == list(range(len(sent))), reader.name


def test_any_byte_may_be_in_keys_values_and_headers(address, topic):
    anything = bytes(range(256))
    sent = [Record(anything, anything[::-1], (("h", anything), ("h", b""), ("ä", b"x")), T0)]
    for name in ("kafka-python", "confluent-kafka"):
        CLIENTS[name].produce(address, topic, sent)
    for name in ("kafka-python", "confluent-kafka"):
        assert contents(CLIENTS[name].consume(address, topic, "beginning", 2)) == contents(sent * 2), name


def test_a_null_value_and_an_empty_value_stay_apart(client, address, topic):
    null, empty = Record(b"k", None, (), T0), Record(b"k", b"", (), T0)
    client.produce(address, topic, [null])
    client.produce(address, topic, [empty])
    for reader in CLIENTS.values():
        found = reader.consume(address, topic, "beginning", 2)
        assert [one.value for one in found] == [None, b""], reader.name


def test_reading_from_an_offset(client, address, topic):
    CLIENTS["confluent-kafka"].produce(address, topic, text_records(100))
    found = client.consume(address, topic, 60, 40)
    assert [one.offset for one in found] == list(range(60, 100))


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_reading_from_a_timestamp(client, codec, address, topic):
    CLIENTS["confluent-kafka"].produce(address, topic, text_records(100), codec=codec)
    found = client.consume(address, topic, Time(T0 + 60), 40)
    assert [(one.offset, one.timestamp) for one in found] == [(n, T0 + n) for n in range(60, 100)]


def test_reading_from_the_end_sees_new_records_only(client, api, address, topic):
    api.append(topic, b"old", b"old")
    found = []
    reader = threading.Thread(target=lambda: found.extend(client.consume(address, topic, "end", 1)))
    reader.start()
    for number in itertools.count():  # a client does not say when it has found the end
        if not reader.is_alive():
            break
        api.append(topic, b"new %d" % number)
        reader.join(0.05)
    assert [one.value[:4] for one in found] == [b"new "]


def test_a_record_of_1_mib_fits_where_the_topic_allows_it(client, address, new_topic):
    topic = new_topic(**{"max.message.bytes": 2 * MIB})
    value = (b"0123456789abcdef" * (MIB // 16))[:MIB]
    client.produce(address, topic, [Record(b"k", value, (), T0)])
    for reader in CLIENTS.values():
        assert reader.consume(address, topic, "beginning", 1)[0].value == value, reader.name


def test_a_record_above_the_limit_is_refused_in_words(client, address, api, topic):
    with pytest.raises(Refused, match="(?i)too.?large"):
        client.produce(address, topic, [Record(b"k", b"x" * 2 * MIB, (), T0)])
    assert api.offset(topic, -1) == 0


def test_producing_creates_the_topic(client, address, new_name):
    topic = new_name()
    client.produce(address, topic, text_records(3))
    assert len(client.consume(address, topic, "beginning", 3)) == 3


def test_an_idempotent_producer_is_served(client, address, topic):
    sent = text_records(500)
    client.produce(address, topic, sent, idempotent=True)
    assert contents(client.consume(address, topic, "beginning", 500)) == contents(sent)


def test_the_records_of_a_key_stay_in_one_partition_and_in_order(client, address, api, new_topic):
    topic = new_topic(8)
    client.produce(address, topic, [Record(b"key%d" % (n % 20), b"%d" % n, (), T0) for n in range(1000)], partition=None)
    seen = {}
    for partition in range(8):
        count = api.offset(topic, -1, partition=partition)
        for one in client.consume(address, topic, "beginning", count, partition) if count else []:
            seen.setdefault(one.key, []).append((partition, int(one.value)))
    assert len(seen) == 20
    for key, places in seen.items():
        assert len({partition for partition, _ in places}) == 1, key
        assert [number for _, number in places] == list(range(int(key[3:]), 1000, 20)), key
