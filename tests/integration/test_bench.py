"""What `corelane bench` claims of itself, held against a broker that is made to misbehave."""

import base64
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib

import pytest

import broker as broker_process

WAIT_S = 120.0  # only so that a hanging generator fails a test instead of the whole run
WORKLOADS = pathlib.Path(__file__).resolve().parents[2] / "bench" / "workloads"


def run(*args, expect=0):
    """Runs the generator to its end; its JSON, if that goes to stdout, and what else it said."""
    command = [broker_process.BINARY, "bench", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == expect, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if "--json" in args else None, done.stderr


def histogram(text):
    """Values (ns) and counts of a V2 histogram, deflated, in base64: HdrHistogram's own format."""
    outer = base64.b64decode(text)
    cookie, length = struct.unpack(">ii", outer[:8])
    assert cookie & ~0xF0 == 0x1C849304, "the compressed V2 format"
    data = zlib.decompress(outer[8 : 8 + length])
    _, payload, _, digits, lowest, _, _ = struct.unpack(">iiiiqqd", data[:40])
    bits = (2 * 10**digits - 1).bit_length()
    unit, half = lowest.bit_length() - 1, 1 << (bits - 1)
    counts, index, at = [], 0, 40
    while at < 40 + payload:
        number = shift = 0
        for nth in range(9):
            byte = data[at]
            at += 1
            # The ninth byte carries eight bits.
            number |= (byte if nth == 8 else byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        number = number >> 1 ^ -(number & 1)
        if number < 0:
            index -= number
            continue
        bucket, sub = index // half - 1, index % half + half
        if bucket < 0:
            bucket, sub = 0, sub - half
        if number:
            counts.append((sub << bucket + unit, number))
        index += 1
    return counts


def above(counts, limit_s):
    return sum(count for value, count in counts if value > limit_s * 1e9)


def is_stopped(pid):
    """Every thread of it, which takes a moment."""
    states = (pathlib.Path(task, "stat").read_text().rsplit(")", 1)[1].split()[0]
              for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    return all(state == "T" for state in states)


def stall(pid, seconds):
    """Lets a process stand still; returns for how long at least it did."""
    os.kill(pid, signal.SIGSTOP)
    while not is_stopped(pid):
        time.sleep(0.001)
    began = time.monotonic()
    time.sleep(seconds)
    stood = time.monotonic() - began
    os.kill(pid, signal.SIGCONT)
    return stood


def test_a_stall_of_the_broker_has_its_whole_weight_in_the_percentiles(start, data):
    """Goal: no coordinated omission. Records that were due while the broker stood still count from when they were
    due, so that of r records per second and a stall of S seconds, r * (S - t) take longer than t.

    Noise of the machine only adds to the late ones, so too few are a fault at once; too many may be noise, and one
    of three tries without it is enough. Each stall is measured: on a busy machine it lasts longer than asked for.
    """
    rate, seconds, stall_s, slack_s = 1000, 4, 0.2, 0.02
    one = start(data)
    for attempt in range(3):
        out = data.with_name(f"stall-{attempt}.json")
        command = [broker_process.BINARY, "bench", "produce", "--bootstrap", one.address, "--topic", "stall",
                   "--rate", str(rate), "--duration", f"{seconds}s", "--record-size", "100", "--json", str(out)]
        generator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        generator.stdout.readline()  # the heading
        generator.stdout.readline()  # the first second is over
        stood = stall(one.process.pid, stall_s)
        generator.stdout.read()
        assert generator.wait(timeout=WAIT_S) == 0

        produce = json.loads(out.read_text())["produce"]
        latency, service = histogram(produce["latency_hdr"]), histogram(produce["service_hdr"])
        total = sum(count for _, count in latency)
        assert total == produce["records"] == rate * seconds
        late = {share: above(latency, stood * share) for share in (0.25, 0.5, 0.75)}
        for share, count in late.items():
            due = rate * (stood * (1 - share) - slack_s)
            assert count >= due, f"{count} records took over {share} of a stall of {stood:.3f} s, {due:.0f} were due"
        # Seen from the requests alone the stall nearly vanishes: that is what the intended times are for.
        requests = above(service, stood / 2)
        if requests <= 20 and late[0.5] <= 1.5 * rate * (stood / 2 + slack_s):
            return
    pytest.fail(f"three times more is late than the stall explains: {late} of {total}, {requests} requests")


def test_a_run_that_does_not_reach_its_rate_is_invalid(start, data):
    one = start(data)
    slow = ["--topic", "slow", "--record-size", 100, "--batch-size", 1, "--in-flight", 1]
    rate = ["--rate", 1_000_000, "--records", 3000]
    result, text = run("produce", "--bootstrap", one.address, *slow, *rate, "--json", "-", expect=1)
    assert "INVALID: achieved" in text
    validity = result["validity"]
    assert not validity["valid"] and validity["achieved_rate"] < 0.99 * validity["target_rate"]


SHAPES = {
    "poisson": ["--rate", 500, "--schedule", "poisson"],
    "burst": ["--rate", 500, "--schedule", "burst:250ms:10", "--linger-ms", 2],
    "zipf": ["--rate", 500, "--keys", "zipf:50", "--connections", 3, "--threads", 2, "--idempotent"],
    "sizes": ["--record-size", "lognormal:200:1", "--compression", "zstd:3", "--entropy", 30],
    "by-record": ["--by-record", "--connections", 3, "--record-size", "uniform:50:5000", "--compression", "lz4"],
    "round-robin": ["--keys", "round-robin:7", "--connections", 2, "--idempotent"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_load_is_sent_whole_and_verified(address, new_name, shape):
    common = ["--bootstrap", address, "--topic", new_name(), "--json", "-"]
    sent, _ = run("produce", *common, "--partitions", 4, "--records", 500, *SHAPES[shape])
    read, _ = run("consume", *common)
    assert sent["produce"]["records"] == read["consume"]["records"] == 500
    assert read["verification"]["verified"] == 500
    assert sum(p["bytes"] for p in read["partitions"]["consume"]) == sent["produce"]["bytes"]
    if "--compression" in SHAPES[shape]:
        assert sent["compression_ratio"] > 0.9


def test_tails_and_a_catch_up_consumer_get_what_is_theirs(address, new_name):
    common = ["--bootstrap", address, "--topic", new_name(), "--json", "-", "--record-size", 100]
    run("produce", *common, "--records", 1000, "--partitions", 3)
    mixed, _ = run("mixed", *common, "--rate", 500, "--records", 600, "--tails", 2, "--catch-up", 1)
    records = {name: sum(p["records"] for p in counts) for name, counts in mixed["partitions"].items()}
    assert records == {"tail-1": 600, "tail-2": 600, "catch-1": 1600}
    assert mixed["verification"]["verified"] == 2800
    assert all(mixed["roles"][name]["latency_us"]["count"] >= 600 for name in records)
    assert "catch-1" in mixed["caught_up_seconds"]


def test_a_group_reads_everything_once_and_goes_on_from_its_commits(address, new_name):
    common = ["--bootstrap", address, "--topic", new_name(), "--json", "-"]
    group = ["--group", new_name(), "--members", 3, "--commit-ms", 50]
    run("produce", *common, "--records", 900, "--partitions", 4)
    first, _ = run("consume", *common, *group)
    assert first["consume"]["records"] == first["verification"]["verified"] == 900
    assert first["roles"]["commit"]["requests"] >= 1
    run("produce", *common, "--records", 100)
    second, _ = run("consume", *common, *group)
    assert second["consume"]["records"] == 100


def test_idle_connections_stay_and_too_many_are_refused_with_a_word_on_it(address, new_name):
    common = ["--bootstrap", address, "--topic", new_name(), "--rate", 100, "--records", 50, "--json", "-"]
    held, _ = run("connections", *common, "--idle", 200)
    assert (held["idle_connections"]["count"], held["idle_connections"]["lost"]) == (200, 0)
    limited = f"ulimit -n 256; exec {broker_process.BINARY} bench connections --bootstrap {address} --idle 500"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 1 and "ulimit -n" in done.stderr


def test_a_sweep_finds_a_rate_past_the_knee(address, new_name):
    # One small request at a time: even a fast broker has a knee that a test can reach.
    slow = ["--batch-size", 1, "--in-flight", 1, "--record-size", 100]
    sweep = ["--rate", 100, "--factor", 10, "--precision", 50, "--duration", "300ms"]
    result, _ = run("sweep", "--bootstrap", address, "--topic", new_name(), *slow, *sweep, "--json", "-")
    points = result["points"]
    rates = [point["target_records_per_second"] for point in points]
    assert rates == sorted(rates) and points[-1]["past_knee"] and not points[0]["past_knee"]
    assert result["settings"]["rate"] == 100


def test_a_workload_file_does_its_runs_and_flags_win(address, new_name, tmp_path):
    topic = new_name()
    keys = {"bootstrap": address, "topic": topic, "records": 200, "rate": 400, "json": tmp_path / "result.json"}
    sets = [text for key, value in keys.items() for text in ("--set", f"{key}={value}")]
    file = tmp_path / "two.toml"
    file.write_text('about = "two runs"\n[[run]]\nmode = "e2e"\nrate = 1\n[[run]]\nmode = "produce"\n')
    run("run", file, *sets)
    first, second = (json.loads((tmp_path / f"result.{n}.json").read_text()) for n in (1, 2))
    assert (first["mode"], first["consume"]["records"], first["settings"]["rate"]) == ("e2e", 200, 400)
    assert (second["mode"], second["produce"]["records"]) == ("produce", 200)
    _, text = run("run", WORKLOADS / "omb-1p-100b.toml", "--set", "rat=5", expect=1)
    assert "`rat`" in text


def test_a_producer_s_request_carries_what_all_its_partitions_have(address, new_name):
    """As Kafka's clients do: once one batch has lingered long enough, the others leave with it."""
    keyed = ["--keys", "uniform:1000", "--partitions", 8, "--rate", 500, "--records", 500, "--linger-ms", 20]
    sent, _ = run("produce", "--bootstrap", address, "--topic", new_name(), *keyed, "--json", "-")
    assert sent["produce"]["requests"] * 3 < sent["produce"]["records"] == 500


class Cutter:
    """Between clients and a broker: passes bytes on, and now and then cuts every connection, answers and all."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.target, self.pairs, self.lock, self.is_mute = None, [], threading.Lock(), False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=5)
            except OSError:
                client.close()
                continue
            with self.lock:
                self.pairs.append((client, server))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source, sink, is_answer):
        try:
            while data := source.recv(65536):
                # What the broker answers to a muted connection is lost with it, though the broker has done it.
                if not (is_answer and self.is_mute):
                    sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Loses the answers to what is under way, then the connections. Returns how many those were."""
        self.is_mute = True
        time.sleep(0.05)  # for requests to be done whose answers are lost; without any the test is weaker, not wrong
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.is_mute = False
        return len(pairs)

    def close(self):
        self.listener.close()
        self.cut()


@pytest.fixture
def cutter():
    one = Cutter()
    yield one
    one.close()


def lines_of(process, count):
    """Waits for so many lines of a process: a heading and a line for each second."""
    return [process.stdout.readline() for _ in range(count)]


def test_an_idempotent_producer_survives_lost_connections_and_a_killed_broker_without_a_duplicate(start, data, cutter):
    """A batch whose answer was lost is sent again as it was, and the broker knows it: each record once, in order."""
    advertised = ["--set", f"advertised.listeners={cutter.address}"]
    one = start(data, *advertised)
    cutter.target = one.address.split(":")[0], int(one.address.split(":")[1])
    load = ["--bootstrap", cutter.address, "--topic", "again", "--partitions", 3, "--connections", 2, "--keys", "uniform:50"]
    out = data.with_name("again.json")
    flags = ["--rate", 2000, "--duration", "5s", "--record-size", 200, "--idempotent", "--reconnect", "--json", out]
    command = [broker_process.BINARY, "bench", "produce", *map(str, load + flags)]
    generator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines_of(generator, 2)
    cuts = 0
    for _ in range(4):
        cuts += cutter.cut() > 0
        time.sleep(0.3)
    one.kill()
    one = start(data, *advertised, listen=one.address)
    _, said = generator.communicate(timeout=WAIT_S)
    assert generator.returncode == 0, said
    assert cuts >= 1 and "trying again" in said
    produce = json.loads(out.read_text())["produce"]
    assert produce["records"] == 10_000 and produce["unknown_records"] == produce["failed_records"] == 0
    read, _ = run("consume", "--bootstrap", cutter.address, "--topic", "again", "--json", "-")
    assert read["verification"]["verified"] == 10_000 and read["verification"]["duplicated"] == 0
