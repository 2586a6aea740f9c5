"""[[shard]]: what is set for one core holds there, and shows in the metrics of that core and of no other."""

import json
import os
import pathlib
import re
import subprocess

import broker
import pytest
from apis import Api

pytestmark = [
    pytest.mark.usefixtures("own_only"),
    pytest.mark.skipif(broker.cores() < 2, reason="needs two cores"),
]
CORES = sorted(os.sched_getaffinity(0))[:2]
MIB = 1 << 20
# Name, value of each of the two cores, metric, what it is for each of them.
OVERRIDES = [
    ("memory.bytes", ("300MiB", "400MiB"), "memory_budget_bytes", (300 * MIB, 400 * MIB)),
    ("unsettled.bytes.max", ("9MiB", "17MiB"), "unsettled_bytes_max", (9 * MIB, 17 * MIB)),
    ("journal.file.bytes", ("8MiB", "16MiB"), "journal_bytes_max", (3 * 8 * MIB, 5 * 16 * MIB)),
    ("journal.files.max", (3, 5), "journal_bytes_max", (3 * 8 * MIB, 5 * 16 * MIB)),
    ("ring.entries", (128, 512), "ring_entries", (128, 512)),
    ("receive.buffers", (64, 256), "receive_buffers", (64, 256)),
    ("foreground.shares", (900, 800), "foreground_shares", (900, 800)),
    ("housekeeping.shares", (50, 200), "housekeeping_shares", (50, 200)),
    ("spin.us", ("0", "20us"), "spin_us", (0, 20)),
]


def quoted(value):
    return json.dumps(value) if isinstance(value, str) else str(value)


def configured(tmp_path, sections, top=""):
    """A file with a [[shard]] for each of the two cores: `sections` are lists of (name, value)."""
    lines = [f"cores = [{CORES[0]}, {CORES[1]}]", 'http.listen = "127.0.0.1:0"', top]
    for core, section in zip(CORES, sections):
        lines += ["[[shard]]", f"core = {core}", *(f"{name} = {quoted(value)}" for name, value in section)]
    file = tmp_path / "broker.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def metric(one, name):
    """Its value for each shard, measured since the start."""
    found = re.findall(rf'^corelane_{name}{{shard="(\d+)"}} (\S+)$', one.metrics(), re.MULTILINE)
    return tuple(float(value) for _, value in sorted(found))


def until_measured(one):
    Api.until(lambda: min(metric(one, "beats_total")) > 0, "a core has not measured itself")


def test_every_override_holds_on_its_core(start, data, tmp_path):
    of_core = [[(name, values[at]) for name, values, _, _ in OVERRIDES] for at in range(2)]
    one = start(data, "--config", configured(tmp_path, of_core))
    until_measured(one)
    assert metric(one, "core") == tuple(CORES)
    for name, _, shown, expected in OVERRIDES:
        assert metric(one, shown) == expected, name


def test_the_word_for_a_numa_node_holds_for_its_cores_unless_a_core_has_its_own(start, data, tmp_path):
    nodes = pathlib.Path("/sys/devices/system/node")
    if not (nodes / "node0").exists():
        pytest.skip("the kernel does not tell which core is near to which memory")
    file = configured(tmp_path, [[], [("spin.us", 7)]])
    node = next(int(path.name[4:]) for path in nodes.glob("node[0-9]*") if (nodes / path / f"cpu{CORES[0]}").exists())
    file.write_text(file.read_text() + f"[[shard]]\nnuma = {node}\nspin.us = 9\n")
    one = start(data, "--config", file)
    until_measured(one)
    assert metric(one, "spin_us") == (9, 7)


def test_each_core_listens_where_it_is_told(start, data, tmp_path):
    listeners = [[], [("listeners", "127.0.0.2:0"), ("advertised.listeners", "core1.example:19092")]]
    one = start(data, "--config", configured(tmp_path, listeners, "per_core_listeners = true"))
    with Api(one.address) as api:
        told = {(b.node_id, b.host, b.port) for b in api.call("Metadata", 9, topics=[]).brokers}
        host, port = one.address.split(":")
        assert told == {(1, host, int(port)), (2, "core1.example", 19092)}
        before = metric(one, "connections_opened_total")
        with Api(f"127.0.0.2:{listening(one, '127.0.0.2')}") as own:
            own.call("Metadata", 9, topics=[])
            after = metric(one, "connections_opened_total")
    assert (after[0] - before[0], after[1] - before[1]) == (0, 1), "the connection is the second core's"


