"""Record batches (magic 2) by hand: built as any client might, right or wrong, and taken apart again."""

import gzip
import struct
import time
from collections import namedtuple

from wire import Reader, uvarint

HEADER = struct.Struct(">qiibIhiqqqhii")
CRC_AT, CRC_FROM = 17, 21
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
LOG_APPEND_TIME = 8
# A time to count from, in milliseconds: a minute ago, so that what is counted from it is neither old nor ahead.
NOW = int(time.time() * 1000) - 60_000

Record = namedtuple("Record", "key value headers timestamp offset", defaults=((), NOW, None))
Batch = namedtuple(
    "Batch",
    "base_offset length leader_epoch magic crc attributes last_offset_delta first_timestamp max_timestamp "
    "producer_id producer_epoch base_sequence count bytes",
)


def _crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_TABLE = tuple(_crc_table())


def crc32c(data):
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number):
    return uvarint(number << 1 ^ number >> 63)


def _sized(data):
    return varint(-1) if data is None else varint(len(data)) + data


def _record(index, record, first_timestamp):
    body = b"\0" + varint(record.timestamp - first_timestamp) + varint(index)
    body += _sized(record.key) + _sized(record.value) + varint(len(record.headers))
    for name, value in record.headers:
        body += _sized(name.encode()) + _sized(value)
    return varint(len(body)) + body


def build(records, codec="none", pack=None, **header):
    """A batch, its records compressed by `pack`, or by gzip if `codec` says so.

    `header` overrides any field of the header, `crc` included, so that it can be made to lie.
    """
    records = [r if isinstance(r, Record) else Record(None, r) for r in records]
    first = records[0].timestamp
    body = b"".join(_record(index, record, first) for index, record in enumerate(records))
    assert pack or codec in ("none", "gzip"), "the codecs that come with Python"
    body = pack(body) if pack else gzip.compress(body) if codec == "gzip" else body
    fields = {
        "base_offset": 0,
        "length": HEADER.size - 12 + len(body),
        "leader_epoch": -1,
        "magic": 2,
        "crc": 0,
        "attributes": CODECS[codec],
        "last_offset_delta": len(records) - 1,
        "first_timestamp": first,
        "max_timestamp": max(record.timestamp for record in records),
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        "count": len(records),
    }
    fields.update(header)
    data = bytearray(HEADER.pack(*fields.values()) + body)
    if "crc" not in header:
        struct.pack_into(">I", data, CRC_AT, crc32c(data[CRC_FROM:]))
    return bytes(data)


def split(data):
    """The batches that `data` consists of; every CRC must hold. An incomplete last one is left out."""
    batches = []
    while len(data) >= 12 and len(data) >= 12 + struct.unpack_from(">i", data, 8)[0]:
        length = 12 + struct.unpack_from(">i", data, 8)[0]
        batch = Batch(*HEADER.unpack_from(data), data[:length])
        assert crc32c(batch.bytes[CRC_FROM:]) == batch.crc, f"CRC of the batch at offset {batch.base_offset}"
        batches.append(batch)
        data = data[length:]
    return batches


def records(batch, unpack=None):
    """The records of a batch, decompressed by `unpack` if its codec is another than gzip."""
    codec = batch.attributes & 7
    body = batch.bytes[HEADER.size :]
    assert unpack or codec in (0, 1), f"codec {codec}"
    unpack = unpack or (gzip.decompress if codec else bytes)
    reader = Reader(unpack(body))
    found = []
    for _ in range(batch.count):
        reader.varint()
        reader.take(1)
        timestamp = batch.first_timestamp + reader.varint()
        offset = batch.base_offset + reader.varint()
        key, value = _take(reader), _take(reader)
        headers = tuple((_take(reader).decode(), _take(reader)) for _ in range(reader.varint()))
        found.append(Record(key, value, headers, timestamp, offset))
    assert reader.left == 0
    return found


def _take(reader):
    length = reader.varint()
    return None if length < 0 else reader.take(length)
