"""A disk that is really full, and has room again: a small one in memory, in a mount namespace of its own."""

import ctypes
import os
import pathlib
import select
import subprocess

import pytest

import batches
from apis import LATEST, Api
from batches import Record
from errors import KAFKA_STORAGE_ERROR, NONE
from test_groups import commit, committed, find

SIZE = "size=64m"
# Small enough for the small disk: one core, a journal of 8 MiB, a reserve of 4.
SMALL = ["--cores", 1, "--allow-tmpfs", "--set", "shards.journal.file.bytes=4MiB", "--set", "shards.journal.files.max=2"]
SMALL += ["--set", "shards.unsettled.bytes.max=4MiB", "--set", "disk.reserve.bytes=4MiB"]
SOON = ["--set", "offsets.retention.check.interval.ms=200ms"]
PATIENCE, A_WHILE_S = 50, 2.0
HOME_OF_G = 103 % 50  # the partition of `__consumer_offsets`: Java's hash of "g"
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
PIECE = bytes(64 << 10)
LARGE_VALUE = os.urandom(100_000)
LARGE = batches.build([Record(None, LARGE_VALUE)])


class Disk:
    """A small file system at `path`, for those only who enter."""

    def __init__(self, path):
        path.mkdir()
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        mounted = f"mount -t tmpfs -o {SIZE} none {path} && echo mounted && exec cat"
        command = ["unshare", "--mount", *user, "sh", "-c", mounted]
        self.keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.keeper.stdout.readline() != b"mounted\n":
            pytest.skip(f"no mount namespaces here: {self.keeper.communicate()[1].decode().strip()}")
        self.spaces = [CLONE_NEWNS] if os.geteuid() == 0 else [CLONE_NEWUSER, CLONE_NEWNS]
        self.root = pathlib.Path(f"/proc/{self.keeper.pid}/root{path}")

    def enter(self):
        """To be run in a new process."""
        libc = ctypes.CDLL(None, use_errno=True)
        for space in self.spaces:
            name = {CLONE_NEWNS: "mnt", CLONE_NEWUSER: "user"}[space]
            handle = os.open(f"/proc/{self.keeper.pid}/ns/{name}", os.O_RDONLY)
            if libc.setns(handle, space) != 0:
                os._exit(125)

    def fill(self):
        """Leaves no space at all, for as long as `empty` is not called."""
        with (self.root / "filler").open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(PIECE)
            except OSError:
                pass

    def empty(self):
        (self.root / "filler").unlink()

    def close(self):
        self.keeper.communicate()


@pytest.fixture
def disk(tmp_path):
    one = Disk(tmp_path / "disk")
    yield one
    one.close()


@pytest.fixture
def start_on(start, disk, tmp_path):
    """Starts the broker on the disk, on the same data directory each time."""
    return lambda *flags: start(tmp_path / "disk" / "data", *SMALL, *flags, before=disk.enter)


def append_until_refused(api, topic):
    """How many batches were taken, and what was said to the next one."""
    for taken in range(10_000):
        answer = api.produce(topic, LARGE)
        if answer.error_code != NONE:
            return taken, answer.error_code
    raise AssertionError("the disk does not get full")


def all_there(api, topic, taken):
    values = api.values(topic)
    return len(values) == taken and set(values) <= {LARGE_VALUE}


def test_a_full_disk_refuses_records_keeps_what_it_took_and_takes_more_once_there_is_space(start_on):
    one = start_on()
    with Api(one.address) as api:
        api.create_topic("fills")
        api.create_topic("other")
        api.append("other", b"before")
        taken, error = append_until_refused(api, "fills")
        assert error == KAFKA_STORAGE_ERROR
        assert api.produce("other", LARGE).error_code == KAFKA_STORAGE_ERROR, "a full disk is everybody's"
        assert all_there(api, "fills", taken)
        api.delete_topic("fills")
        api.until(lambda: api.produce("other", LARGE).error_code == NONE, "no records are taken again")
        assert api.values("other")[0] == b"before"
    assert one.stop() == 0, one.log()


def test_offsets_are_committed_on_a_full_disk_also_where_their_topic_was_made_since_the_start(start_on):
    one = start_on()
    with Api(one.address) as api:
        api.create_topic("fills")
        find(api, "g")
        append_until_refused(api, "fills")
        assert commit(api, "g", "fills", 1) == NONE, "the reserve is for that"
    one.kill()
    one = start_on()
    with Api(one.address) as api:
        assert committed(api, "g", "fills").offset == 1
        assert commit(api, "g", "fills", 2) == NONE


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_broker_starts_on_a_full_disk_with_all_that_was_acknowledged(start_on, end):
    one = start_on()
    with Api(one.address) as api:
        api.create_topic("fills")
        taken, _ = append_until_refused(api, "fills")
    getattr(one, end)()
    one = start_on()
    with Api(one.address) as api:
        assert all_there(api, "fills", taken)
        api.delete_topic("fills")
        api.create_topic("next")
        api.until(lambda: api.produce("next", LARGE).error_code == NONE, "no records are taken again")


def commit_until_refused(address, disk):
    """Takes all space, that of the reserve too, and then what room the journal has."""
    partitions = [{"index": 0, "offset": 2, "metadata": ""}]
    for _ in range(PATIENCE):
        with Api(address) as api:
            while True:
                disk.fill()
                sent = api.send("OffsetCommit", 8, group_id="other", topics=[{"name": "t", "partitions": partitions}])
                if not select.select([api.socket], [], [], A_WHILE_S)[0]:
                    break  # it was taken, and waits for room in the journal: others need not
                if api.receive(sent).topics[0].partitions[0].error_code != NONE:
                    return
    raise AssertionError("it is never refused")


def beat(api, member_id, epoch, topics=None):
    values = {"group_id": "g", "member_id": member_id, "member_epoch": epoch, "rebalance_timeout_ms": 60_000}
    subscribed = {"subscribed_topic_names": topics, "topic_partitions": []} if topics else {}
    return api.call("ConsumerGroupHeartbeat", 0, **values, **subscribed)


def end_of_g(api):
    return api.offset("__consumer_offsets", LATEST, partition=HOME_OF_G)


def members(api):
    return [one.member_id for one in api.call("ConsumerGroupDescribe", 0, groups=["g"]).groups[0].members]


def test_a_member_that_left_while_nothing_could_be_stored_is_gone_also_after_kill_9(start_on, disk):
    """It has hung up, and nobody asks for the group again: the coordinator stores that by itself."""
    one = start_on(*SOON)
    with Api(one.address) as api, Api(one.address) as leaves:
        api.create_topic("t")
        find(api, "other")
        assert commit(api, "other", "t", 1) == NONE
        joined = beat(leaves, "m", 0, ["t"])
        assert joined.error_code == NONE, joined
        stored = end_of_g(api)
        commit_until_refused(one.address, disk)
        end = end_of_g(api)
        values = {"group_id": "g", "member_id": "m", "member_epoch": -1, "rebalance_timeout_ms": 60_000}
        leaves.send("ConsumerGroupHeartbeat", 0, **values)
        leaves.end_sending()
        api.until(leaves.is_closed, "it is not let go")
        assert end_of_g(api) == end >= stored
        disk.empty()
        api.until(lambda: end_of_g(api) > end, "it is never stored")
    one.kill()
    one = start_on()
    with Api(one.address) as api:
        assert members(api) == []
