"""Reports of the load generator: what they say, and that a browser without a network shows them."""

import json
import re
import subprocess

import broker
import pytest
from browser import browse, needs_browser

PNG_BYTES_MIN = 20_000  # an empty page of this size has a tenth of it


def bench(*words, status=0):
    done = subprocess.run([broker.BINARY, "bench", *map(str, words)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module")
def results(shared_broker, tmp_path_factory):
    """Three short runs and what they wrote."""
    path = tmp_path_factory.mktemp("report")
    runs = [("slow", "e2e", ["--rate", 500]), ("fast", "e2e", ["--rate", 2000, "--topic-config", "flush.messages=1"]),
            ("both", "mixed", ["--rate", 500, "--tails", 1])]  # fmt: skip
    for name, mode, load in runs:
        words = ["--bootstrap", shared_broker.address, "--topic", f"report-{name}", *load, "--duration", "6s"]
        outputs = ["--json", path / f"{name}.json", "--hgrm", path / f"{name}.hgrm", "--hlog", path / f"{name}.hlog"]
        # A machine that cannot keep the rate says so; the report is one all the same.
        subprocess.run([broker.BINARY, "bench", mode, *map(str, words + outputs)], timeout=240, check=False)
    return path


def show(page, *flags):
    return browse(f"file://{page}", "--window-size=1100,2000", *flags)


def test_a_result_says_what_it_cost_and_where_it_ran(results):
    result = json.loads((results / "fast.json").read_text())
    resources = result["resources"]
    assert resources["broker"]["cpu_seconds"] > 0 and "corelane" in resources["broker"]["version"]
    assert resources["host"]["kernel"].startswith("Linux") and resources["hiccups_us"]["count"] > 0
    assert result["produce"]["latency_hdr"] and result["verification"]["missing"] == 0


def test_a_result_says_with_what_settings_the_broker_ran(results):
    slow, fast = (json.loads((results / f"{name}.json").read_text())["cluster"] for name in ("slow", "fast"))
    assert fast["topic_settings"]["flush.messages"] == {"value": "1", "source": "topic"}
    assert slow["topic_settings"]["flush.messages"]["source"] == "default", "named even so"
    assert fast["broker_settings"]["log.segment.bytes"]["value"] and fast["api_versions"]["Produce"] >= 9
    assert "ssl.protocol" not in fast["broker_settings"] and fast["left_out"] == 0


def test_compare_names_the_settings_that_differ_and_what_was_not_told_is_no_difference(results, tmp_path):
    said = bench("compare", results / "slow.json", results / "fast.json").stdout
    assert re.search(r"^run rate +500  ->  2000$", said, re.M) and re.search(r"^topic flush.messages +\d+  ->  1$", said, re.M)
    assert "bootstrap" not in said and "listeners" not in said
    # A result of before there was anything of the cluster in it is still read.
    old = json.loads((results / "slow.json").read_text())
    del old["cluster"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    said = bench("compare", tmp_path / "old.json", results / "fast.json").stdout
    assert "run rate" in said and "topic flush" not in said


def test_the_readers_of_a_mixed_run_are_on_its_page_and_compared(results, tmp_path):
    page = tmp_path / "mixed.html"
    bench("report", results / "both.json", "--html", page)
    text = page.read_text()
    assert all(f"<td>{role}</td>" in text for role in ("produce", "tail-1", "catch-1"))
    assert "catch-1 had all there was after" in text and "Settings of the topic" in text and "corelane 0." in text
    assert "tail-1 p99 " in bench("compare", results / "both.json", results / "both.json").stdout


def test_the_percentile_file_ends_at_the_maximum(results):
    result = json.loads((results / "fast.json").read_text())
    lines = (results / "fast.hgrm").read_text().splitlines()
    rows = [line.split() for line in lines if re.match(r"\s+\d", line)]
    assert float(rows[-1][1]) == 1.0 and int(rows[-1][2]) == result["consume"]["latency_us"]["count"]
    assert float(rows[-1][0]) == pytest.approx(result["consume"]["latency_us"]["max"] / 1000, rel=0.01)


def test_compare_tells_ratios_and_fails_past_the_limit(results):
    both = [results / "slow.json", results / "fast.json"]
    said = bench("compare", *both).stdout
    (ratio,) = re.findall(r"produce throughput .* MB/s +([\d.]+)  ", said)
    assert 3 < float(ratio) < 5, said
    assert "is worse by at least" in bench("compare", *reversed(both), "--fail-over", 5, status=1).stderr
    assert "no difference seen" in bench("compare", both[0], both[0], "--fail-over", 5).stdout


def test_what_is_no_result_is_refused(results, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"schema": "something else"}')
    assert str(other) in bench("report", other, "--html", tmp_path / "x.html", status=1).stderr
    assert not (tmp_path / "x.html").exists()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_without_a_network_shows_the_page(results, tmp_path, scheme):
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    bench("compare", results / "slow.json", results / "fast.json", "--html", page)
    text = page.read_text()
    assert not re.search(r"""(src|href)=["']|@import|url\(""", text), "nothing is fetched from anywhere"
    flags = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    shown = show(page, "--dump-dom", *flags)
    assert shown.count("<svg") == 4 and "Latency by percentile" in shown and "fast as a multiple of slow" in shown
    show(page, f"--screenshot={picture}", *flags)
    assert picture.stat().st_size > PNG_BYTES_MIN