def listening(one, host):
    """The port that the broker has there, as the kernel tells."""
    of_host = "".join(f"{int(part):02X}" for part in reversed(host.split(".")))
    inodes = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{one.pid}/fd").iterdir() if fd.is_symlink()}
    for line in pathlib.Path(f"/proc/{one.pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        address, port = words[1].split(":")
        if (address, words[3]) == (of_host, "0A") and f"socket:[{words[9]}]" in inodes:
            return int(port, 16)
    raise AssertionError(f"nothing listens on {host}")


def log_dirs(api):
    """For each directory, the partitions that are in it."""
    answer = api.call("DescribeLogDirs", 4, topics=None)
    return {
        found.log_dir: {partition.index for topic in found.topics for partition in topic.partitions}
        for found in answer.results
    }


def test_a_core_has_a_disk_of_its_own_and_any_number_of_cores_finds_what_is_on_it(start, data, tmp_path):
    other = tmp_path / "nvme1"
    file = configured(tmp_path, [[], [("log.dir", str(other))]])
    one = start(data, "--config", file)
    until_measured(one)
    # Each directory has its reserve; one that is shared is divided.
    reserve = metric(one, "disk_reserve_bytes")
    with Api(one.address) as api:
        api.create_topic("t", 4)
        for index in range(4):
            for value in (b"first", b"x" * 100_000):
                api.append("t", value, partition=index)
        found = log_dirs(api)
        assert set(found) == {str(data), str(other)} and all(len(indexes) == 2 for indexes in found.values()), found
    for directory in (data, other):
        assert list(directory.glob("shards/*/journal.*")), f"{directory} has no journal"
        assert len(list(directory.glob("topics/*/*/*.log"))) >= 2
    one.kill()
    # One core, then two of which none has its own: what lies on the other disk is found there, and stays.
    for at, cores in enumerate((1, 2, 1)):
        one = start(data, "--cores", cores, "--set", "http.listen=127.0.0.1:0")
        with Api(one.address) as api:
            for index in range(4):
                values = api.values("t", partition=index)
                assert values[:2] == [b"first", b"x" * 100_000] and len(values) == 2 + at
                api.append("t", b"later", partition=index)
            assert log_dirs(api) == found
            if cores == 2:
                until_measured(one)
                assert sum(metric(one, "disk_reserve_bytes")) <= max(reserve)
        one.kill() if at else one.stop()
    done = subprocess.run([broker.BINARY, "log", "verify", data], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    one = start(data, "--config", file)
    with Api(one.address) as api:
        assert all(len(api.values("t", partition=index)) == 5 for index in range(4))
        api.delete_topic("t")
        api.until(lambda: not list(other.glob("topics/*")), "its files remain")


def refused(*args):
    status, out, said = broker.run("serve", "--listen", "127.0.0.1:0", *args)
    assert (status, out) == (1, ""), out
    return said


def test_directories_that_cannot_be_are_refused_with_the_reason(start, data, tmp_path):
    other, third = tmp_path / "nvme1", tmp_path / "third"
    file = configured(tmp_path, [[], [("log.dir", str(other))]])
    one = start(data, "--config", file)
    said = refused("--data", third, "--config", file)
    assert f"{other} is in use by process {one.pid}" in said
    with Api(one.address) as api:
        api.create_topic("t", 2)
    assert one.stop() == 0
    said = refused("--data", third, "--config", file)
    assert f"{other} belongs to the broker whose data directory is {data}" in said
    assert f"{other} belongs to the broker whose data directory is {data}" in refused("--data", other)
    # The disk is not mounted: nothing is there, or an empty directory.
    other.rename(third / "moved")
    for _ in range(2):
        said = refused("--data", data)
        assert f"{other} may hold logs of the broker with data directory {data}" in said and "mount its disk" in said
        other.mkdir(exist_ok=True)
    file = configured(tmp_path, [[("log.dir", str(third / "moved"))], []])
    one = start(data, "--config", file)
    with Api(one.address) as api:
        assert sorted(log_dirs(api)) == sorted([str(data), str(third / "moved")])
    assert one.stop() == 0


def test_what_a_disk_was_measured_to_do_bounds_each_core(start, data, tmp_path):
    text = "version = 1\nmeasured_at_ms = 1\nfile_bytes = 4096\n[bounds]\nreads_in_flight_max = {}\nwrites_in_flight_max = {}\n"
    other = tmp_path / "nvme1"
    for directory, bounds in ((data, (8, 4)), (other, (6, 2))):
        directory.mkdir()
        (directory / "io-properties.toml").write_text(text.format(*bounds))
    args = ["--config", configured(tmp_path, [[], [("log.dir", str(other))]]), "--data", data]
    status, out, said = broker.run("serve", "--check", *args)
    assert status == 0, said
    assert f"# core {CORES[0]} has at most 8 reads and 4 writes of files under way at once" in out
    assert f"# core {CORES[1]} has at most 6 reads and 2 writes of files under way at once" in out
    one = start(data, *args[:2])
    until_measured(one)
    assert metric(one, "disk_reads_in_flight_max") == (8, 6)
    assert metric(one, "disk_writes_in_flight_max") == (4, 2)
    with Api(one.address) as api:
        api.create_topic("t", 4)
        for number in range(40):
            api.append("t", b"x" * 50_000, partition=number % 4)
        assert all(len(api.values("t", partition=index)) == 10 for index in range(4))
    assert one.stop() == 0
    one = start(data, *args[:2], "--set", "io.properties=none")
    until_measured(one)
    assert metric(one, "disk_reads_in_flight_max") == (0, 0)
    assert one.stop() == 0
    (other / "io-properties.toml").write_text("version = 1\n")
    assert "measure anew with: corelane tune disk" in refused("--config", args[1], "--data", data)
