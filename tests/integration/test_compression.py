"""Codecs: passed through, read in every framing, written anew where a topic wants its own."""

import gzip
import os
import random

import lz4.frame
import pytest
import snappy
import zstandard

import batches
from apis import LATEST
from batches import CODECS, NOW, Record
from clients import CLIENTS
from errors import CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, NONE

XERIAL_HEADER = b"\x82SNAPPY\0" + b"\0\0\0\1" * 2


def xerial(data, block_bytes=1000):
    blocks = [snappy.compress(data[at : at + block_bytes]) for at in range(0, len(data), block_bytes)]
    return XERIAL_HEADER + b"".join(len(block).to_bytes(4, "big") + block for block in blocks)


def read_xerial(data):
    assert data.startswith(XERIAL_HEADER), "what the broker writes is framed"
    found, at = b"", len(XERIAL_HEADER)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found += snappy.decompress(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def linked_lz4(data):
    return lz4.frame.compress(data, block_linked=True, content_checksum=True, block_checksum=True)


def zstd(data):
    return zstandard.ZstdCompressor().compress(data)


# Codec and how a client may write it.
FRAMINGS = {
    "gzip": ("gzip", gzip.compress),
    "two gzip members": ("gzip", lambda data: gzip.compress(data[:70]) + gzip.compress(data[70:])),
    "raw snappy": ("snappy", snappy.compress),
    "xerial snappy": ("snappy", xerial),
    "lz4": ("lz4", lz4.frame.compress),
    "lz4, linked blocks and checksums": ("lz4", linked_lz4),
    "zstd": ("zstd", zstd),
}
UNPACK = {
    "uncompressed": bytes,
    "gzip": gzip.decompress,
    "snappy": read_xerial,
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
RECORDS = [Record(b"k%d" % n, b"some value %d, " % n * 20, (("h", b"%d" % n),), NOW + n) for n in range(40)]


def plain(records):
    return [one._replace(offset=None) for one in records]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_is_taken_and_passed_through_byte_for_byte(api, topic, framing):
    codec, pack = FRAMINGS[framing]
    sent = batches.build(RECORDS, codec, pack, attributes=CODECS[codec], max_timestamp=-1)
    assert api.produce(topic, sent).error_code == NONE
    (found,) = api.read(topic)
    assert found.bytes[batches.HEADER.size :] == sent[batches.HEADER.size :]
    assert found.max_timestamp == NOW + 39, "found out from inside"
    assert api.list_offset(topic, NOW + 7).offset == 7


@pytest.mark.parametrize("target", UNPACK)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_is_written_anew_in_the_codec_of_the_topic(api, new_topic, framing, target):
    codec, pack = FRAMINGS[framing]
    topic = new_topic(**{"compression.type": target})
    sent = batches.build(RECORDS, codec, pack, attributes=CODECS[codec])
    assert api.produce(topic, sent).error_code == NONE
    (found,) = api.read(topic)
    assert found.attributes & 7 == CODECS.get(target, 0)
    if target == codec:
        assert found.bytes[batches.HEADER.size :] == sent[batches.HEADER.size :], "it is in that codec already"
    else:
        assert plain(batches.records(found, UNPACK[target])) == RECORDS


@pytest.mark.parametrize("target", ["gzip", "snappy", "lz4", "zstd"])
def test_what_was_written_anew_every_client_reads(address, api, new_topic, target):
    topic = new_topic(**{"compression.type": target})
    codec, pack = FRAMINGS["raw snappy" if target != "snappy" else "zstd"]
    assert api.produce(topic, batches.build(RECORDS, codec, pack, attributes=CODECS[codec])).error_code == NONE
    for reader in CLIENTS.values():
        found = reader.consume(address, topic, "beginning", len(RECORDS))
        assert plain(found) == RECORDS, reader.name


@pytest.mark.parametrize("codec, low, high", [("gzip", 1, 9), ("lz4", 1, 12), ("lz4", 9, 12), ("zstd", -50, 19)])
def test_a_higher_level_packs_tighter(api, new_topic, codec, low, high):
    words = random.Random(7).choices([b"%x" % (n * 7919) for n in range(300)], k=40_000)
    stored = []
    for level in (low, high):
        topic = new_topic(**{"compression.type": codec, f"compression.{codec}.level": level})
        assert api.append(topic, b" ".join(words)) == 0
        (found,) = api.read(topic)
        assert batches.records(found, UNPACK[codec])[0].value == b" ".join(words)
        stored.append(found.length)
    assert stored[1] < stored[0], stored


@pytest.mark.parametrize("target", ["producer", "uncompressed", "zstd"])
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_bytes_that_are_not_of_their_codec_are_corrupt_and_leave_nothing(own_only, api, new_topic, codec, target):
    # Kafka answers UNKNOWN_SERVER_ERROR to some of them, on which the Java client bumps its epoch and sends again.
    topic = new_topic(**{"compression.type": target})
    _, pack = FRAMINGS["xerial snappy" if codec == "snappy" else codec]
    noise = os.urandom(500)
    lies = [lambda data: data, lambda data: pack(data)[:-9], lambda data: pack(data) + noise, lambda _: noise, lambda _: b""]
    for number, lie in enumerate(lies):
        answer = api.produce(topic, batches.build(RECORDS, codec, lie, attributes=CODECS[codec]))
        assert (answer.error_code, answer.base_offset) == (CORRUPT_MESSAGE, -1), (number, noise.hex())
    assert api.append(topic, b"next") == 0


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_bomb_is_refused_and_leaves_nothing(own_only, api, new_topic, codec):
    topic = new_topic(**{"max.message.bytes": 4 << 20})
    zeros = bytes(1 << 20)
    if codec == "gzip":
        bomb = gzip.compress(zeros) * 400
    else:
        packer = zstandard.ZstdCompressor().compressobj()
        bomb = b"".join(packer.compress(zeros) for _ in range(400)) + packer.flush()
    answer = api.produce(topic, batches.build([b"x"], codec, lambda _: bomb, attributes=CODECS[codec]))
    assert (answer.error_code, answer.base_offset) == (CORRUPT_MESSAGE, -1)
    assert api.append(topic, b"next") == 0


@pytest.mark.parametrize("target, code", [("uncompressed", MESSAGE_TOO_LARGE), ("gzip", NONE)])
def test_a_batch_counts_against_the_size_limit_as_it_is_written_anew(api, new_topic, target, code):
    topic = new_topic(**{"compression.type": target, "max.message.bytes": 100_000})
    sent = batches.build([b"x" * 1000] * 200, "zstd", zstd, attributes=CODECS["zstd"])
    assert len(sent) < 100_000
    assert api.produce(topic, sent).error_code == code
    assert api.offset(topic, LATEST) == (200 if code == NONE else 0)
