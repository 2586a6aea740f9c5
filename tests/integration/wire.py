"""Kafka's wire format by hand, for tests that care about single bytes; needs nothing but Python.

`schemas.py` says what a message consists of, this file turns that into bytes and back. A response is decoded
to its very end: a byte too many or too few fails the test, because some clients stop at either.
"""

import itertools
import socket
import struct
import uuid

from schemas import API_KEYS, FIRST_FLEXIBLE, REQUESTS, RESPONSES

TIMEOUT_S = 120.0  # only so that a test which waits for ever fails instead
_NUMBERS = {"int8": ">b", "int16": ">h", "int32": ">i", "int64": ">q", "uint32": ">I", "bool": ">?", "float64": ">d"}
_DEFAULTS = {"string": None, "bytes": None, "uuid": uuid.UUID(int=0), "bool": False}


class ConnectionClosed(Exception):
    """The broker closed the connection."""


class Message(dict):
    """A decoded structure: its fields are attributes too."""

    __getattr__ = dict.__getitem__


def encode(fields, values, version, flexible):
    """Bytes of a structure. A field that `values` lacks has its default; a field of another version is left out."""
    unknown = set(values) - {field.name for field in fields}
    assert not unknown, f"no such field: {unknown}"
    parts = []
    for field in fields:
        if field.since <= version <= field.until:
            value = values.get(field.name, field.default)
            parts.append(_encode_value(field.kind, value, version, flexible))
    if flexible:
        parts.append(b"\0")
    return b"".join(parts)


def _encode_value(kind, value, version, flexible):
    if isinstance(kind, list):
        items = [] if value is None else value
        item = kind[0] if isinstance(kind[0], str) else None
        parts = [_encode_length(None if value is None else len(items), "int32", flexible)]
        for each in items:
            one = _encode_value(item, each, version, flexible) if item else encode(kind, each, version, flexible)
            parts.append(one)
        return b"".join(parts)
    if kind in ("string", "bytes"):
        value = _DEFAULTS[kind] if value is None else value
        raw = value.encode() if isinstance(value, str) else value
        length = None if raw is None else len(raw)
        return _encode_length(length, "int16" if kind == "string" else "int32", flexible) + (raw or b"")
    if kind == "uuid":
        return (value or _DEFAULTS["uuid"]).bytes
    return struct.pack(_NUMBERS[kind], value or 0)


def _encode_length(length, kind, flexible):
    if flexible:
        return uvarint(0 if length is None else length + 1)
    return struct.pack(_NUMBERS[kind], -1 if length is None else length)


def uvarint(number):
    """An unsigned varint."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


class Reader:
    """Takes values off the front of bytes."""

    def __init__(self, data):
        self.data = memoryview(data)
        self.at = 0

    @property
    def left(self):
        """Bytes not yet taken."""
        return len(self.data) - self.at

    def take(self, count):
        assert 0 <= count <= self.left, f"{count} bytes wanted at {self.at}, {self.left} left: a message too short"
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def number(self, kind):
        return struct.unpack(_NUMBERS[kind], self.take(struct.calcsize(_NUMBERS[kind])))[0]

    def uvarint(self):
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def varint(self):
        number = self.uvarint()
        return number >> 1 ^ -(number & 1)

    def length(self, kind, flexible):
        length = self.uvarint() - 1 if flexible else self.number(kind)
        return None if length < 0 else length

    def tags(self):
        """Tagged fields: number to bytes."""
        found = {}
        for _ in range(self.uvarint()):
            tag = self.uvarint()
            found[tag] = self.take(self.uvarint())
        return found

    def struct(self, fields, version, flexible):
        message = Message()
        for field in fields:
            if field.since <= version <= field.until:
                message[field.name] = self.value(field.kind, version, flexible)
        if flexible:
            message["tags"] = self.tags()
        return message

    def value(self, kind, version, flexible):
        if isinstance(kind, tuple):  # "struct", fields; "nullable", fields: a structure that may be missing
            missing = kind[0] == "nullable" and self.number("int8") < 0
            return None if missing else self.struct(kind[1], version, flexible)
        if isinstance(kind, list):
            count = self.length("int32", flexible)
            if count is None:
                return None
            if isinstance(kind[0], str):
                return [self.value(kind[0], version, flexible) for _ in range(count)]
            return [self.struct(kind, version, flexible) for _ in range(count)]
        if kind in ("string", "bytes"):
            length = self.length("int16" if kind == "string" else "int32", flexible)
            raw = None if length is None else self.take(length)
            return raw.decode() if raw is not None and kind == "string" else raw
        if kind == "uuid":
            return uuid.UUID(bytes=self.take(16))
        return self.number(kind)


def request(api, version, correlation, values, client_id="wire"):
    """A whole frame: size, header, body."""
    flexible = version >= FIRST_FLEXIBLE[api]
    header = struct.pack(">hhih", API_KEYS[api], version, correlation, len(client_id)) + client_id.encode()
    body = encode(REQUESTS[api], values, version, flexible)
    return frame(header + (b"\0" if flexible else b"") + body)


def frame(payload):
    """`payload` behind its size."""
    return struct.pack(">i", len(payload)) + payload


class Connection:
    """One connection to a broker, as a careful and strict client."""

    client_id = "wire"

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlations = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, api, version, **values):
        """Sends a request; returns what `receive` needs to know about it."""
        correlation = next(self.correlations)
        self.send_bytes(request(api, version, correlation, values, self.client_id))
        return api, version, correlation

    def send_bytes(self, data):
        self.socket.sendall(data)

    def receive(self, expected):
        """The next response, which must be the one to `expected` and hold not one byte more."""
        api, version, correlation = expected
        reader = Reader(self.receive_frame())
        answered = reader.number("int32")
        assert answered == correlation, f"{api} {version}: answered {answered}, asked {correlation}"
        return decode_response(api, version, reader)

    def receive_frame(self):
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def call(self, api, version, **values):
        return self.receive(self.send(api, version, **values))

    def end_sending(self):
        """Tells the broker that nothing more will come."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has closed the connection already

    def is_closed(self):
        """Waits for the broker to close the connection; a response instead is False."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count):
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self.socket.recv(count - len(parts))
            except ConnectionError as error:
                raise ConnectionClosed(str(error)) from error
            if not part:
                raise ConnectionClosed(f"after {len(parts)} of {count} bytes")
            parts += part
        return bytes(parts)


def decode_response(api, version, reader):
    """Everything behind the correlation id."""
    flexible = version >= FIRST_FLEXIBLE[api]
    if flexible and api != "ApiVersions":  # KIP-511: a client reads it before it knows the broker
        reader.tags()
    message = reader.struct(RESPONSES[api], version, flexible)
    assert reader.left == 0, f"{api} {version}: {reader.left} surplus bytes"
    return message
