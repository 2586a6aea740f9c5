"""Every workload file that ships really runs: for a second, with small numbers, against a broker."""

import json
import pathlib
import re
import subprocess
import time

import broker as broker_process
import pytest

WAIT_S = 120.0  # only so that a hanging generator fails a test instead of the whole run
WORKLOADS = sorted((pathlib.Path(__file__).resolve().parents[2] / "bench" / "workloads").glob("*.toml"))

# What a file says too largely for a test; a file that says nothing of it keeps its default.
SMALL = {"rate": 200, "records": 2000, "idle": 100, "partitions": 100, "connections": 20, "duration": "1s"}
# A knee that a test can reach, and few steps to it.
SWEEP = {"rate": 100, "duration": "300ms", "factor": 10, "precision": 50, "batch-size": 1, "in-flight": 1, "record-size": 100}


def number(text, key):
    return min(map(int, re.findall(rf"^{key} = (\d+)$", text, re.M)), default=0)


def sets_of(text):
    if 'mode = "sweep"' in text:
        return SWEEP
    small = {key: value for key, value in SMALL.items() if f"\n{key} = " in text or key == "duration"}
    return {key: min(value, number(text, key)) if isinstance(value, int) else value for key, value in small.items()}


def run(file, out, **sets):
    """Its results, one of each run."""
    flags = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    command = [broker_process.BINARY, "bench", "run", str(file), *flags, "--set", f"json={out / 'result.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    written = [out / "result.json"] if (out / "result.json").exists() else sorted(out.glob("result.*.json"))
    results = [json.loads(path.read_text()) for path in written]
    # On a busy machine a run may miss its rate, says so, and ends with it. It is a run all the same.
    missed = results and [problem for problem in results[-1]["problems"] if problem.startswith("INVALID")]
    assert done.returncode == 0 or missed, done.stdout + done.stderr
    for result in results:
        others = [problem for problem in result["problems"] if not problem.startswith("INVALID")]
        assert not others and result["mode"] in done.stdout, others
        sides = [result[side] for side in ("produce", "consume") if side in result]
        assert sides and all(side["records"] > 0 for side in sides)
        found = result.get("verification", {})
        assert not any(found.get(fault, 0) for fault in ("missing", "duplicated", "reordered", "changed")), found
    return results


def test_there_are_workload_files():
    assert len(WORKLOADS) > 20


@pytest.mark.parametrize("file", WORKLOADS, ids=[file.stem for file in WORKLOADS])
def test_a_workload_file_runs(address, new_name, tmp_path, file):
    text = file.read_text()
    results = run(file, tmp_path, bootstrap=address, topic=new_name(), **sets_of(text))
    if all(result["ok"] for result in results):
        assert len(results) == text.count("[[run]]")


def test_the_backlog_is_there_before_it_is_drained(address, new_name, tmp_path):
    (file,) = (file for file in WORKLOADS if file.stem == "backlog-drain")
    sizes = {"records": 1500, "rate": 1000, "duration": "30s"}  # the time is but an upper bound: records end it
    first, *second = run(file, tmp_path, bootstrap=address, topic=new_name(), **sizes)
    backlog = first["produce"]["records"]
    assert backlog == 1500
    for mixed in second:
        assert mixed["roles"]["catch-1"]["records"] == backlog + mixed["produce"]["records"]
        assert mixed["roles"]["tail-1"]["records"] == mixed["produce"]["records"]
        assert "catch-1" in mixed["caught_up_seconds"]


def test_the_run_that_crosses_retention_crosses_it(start, data, tmp_path):
    """The file as it is, but for sizes: what is kept is far less than what is written, and no reader sees a fault."""
    (file,) = (file for file in WORKLOADS if file.stem == "crossing-retention")
    small = file.read_text().replace("retention.bytes=268435456", "retention.bytes=2097152").replace("segment.bytes=67108864", "segment.bytes=1048576")
    (tmp_path / "small.toml").write_text(small)
    one = start(data, "--set", "log.retention.check.interval.ms=100ms")
    (result,) = run(tmp_path / "small.toml", tmp_path, bootstrap=one.address, topic="crossing", rate=8000, duration="3s")
    assert result["cluster"]["topic_settings"]["retention.bytes"]["value"] == "2097152"
    written = result["produce"]["records"]
    until, kept = time.monotonic() + WAIT_S, written
    while kept >= written and time.monotonic() < until:
        command = [broker_process.BINARY, "bench", "consume", "--bootstrap", one.address, "--topic", "crossing", "--skip-deleted", "--json", "-"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stderr
        kept = json.loads(done.stdout)["consume"]["records"]
    assert kept < written
