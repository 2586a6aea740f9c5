"""What a stop, and what a crash, leaves behind: everything that was acknowledged, on any number of cores."""

import random

import pytest

import batches
import broker
from apis import EARLIEST, LATEST, Api
from batches import NOW, Record
from errors import NONE, OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_TOPIC_ID

PARTITIONS = 8
ENDS = ["stop", "kill"]  # methods of Broker: SIGTERM and SIGKILL


def core_counts():
    """A change of the number of cores in both directions, where the machine has two."""
    most = min(2, broker.cores())
    return [most, 1, most]


def through_every_end(start, data, how, check, *flags):
    """Runs `check(api, round)` on one broker after the other, each ended by `how`."""
    for number, cores in enumerate(core_counts()):
        one = start(data, "--cores", cores, *flags)
        with Api(one.address) as api:
            check(api, number)
        assert getattr(one, how)() in (0, None), one.log()


@pytest.mark.parametrize("how", ENDS)
def test_records_settings_and_ids_are_the_same_after_any_end(start, data, how):
    values = {index: [] for index in range(PARTITIONS)}
    seen = {}

    def check(api, number):
        if number == 0:
            api.create_topic("t", PARTITIONS, {"retention.ms": 12345, "max.message.bytes": 2_000_000})
        metadata = api.call("Metadata", 8, topics=[])
        resources = [{"kind": 2, "name": "t", "keys": ["retention.ms"]}]
        configs = api.call("DescribeConfigs", 2, resources=resources).results[0].configs
        found = (metadata.cluster_id, metadata.controller_id, api.topic_id("t"), configs[0].value)
        assert seen.setdefault("all", found) == found
        for index, expected in values.items():
            assert api.values("t", partition=index) == expected
            assert api.offset("t", EARLIEST, partition=index) == 0
            new = [b"%d %d %d" % (number, index, n) + b"." * (n * 97) for n in range(40)]
            for at in range(0, 40, 5):
                assert api.append("t", *new[at : at + 5], partition=index) == len(expected) + at
            expected += new
            assert api.values("t", partition=index) == expected

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("acks", [1, -1])
def test_what_was_acknowledged_before_a_kill_is_there_and_offsets_never_go_back(start, data, acks):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    acknowledged = {}

    def check(api, number):
        if number == 0:
            api.create_topic("t", PARTITIONS)
        for index, expected in acknowledged.items():
            assert api.values("t", partition=index)[: len(expected)] == expected, f"seed {seed}"
        for _ in range(source.randrange(100, 300)):
            index = source.randrange(PARTITIONS)
            value = source.randbytes(source.choice([1, 100, 4000, 70_000]))
            answer = api.produce("t", batches.build([value]), acks=acks, partition=index)
            expected = acknowledged.setdefault(index, [])
            assert (answer.error_code, answer.base_offset) == (NONE, len(expected))
            expected.append(value)

    through_every_end(start, data, "kill", check)
    one = start(data)
    with Api(one.address) as api:
        check(api, 99)


