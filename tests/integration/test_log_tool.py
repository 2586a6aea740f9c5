"""`corelane log verify` and `corelane log dump` on what a real broker has left."""

import json
import re

import pytest

import broker
from apis import Api
from errors import KAFKA_STORAGE_ERROR, NONE

BATCHES = 60
VALUE_BYTES = 20_000
SEGMENT_BYTES = 300_000


def filled(start, data, how):
    """Two partitions of several segments; returns the values of each."""
    values = {0: [], 1: []}
    one = start(data, "--cores", 1)
    with Api(one.address) as api:
        api.create_topic("t", 2, {"segment.bytes": SEGMENT_BYTES})
        for number in range(BATCHES):
            for index, kept in values.items():
                new = [b"%d %d %d " % (index, number, n) + b"x" * (VALUE_BYTES // 2) for n in range(2)]
                api.append("t", *new, partition=index)
                kept += new
    assert getattr(one, how)() in (0, None), one.log()
    return values


def verify(data):
    status, out, err = broker.run("log", "verify", data, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    return status, lines[:-1], lines[-1] if lines else err


def flip(path, position):
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x20]))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_sound_directory_is_sound_and_dumps_every_record(start, data, how):
    values = filled(start, data, how)
    status, damages, whole = verify(data)
    assert (status, damages) == (0, []), damages
    assert whole["partitions"] == 2
    assert whole["batches"] + whole["journaled_batches"] >= 2 * BATCHES
    for index, expected in values.items():
        arguments = ["--topic", "t", "--partition", index, "--records", "--json"]
        status, out, err = broker.run("log", "dump", data, *arguments)
        assert status == 0, err
        batches = [json.loads(line) for line in out.splitlines()]
        found = [(record["offset"], record["value"].encode()) for batch in batches for record in batch["records"]]
        assert found == list(enumerate(expected))
        assert all(batch["isValid"] for batch in batches)


def test_a_dump_reads_as_kafkas_own(start, data):
    filled(start, data, "stop")
    status, out, _ = broker.run("log", "dump", data, "--topic", "t", "--partition", 0, "--offset", 7, "--records")
    assert status == 0
    lines = [line for line in out.splitlines() if not line.startswith("Dumping ")]
    batch = re.fullmatch(
        r"baseOffset: 6 lastOffset: 7 count: 2 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 "
        r"partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty "
        r"position: \d+ CreateTime: \d+ size: \d+ magic: 2 compresscodec: none crc: \d+ isvalid: true",
        lines[0],
    )
    assert batch, lines[0]
    assert re.match(r"\| offset: 6 CreateTime: \d+ keySize: -1 valueSize: \d+ headerKeys: \[\] payload: 0 3 0 x", lines[1])


def test_every_damaged_range_is_named_and_only_it_is_not_served(start, data):
    values = filled(start, data, "stop")
    segments = sorted(data.glob("topics/*/0/*.log"))
    assert len(segments) >= 3
    sidecars = sorted(data.glob("topics/*/0/*.crc"))
    assert len(sidecars) == len(segments) - 1
    flip(segments[1], 5)  # a base offset: no CRC of Kafka's covers it
    flip(sidecars[0], 40)
    status, damages, _ = verify(data)
    assert status == 1
    assert sorted(damage["file"] for damage in damages) == sorted([str(segments[1]), str(sidecars[0])])
    (range_,) = [damage for damage in damages if damage["file"] == str(segments[1])]
    assert range_["partition"] == "t-0" and range_["from"] == 0
    first = int(segments[1].name.split(".")[0])
    assert range_["first_offset"] == first < range_["next_offset"]

    one = start(data, "--cores", 1)
    with Api(one.address) as api:
        assert api.fetch("t", first).error_code == KAFKA_STORAGE_ERROR
        assert api.fetch("t", range_["next_offset"]).error_code == NONE
        assert api.values("t", range_["next_offset"]) == values[0][range_["next_offset"] :]
        assert api.values("t", partition=1) == values[1]
        answer = api.append("t", b"goes on", partition=0)
        assert answer == len(values[0])
    assert one.stop() == 0


@pytest.mark.parametrize("name", ["cluster/metadata.log", "shards/CURRENT", "shards/*/checkpoint.*"])
def test_damage_to_what_a_start_needs_is_found(start, data, name):
    filled(start, data, "stop")
    flip(sorted(data.glob(name))[0], 20)
    status, damages, _ = verify(data)
    assert status == 1
    assert damages


def test_a_directory_in_use_or_of_something_else_is_refused(start, data, tmp_path):
    one = start(data, "--cores", 1)
    status, out, err = broker.run("log", "verify", data)
    assert (status, out) == (1, "") and str(one.pid) in err
    status, _, err = broker.run("log", "dump", tmp_path / "nowhere")
    assert status == 1 and "nowhere" in err
    assert not (tmp_path / "nowhere").exists()
    assert broker.run("log", "verify")[0] == 2
