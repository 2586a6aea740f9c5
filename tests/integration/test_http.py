"""Metrics and health over HTTP: what they say, and that they never stand in the way of a start."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import broker
import pytest
from apis import Api
from batches import NOW
from http_port import get, place_of, until, value

LINE = re.compile(r'corelane_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+0-9.e]+|# (HELP|TYPE) corelane_.+')


def commit_one(api, group, topic, offset):
    """Commits by hand, as a group that assigns by itself; its coordinator may still be coming."""
    one = {"index": 0, "offset": offset, "metadata": ""}
    api.call("FindCoordinator", 2, key=group, key_type=0)

    def is_done():
        answer = api.call("OffsetCommit", 8, group_id=group, topics=[{"name": topic, "partitions": [one]}])
        return answer.topics[0].partitions[0].error_code == 0

    api.until(is_done, "no commit")


def test_what_a_client_did_is_counted(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    place = place_of(one)
    with Api(one.address) as api:
        api.create_topic("t")
        for n in range(3):
            assert api.append("t", b"record") == n
    until(place, lambda text: re.search('requests_total{.*"Produce".* 3$', text, re.MULTILINE))
    status, kind, text = get(place, "/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    assert all(LINE.fullmatch(line) for line in text.splitlines()), text
    assert value(text, "corelane_requests_total", api="Produce") == 3
    assert value(text, "corelane_records_in_total") == 3
    assert value(text, "corelane_serving") == len(re.findall(r"^corelane_serving\{", text, re.MULTILINE))


OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def get_as(place, accept):
    asked = urllib.request.Request(f"http://{place}/metrics", headers={"accept": accept})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.headers["content-type"], answer.read().decode()


def test_open_metrics_is_answered_to_who_asks_for_it_and_its_parser_takes_it(start, data):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    place = place_of(one)
    with Api(one.address) as api:
        api.create_topic("t")
        for n in range(3):
            assert api.append("t", b"record") == n
        api.fetch("t")
        commit_one(api, "g", "t", 1)
    for series in ('topic_records_in_total{topic="t"} 3', 'group_lag_records{group="g",topic="t"} 2'):
        until(place, lambda text: f"corelane_{series}" in text)
    kind, text = get_as(place, f"{OPEN_METRICS},application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5")
    assert kind.startswith(OPEN_METRICS) and text.endswith("\n# EOF\n")
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    plain = get(place, "/metrics")[2]
    of_plain = {(name.removesuffix("_total"), kind) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", plain, re.MULTILINE)}
    assert {(name, family.type) for name, family in families.items()} == of_plain
    assert families["corelane_disk_bytes"].unit == "bytes" and families["corelane_request_stage_seconds"].unit == "seconds"
    records = {sample.name: sample.value for sample in families["corelane_topic_records_in"].samples if sample.labels["topic"] == "t"}
    assert records == {"corelane_topic_records_in_total": 3}
    # Whoever asks for nothing, or for something else, gets what they always got.
    for accept in ("*/*", "text/plain", "application/openmetrics-text; version=9", "application/json"):
        kind, text = get_as(place, accept)
        assert kind.startswith("text/plain; version=0.0.4") and "# EOF" not in text, accept


def test_errors_are_counted_by_api_and_kafkas_name(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    with Api(one.address) as api:
        api.create_topic("t")
        asked = [{"index": 7, "timestamp": -1}, {"index": 8, "timestamp": -1}]
        api.call("ListOffsets", 6, topics=[{"name": "t", "partitions": asked}])
    name, labels = "corelane_request_errors_total", {"api": "ListOffsets", "error": "UNKNOWN_TOPIC_OR_PARTITION"}
    text = until(place_of(one), lambda text: f'error="{labels["error"]}"' in text)
    assert value(text, name, **labels) == 2
    assert value(text, "corelane_errors_total") == 2


def test_the_stages_of_produce_and_fetch_add_up_to_their_totals(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    name = "corelane_request_stage_seconds"
    kinds = {"Produce": ["parse", "append", "flush", "send"], "Fetch": ["queue", "parse", "read", "send"]}

    def text_after(requests):
        # A request is over once its answer is sent: perhaps a moment after the client has it.
        return until(place_of(one), lambda text: value(text, f"{name}_count", stage="total", api="Fetch") == requests)

    with Api(one.address) as api:
        api.create_topic("t")
        assert api.append("t", b"record") == 0
        api.fetch("t", 0)
        text = text_after(1)
        for kind, stages in kinds.items():
            for stage in [*stages, "total"]:
                assert value(text, f"{name}_count", api=kind, stage=stage) == 1
                assert value(text, f"{name}_bucket", api=kind, stage=stage, le="+Inf") == 1
            parts = sum(value(text, f"{name}_sum", api=kind, stage=stage) for stage in stages)
            assert parts == pytest.approx(value(text, f"{name}_sum", api=kind, stage="total"))
        for n in range(1, 17):
            assert api.append("t", b"record") == n
            api.fetch("t", n)
    text = text_after(17)
    for kind, stages in kinds.items():
        assert value(text, f"{name}_count", api=kind, stage="total") == 17
        for stage in stages:  # the first, and the first after sixteen
            assert value(text, f"{name}_count", api=kind, stage=stage) == 2


def test_the_slowest_requests_are_shown_with_their_stages(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    with Api(one.address) as api:
        api.create_topic("t")
        api.append("t", b"record" * 1000)
    until(place_of(one), lambda text: '"Produce"' in text, "/debug/slowest")
    status, kind, text = get(place_of(one), "/debug/slowest")
    assert status == 200 and kind == "application/json"
    requests = json.loads(text)["requests"]
    produce = next(one for one in requests if one["api"] == "Produce")
    assert produce["request_bytes"] > 6000 > produce["response_bytes"] > 0
    assert produce["peer"].startswith("127.0.0.1:")
    assert sum(produce["stages"].values()) == produce["total_us"] == produce["slow_us"]
    assert list(produce["stages"]) == ["append_us", "flush_us", "parse_us", "send_us"]
    slow = [one["slow_us"] for one in requests]
    assert slow == sorted(slow, reverse=True)


def test_a_fetch_that_waits_for_records_is_not_slow_and_its_wait_is_told_as_such(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    waits, wait_ms = 20, 200  # more than one in sixteen: all of them, not only those that are counted
    with Api(one.address) as api:
        api.create_topic("t")
        for _ in range(waits):
            api.fetch("t", 0, max_wait_ms=wait_ms, min_bytes=1)

    def fetches(text):
        return [one for one in json.loads(text)["requests"] if one["api"] == "Fetch"]

    found = fetches(until(place_of(one), lambda text: len(fetches(text)) == waits, "/debug/slowest"))
    for fetch in found:
        assert fetch["stages"]["read_us"] >= wait_ms * 1000 * 0.95, fetch
        assert fetch["slow_us"] <= fetch["total_us"] - wait_ms * 1000 * 0.95, fetch


def test_traffic_is_counted_by_topic(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    with Api(one.address) as api:
        for topic, records in [("busy", 3), ("calm", 1)]:
            api.create_topic(topic)
            for n in range(records):
                assert api.append(topic, b"record") == n
        api.fetch("busy", 0)
    kinds = ("records_in_total", "bytes_in_total", "bytes_out_total", "log_bytes")

    def counted(text):
        rows = [value(text, f"corelane_topic_{kind}", topic=topic) for kind in kinds for topic in ("busy", "calm")]
        return dict(zip(kinds, zip(rows[::2], rows[1::2])))

    # The core of the connection and that of the log tell what they have, each in its own time.
    place = place_of(one)
    until(place, lambda text: 'records_in_total{topic="calm"}' in text)
    text = until(place, lambda text: all(counted(text)["log_bytes"]) and counted(text)["bytes_out_total"][0])
    of = counted(text)
    batch = of["log_bytes"][1]
    assert batch > len(b"record")
    assert of["records_in_total"] == (3, 1)
    assert of["bytes_in_total"] == of["log_bytes"] == (3 * batch, batch)
    assert of["bytes_out_total"] == (3 * batch, 0)


def test_lag_is_told_in_records_and_seconds_by_group_and_topic(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    began = time.time()
    with Api(one.address) as api:
        api.create_topic("t", partitions=2)
        for n in range(4):
            assert api.append("t", b"record") == n
        commit_one(api, "behind", "t", 1)
        commit_one(api, "there", "t", 4)
    text = until(place_of(one), lambda text: 'group="there"' in text)
    assert value(text, "corelane_group_lag_records", group="behind", topic="t") == 3
    assert value(text, "corelane_group_lag_records", group="there", topic="t") == 0
    told = NOW / 1000 + value(text, "corelane_group_lag_seconds", group="behind", topic="t")
    assert began <= told <= time.time()
    assert value(text, "corelane_group_lag_seconds", group="there", topic="t") == 0


def test_limits_stand_beside_what_is_used_of_them(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    text = until(place_of(one), lambda text: value(text, "corelane_beats_total") > 0)
    for used, limit in [
        ("memory_budget_used_bytes", "memory_budget_bytes"),
        ("unsettled_bytes", "unsettled_bytes_max"),
        ("disk_usable_bytes", "disk_bytes"),
    ]:
        assert 0 <= value(text, f"corelane_{used}") <= value(text, f"corelane_{limit}")
        assert value(text, f"corelane_{limit}") > 0
    assert value(text, "corelane_journal_files") > 0 and value(text, "corelane_disk_reserve_bytes") > 0


def test_health_is_ready_once_the_ready_line_is_out(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    for path, body in [("/health/live", "live\n"), ("/health/ready", "ready\n")]:
        status, _, text = get(place_of(one), path)
        assert (status, text) == (200, body)


def test_what_is_not_there_is_404(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(place_of(one), "/no/such/page")
    assert refused.value.code == 404


def test_none_is_served_where_none_is_wanted(start, data):
    one = start(data, "--set", "http.listen=none")
    assert "metrics" not in one.ready_line


def test_a_port_in_use_that_nobody_asked_for_is_given_up_for_another(start, data, tmp_path):
    first, second = start(data), start(tmp_path / "second")
    assert place_of(first) != place_of(second)
    assert get(place_of(second), "/health/ready")[0] == 200


def test_a_port_in_use_that_was_asked_for_is_refused(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, said = broker.run("serve", "--data", data, "--listen", "127.0.0.1:0", "--set", f"http.listen={place}")
    assert status == 1 and place in said and "in use" in said, said


def test_an_idle_http_connection_does_not_hold_up_the_end(start, data):
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    host, port = place_of(one).split(":")
    with socket.create_connection((host, int(port))) as idle:
        idle.sendall(b"GET /metrics HT")
        assert one.stop() == 0, one.log()


TUNING = pathlib.Path(__file__).parents[2] / "tuning"
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not here")


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", "check", *arguments], input=text, capture_output=True, text=True, timeout=60)


@needs_promtool
def test_prometheus_takes_the_alert_rules_and_the_queries_of_the_dashboard(tmp_path):
    checked = promtool("rules", TUNING / "prometheus/alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    panels = json.loads((TUNING / "grafana/corelane.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    queries = [query.replace("$__rate_interval", "1m") for query in queries]
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries)]
    as_rules = tmp_path / "queries.yml"  # JSON is YAML
    as_rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = promtool("rules", as_rules)
    assert checked.returncode == 0 and f"{len(queries)} rules" in checked.stdout, checked.stdout + checked.stderr


@needs_promtool
def test_prometheus_reads_the_metrics(start, data):
    text = get(place_of(start(data, "--set", "http.listen=127.0.0.1:0")), "/metrics")[2]
    checked = promtool("metrics", text=text)
    # 1: it cannot be read; 3: it can, and names could be better.
    assert checked.returncode in (0, 3), checked.stderr