@pytest.mark.parametrize("how", ENDS)
def test_unanswered_requests_leave_whole_batches_or_nothing(start, data, how):
    batch = batches.build([b"x" * 1000, b"y" * 1000, b"z" * 1000])

    def check(api, number):
        if number == 0:
            api.create_topic("t")
        found = api.values("t")
        assert found == [b"x" * 1000, b"y" * 1000, b"z" * 1000] * (len(found) // 3)
        for _ in range(200):
            api.send("Produce", 8, topics=[{"name": "t", "partitions": [{"index": 0, "records": batch}]}])

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("how", ENDS)
def test_topic_changes_survive_any_end(start, data, how):
    ids = {}

    def check(api, number):
        if number == 0:
            for name in ("kept", "deleted", "grown", "again"):
                api.create_topic(name, 2)
                api.append(name, b"old")
                ids[name] = api.topic_id(name)
            api.delete_topic("deleted")
            api.delete_topic("again")
            api.create_topic("again")
            assert api.call("CreatePartitions", 2, topics=[{"name": "grown", "count": 5}]).results[0].error_code == NONE
            return
        topics = {one.name: one for one in api.call("Metadata", 12, topics=None).topics}
        assert {name: len(one.partitions) for name, one in topics.items()} == {"kept": 2, "grown": 5, "again": 1}
        assert topics["kept"].topic_id == ids["kept"]
        assert topics["again"].topic_id != ids["again"]
        assert api.fetch(ids["deleted"], 0, 13, max_wait_ms=1).error_code == UNKNOWN_TOPIC_ID
        assert api.values("kept") == api.values("grown") == [b"old"]
        assert api.values("again") == [b"new"] * (number - 1)
        api.append("again", b"new")

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("how", ENDS)
def test_a_producer_s_sequences_survive_any_end(start, data, how):
    producer = {}

    def check(api, number):
        if number == 0:
            api.create_topic("t")
            producer["id"], _ = api.producer_id()

        def send(sequence):
            header = {"producer_id": producer["id"], "producer_epoch": 0, "base_sequence": sequence}
            return api.produce("t", batches.build([b"%d" % sequence], **header))

        for sequence in range(max(0, number * 10 - 5), number * 10):
            again = send(sequence)
            assert (again.error_code, again.base_offset) == (NONE, sequence), "sent again after the restart"
        if number > 0:  # before its first batch a producer may begin anywhere
            assert send(number * 10 + 5).error_code == OUT_OF_ORDER_SEQUENCE_NUMBER
        for sequence in range(number * 10, number * 10 + 10):
            assert send(sequence).base_offset == sequence
        assert api.values("t") == [b"%d" % n for n in range(number * 10 + 10)]

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("how", ENDS)
def test_producer_ids_are_never_given_twice(start, data, how):
    given = set()

    def check(api, number):
        new = {api.producer_id()[0] for _ in range(20)}
        assert len(new) == 20 and not new & given
        given.update(new)

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("how", ENDS)
def test_times_are_found_after_any_end(start, data, how):
    def check(api, number):
        if number == 0:
            api.create_topic("t")
        for n in range(20):
            api.append("t", *[Record(None, b"x" * 500, (), NOW + number * 1000 + n * 10 + i) for i in range(5)])
        for asked in range(number + 1):
            found = api.list_offset("t", NOW + asked * 1000 + 43)
            assert (found.offset, found.timestamp) == (asked * 100 + 23, NOW + asked * 1000 + 43)

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("how", ENDS)
def test_segments_roll_and_are_read_across_any_end(start, data, how):
    def check(api, number):
        if number == 0:
            api.create_topic("t", 1, {"segment.bytes": 1 << 20})
        for n in range(50):
            assert api.append("t", b"%d" % (number * 50 + n) + b"." * 60_000) == number * 50 + n
        values = api.values("t")
        assert [int(one.split(b".")[0]) for one in values] == list(range((number + 1) * 50))
        assert api.offset("t", LATEST) == (number + 1) * 50

    through_every_end(start, data, how, check)


@pytest.mark.parametrize("how", ENDS)
def test_the_same_port_is_free_again_at_once(start, data, how):
    listen = f"127.0.0.1:{broker.lasting_port()}"
    for _ in range(3):
        one = start(data, listen=listen)
        with Api(listen) as api:
            assert api.call("ApiVersions", 0).error_code == NONE
            assert getattr(one, how)() in (0, None), "with a connection open"
            assert api.is_closed()


@pytest.mark.parametrize("how", ENDS)
def test_starts_follow_each_other_without_one_that_hangs(start, data, how):
    for _ in range(20):
        assert getattr(start(data), how)() in (0, None)


def test_leader_epochs_are_known_after_a_crash(start, data):
    def check(api, number):
        if number == 0:
            api.create_topic("t")
        api.append("t", b"x")
        partition = api.call("Metadata", 9, topics=[{"name": "t"}]).topics[0].partitions[0]
        one = {"index": 0, "leader_epoch": partition.leader_epoch, "current_leader_epoch": partition.leader_epoch}
        answer = api.call("OffsetForLeaderEpoch", 4, topics=[{"name": "t", "partitions": [one]}])
        found = answer.topics[0].partitions[0]
        assert (found.error_code, found.end_offset) == (NONE, number + 1)
        assert api.read("t")[-1].leader_epoch <= partition.leader_epoch

    through_every_end(start, data, "kill", check)
