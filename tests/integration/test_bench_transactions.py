"""Transactions of `corelane bench`, against Apache Kafka; skipped where Java or Maven is missing."""

import json
import os
import pathlib
import re
import subprocess

import broker as broker_process
import pytest

WAIT_S = 180.0  # only so that what hangs fails a test instead of the whole run
KAFKA = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "peers" / "kafka"


def run(*args, expect=0):
    command = [broker_process.BINARY, "bench", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == expect, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if expect == 0 else done.stderr


@pytest.fixture(scope="module", params=[1, 2], ids=["added-by-the-client", "added-by-the-broker"])
def kafka(request, tmp_path_factory):
    """An Apache Kafka; by the rules of its transaction.version, clients add partitions or need not (KIP-890)."""
    path = tmp_path_factory.mktemp(f"kafka-{request.param}")
    start = [KAFKA, "start", "--dir", path, "--heap", "512m", "--feature", f"transaction.version={request.param}"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(broker_process.TARGET)}
    done = subprocess.run(list(map(str, start)), capture_output=True, text=True, timeout=WAIT_S, env=environment)
    if done.stdout.startswith("skipped"):
        pytest.skip(done.stdout.strip())
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield re.search(r"ready on (\S+),", done.stdout).group(1)
    finally:
        subprocess.run([str(KAFKA), "stop", "--dir", str(path)], check=True, timeout=WAIT_S)


SHAPES = {
    "closed-loop": ["--records", 3000, "--transaction-size", 100],
    "by-time": ["--records", 1500, "--rate", 1000, "--transaction-duration", "50ms", "--schedule", "poisson"],
    "keyed": ["--records", 3000, "--keys", "uniform:100", "--threads", 2, "--transaction-size", 70, "--compression", "lz4"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_committed_comes_and_what_was_aborted_does_not(kafka, new_name, shape):
    common = ["--bootstrap", kafka, "--topic", new_name(), "--json", "-"]
    load = ["--partitions", 3, "--connections", 2, "--transactional-id", new_name(), "--abort-share", 40, "--record-size", 200]
    sent = run("produce", *common, *load, *SHAPES[shape])
    ended = sent["transactions"]
    records = sent["produce"]["records"]
    assert records == SHAPES[shape][1] == ended["committed_records"] + ended["aborted_records"]
    assert ended["committed"] > 0 and ended["aborted"] > 0
    assert sent["roles"]["transaction"]["requests"] == ended["committed"] + ended["aborted"]
    if "--transaction-size" in SHAPES[shape]:
        size = SHAPES[shape][SHAPES[shape].index("--transaction-size") + 1]
        assert ended["committed"] + ended["aborted"] <= records / size + 2, "all but the last of each producer are full"

    committed = run("consume", *common, "--isolation", "read_committed")
    assert committed["verification"]["verified"] == committed["consume"]["records"] == ended["committed_records"]
    assert committed["verification"]["aborted"] == ended["aborted_records"]
    everything = run("consume", *common)
    assert everything["verification"]["verified"] == records and everything["verification"]["aborted"] == 0


def test_a_group_reads_what_was_committed(kafka, new_name):
    common = ["--bootstrap", kafka, "--topic", new_name(), "--json", "-"]
    load = ["--partitions", 4, "--records", 1000, "--transactional-id", new_name(), "--transaction-size", 50, "--abort-share", 50]
    sent = run("produce", *common, *load)
    read = run("consume", *common, "--group", new_name(), "--members", 2, "--commit-ms", 50, "--isolation", "read_committed")
    assert read["verification"]["verified"] == sent["transactions"]["committed_records"]


def test_a_second_run_of_the_same_name_goes_on(kafka, new_name):
    name, topic = new_name(), new_name()
    for _ in range(2):
        run("produce", "--bootstrap", kafka, "--topic", topic, "--records", 200, "--transactional-id", name, "--transaction-size", 90, "--json", "-")
    read = run("consume", "--bootstrap", kafka, "--topic", topic, "--isolation", "read_committed", "--json", "-")
    assert read["verification"]["verified"] == 400


def test_a_broker_without_transactions_is_told_so_by_name(shared_broker, new_name):
    said = run("produce", "--bootstrap", shared_broker.address, "--topic", new_name(), "--transactional-id", "x", "--transaction-size", 9, expect=1)
    assert "the broker has no transactions: it does not serve AddPartitionsToTxn" in said
