"""The live page, what it asks for below /api/, and `corelane top`: the same numbers in a terminal."""

import base64
import html
import http.client
import json
import pathlib
import re
import urllib.parse

import batches
import broker
import pytest
from apis import Api
from browser import browse, needs_browser
from test_http import place_of

TIMEOUT_S = 120.0
NAME = "with.dots_and-<b>"  # no such topic: Kafka's names have no brackets


@pytest.fixture
def one(start, data):
    return start(data, "--set", "http.listen=127.0.0.1:0")


@pytest.fixture
def place(one):
    return place_of(one)


def ask(place, path, method="GET", **headers):
    """Status, headers and body of an answer; headers are sent as they are given."""
    connection = http.client.HTTPConnection(place, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def api(place, path, status=200):
    found, headers, body = ask(place, f"/api/{path}")
    assert found == status, body
    assert headers["content-type"] == "application/json"
    return json.loads(body)


def test_topics_and_their_partitions_are_listed(one, place):
    assert api(place, "topics") == {"topics": [], "left_off": 0}
    with Api(one.address) as kafka:
        kafka.create_topic("b", 3)
        kafka.create_topic("a")
        kafka.append("b", b"1", b"2", partition=1)
    wanted = [{"name": name, "internal": False, "partitions": count} for name, count in (("a", 1), ("b", 3))]
    assert api(place, "topics")["topics"] == wanted
    found = api(place, "topics/b")
    assert [(p["partition"], p["log_start_offset"], p["high_watermark"]) for p in found["partitions"]] == [
        (0, 0, 0),
        (1, 0, 2),
        (2, 0, 0),
    ]


def test_records_are_shown_as_text_json_or_hex(one, place):
    record = batches.Record(b"\x00\xff", b'{"a":[1,2.50]}', timestamp=1_700_000_000_000)
    with Api(one.address) as kafka:
        kafka.create_topic("t")
        kafka.append("t", record, batches.Record(None, None, timestamp=1_700_000_000_000), b"plain")
    first, second, third = api(place, "topics/t/0?offset=earliest")["records"]
    assert (first["offset"], first["timestamp"], first["headers"]) == (0, 1_700_000_000_000, [])
    assert first["key"] == {"as": "hex", "text": "00 ff", "bytes": 2, "cut": False}
    assert first["value"]["as"] == "json" and first["value"]["text"] == '{\n  "a": [\n    1,\n    2.50\n  ]\n}'
    assert (second["key"], second["value"]) == (None, None)
    assert (third["value"]["as"], third["value"]["text"]) == ("text", "plain")
    as_hex = api(place, "topics/t/0?offset=2&as=hex")["records"]
    assert [one["value"]["text"] for one in as_hex] == ["70 6c 61 69 6e"]


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_records_are_read_from_any_offset_in_pages(one, place, codec):
    with Api(one.address) as kafka:
        kafka.create_topic("t")
        for n in range(10):
            records = batches.build([b"%d-%d" % (n, m) for m in range(10)], codec=codec)
            assert kafka.produce("t", records).error_code == 0
    seen, at = [], 0
    while at < 100:
        page = api(place, f"topics/t/0?offset={at}&max=7")
        assert page["from"] == at and len(page["records"]) <= 7 and page["next"] > at
        seen += [(record["offset"], record["value"]["text"]) for record in page["records"]]
        at = page["next"]
    assert seen == [(n, f"{n // 10}-{n % 10}") for n in range(100)]
    latest = api(place, "topics/t/0?offset=latest&max=3")
    assert [record["offset"] for record in latest["records"]] == [97, 98, 99]
    assert latest["next"] == latest["high_watermark"] == 100
    beyond = api(place, "topics/t/0?offset=9999")
    assert (beyond["from"], beyond["records"]) == (100, [])


def test_a_large_value_is_cut_and_an_answer_is_bounded(one, place):
    with Api(one.address) as kafka:
        kafka.create_topic("t")
        for _ in range(100):
            kafka.append("t", b"\xff" * 60_000)
    page = api(place, "topics/t/0?offset=0&max=200")
    value = page["records"][0]["value"]
    assert value["cut"] and value["bytes"] == 60_000 and len(value["text"].split()) == 16_384
    assert 0 < len(page["records"]) < 100 and page["next"] == page["records"][-1]["offset"] + 1


@pytest.mark.parametrize("count, value_bytes, form", [(50, 16 << 10, "hex"), (40, 1_000_000, "auto")])
def test_the_newest_record_is_always_among_the_latest(one, place, count, value_bytes, form):
    # More than an answer holds; more batches than one way of fetches brings.
    with Api(one.address) as kafka:
        kafka.create_topic("t")
        for n in range(count):
            assert kafka.append("t", b"\xff" * value_bytes) == n
    page = api(place, f"topics/t/0?offset=latest&max=50&as={form}")
    offsets = [record["offset"] for record in page["records"]]
    assert page["next"] == page["high_watermark"] == count
    assert len(offsets) >= 10 and offsets == list(range(page["from"], count))
    # None is left out on the way back.
    older = api(place, f"topics/t/0?offset={max(page['from'] - 2, 0)}&max=2")
    assert [record["offset"] for record in older["records"]] == list(range(page["from"] - 2, page["from"]))


def test_what_makes_no_sense_is_refused_with_a_reason(one, place):
    with Api(one.address) as kafka:
        kafka.create_topic("t")
    unknown = api(place, f"topics/{urllib.parse.quote(NAME)}", status=404)
    assert unknown == {"error": f"there is no topic {NAME}"}
    assert "there is no partition 7" in api(place, "topics/t/7", status=404)["error"]
    assert api(place, "topics/nobody/0", status=404)["error"] == "there is no partition 0 of topic nobody"
    assert "max=0" in api(place, "topics/t/0?max=0", status=400)["error"]
    # Asking did not make them.
    assert [topic["name"] for topic in api(place, "topics")["topics"]] == ["t"]
    assert ask(place, "/api/topics/t/x")[0] == 400
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        for path in ("/", "/api/topics", "/api/topics/t/0"):
            assert ask(place, path, method)[0] == 405, (method, path)


def test_another_origin_is_told_nothing(place):
    port = place.rsplit(":", 1)[1]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "10.1.2.3"):
        for path in ("/", "/api/topics", "/metrics"):
            assert ask(place, path, Host=host)[0] == 421, (host, path)
    for host in ("localhost", f"localhost:{port}", place, f"[::1]:{port}"):
        assert ask(place, "/api/topics", Host=host)[0] == 200, host
    for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        status, answered, _ = ask(place, "/api/topics", **headers)
        assert status == 403 and "access-control-allow-origin" not in answered
    _, answered, _ = ask(place, "/api/topics")
    assert answered["cross-origin-resource-policy"] == "same-origin"
    assert answered["x-content-type-options"] == "nosniff"


def test_topics_are_not_told_where_other_hosts_can_ask(start, data):
    one = start(data, "--set", "http.listen=0.0.0.0:0")
    place = place_of(one).replace("0.0.0.0", "127.0.0.1")
    assert ask(place, "/metrics", Host="broker.example")[0] == 200
    assert "loopback" in api(place, "topics", status=403)["error"]


def test_slow_requests_and_their_clients_are_not_told_where_other_hosts_can_ask(start, data):
    one = start(data, "--set", "http.listen=0.0.0.0:0")
    place = place_of(one).replace("0.0.0.0", "127.0.0.1")
    for host in ("evil.example", place):
        status, _, body = ask(place, "/debug/slowest", Host=host)
        assert status == 403 and "loopback" in json.loads(body)["error"], body


def test_slow_requests_and_their_clients_are_told_to_no_page_of_another_origin(place):
    for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert ask(place, "/debug/slowest", **headers)[0] == 403, headers
    assert ask(place, "/debug/slowest")[0] == 200


def test_the_page_may_load_nothing_from_elsewhere(place):
    status, headers, text = ask(place, "/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    policy = headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-(\w+)'", policy))
    assert policy.startswith("default-src 'none'; ") and text.count(f'nonce="{nonce}"') == 2
    assert nonce not in ask(place, "/")[1]["content-security-policy"]
    assert "{{" not in text


def show(tmp_path, url, flag):
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    return browse(url, "--virtual-time-budget=5000", "--window-size=1280,1400", profile, flag)


@needs_browser
def test_a_browser_shows_cores_topics_and_records(one, place, tmp_path):
    markup = b"<img src=x onerror=document.title='owned'>"
    with Api(one.address) as kafka:
        kafka.create_topic("orders", 2)
        kafka.append("orders", batches.Record(b"k-1", b'{"total":12.50}'), markup)
    page = show(tmp_path, f"http://{place}/#/topics/orders/0", "--dump-dom")
    cores = len(re.findall(r"\d", re.search(r"cores ([\d,]+)\)", one.ready_line).group(1)))
    assert f"{cores} core" in page and "all serve" in page
    text = html.unescape(re.sub(r"<[^>]*>", "\0", re.sub(r"(?s)<(script|style).*?</\1>", "", page)))
    for words in ("Requests /s", "orders", "High watermark", '"total": 12.50', "k-1", markup.decode()):
        assert words in text, f"{words} is not in\n{page}"
    assert "<title>corelane</title>" in page and "<img" not in page
    picture = tmp_path / "page.png"
    show(tmp_path, f"http://{place}/#/topics/orders/0", f"--screenshot={picture}")
    assert picture.read_bytes().startswith(base64.b64decode("iVBORw0KGgo="))


# The page without a broker: what it asks waits in a list until it is answered, in any order.
BEFORE = """
const waiting = [];
const told = (body) => ({ ok: true, json: async () => body });
window.fetch = (path) => {
  if (path === "/api/topics") return Promise.resolve(told({ topics: ["a", "b"].map((name) => ({ name, partitions: 1 })), left_off: 0 }));
  return new Promise((resolve) => waiting.push({ path, resolve }));
};
const errors = [];
window.addEventListener("error", (event) => errors.push(event.message));
"""
AFTER = """
const turns = async () => { for (let n = 0; n < 20; n += 1) await new Promise((done) => setTimeout(done, 1)); };
async function tell(part, body) {
  const at = waiting.findIndex((one) => one.path.includes(part));
  if (at < 0) return;
  waiting.splice(at, 1)[0].resolve(told(body));
  await turns();
}
async function open(topic) {
  [...document.querySelectorAll("#topics button")].find((one) => one.title === topic).click();
  await turns();
}
const topic = (name) => ({ name, left_off: 0, partitions: [{ partition: 0, leader: 1, leader_epoch: 0, log_start_offset: 0, high_watermark: 900 }] });
const text = (value) => ({ as: "text", text: value, bytes: value.length, cut: false });
const records = (value, from, timestamp = 0) => ({
  log_start_offset: 0, high_watermark: 900, from, next: from + 1,
  records: [{ offset: from, timestamp, key: null, value: text(value), headers: [] }],
});
const shows = () => [document.getElementById("topic-name").textContent, document.getElementById("records").textContent];
async function main() {
  await turns();
  const seen = [];
  %s
  return seen;
}
main().then((seen) => { document.body.dataset.seen = JSON.stringify({ seen, errors }); });
"""


def page_alone(tmp_path, steps):
    """What the steps have seen, in a browser."""
    at = pathlib.Path(__file__).parents[2] / "src/http/page"
    script = "\n</script><script>\n".join([BEFORE, (at / "live.js").read_text(), AFTER % steps])
    (tmp_path / "alone.html").write_text((at / "live.html").read_text().replace("{{js}}", script))
    dom = show(tmp_path, (tmp_path / "alone.html").as_uri(), "--dump-dom")
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found, dom
    said = json.loads(html.unescape(found.group(1)))
    assert said["errors"] == []
    return said["seen"]


@needs_browser
def test_an_answer_about_a_topic_that_was_left_is_not_shown_under_the_next(tmp_path):
    topics, slow_records = page_alone(
        tmp_path,
        """
  await open("a"); await open("b");
  await tell("topics/b", topic("b")); await tell("topics/b/0", records("of b", 1));
  await tell("topics/a", topic("a")); await tell("topics/a/0", records("of a", 1));
  seen.push(shows());
  await open("a"); await tell("topics/a", topic("a"));
  await open("b"); await tell("topics/b", topic("b")); await tell("topics/b/0", records("of b", 1));
  await tell("topics/a/0", records("of a", 1));
  seen.push(shows());
""",
    )
    for name, shown in (topics, slow_records):
        assert name == "b" and "of b" in shown and "of a" not in shown, shown


@needs_browser
def test_of_two_answers_about_records_the_later_question_is_shown(tmp_path):
    ((_, shown),) = page_alone(
        tmp_path,
        """
  await open("a"); await tell("topics/a", topic("a")); await tell("topics/a/0", records("newest", 899));
  const form = document.getElementById("question");
  for (const offset of ["5", "7"]) { document.getElementById("offset").value = offset; form.requestSubmit(); await turns(); }
  await tell("offset=7", records("seventh", 7)); await tell("offset=5", records("fifth", 5));
  seen.push(shows());
""",
    )
    assert "seventh" in shown and "fifth" not in shown


@needs_browser
def test_older_and_newer_can_be_asked_for_once_there_are_records(tmp_path):
    steps = """
  const buttons = ["older", "newer"].map((id) => document.getElementById(id));
  const look = () => { seen.push(buttons.map((one) => one.disabled)); buttons.forEach((one) => one.click()); };
  await open("a"); look();
  await tell("topics/a", topic("a")); look();
  await tell("topics/a/0", records("here", 450)); seen.push(buttons.map((one) => one.disabled));
  await open("b"); look();
"""
    assert page_alone(tmp_path, steps) == [[True, True], [True, True], [False, False], [True, True]]


@needs_browser
def test_a_timestamp_that_is_no_date_is_shown_as_the_number_it_is(tmp_path):
    ((_, shown),) = page_alone(
        tmp_path,
        """
  await open("a"); await tell("topics/a", topic("a")); await tell("topics/a/0", records("in ns", 1, 9e15));
  seen.push(shows());
""",
    )
    assert "9000000000000000" in shown and "in ns" in shown


def test_top_prints_one_frame_as_text(one, place):
    with Api(one.address) as kafka:
        kafka.create_topic("t")
    status, printed, said = broker.run("top", "--metrics", f"http://{place}/metrics", "--once", "--interval-ms", "200")
    assert status == 0, said
    head, *lines = printed.splitlines()
    assert place in head and "all serve" in head
    columns = next(line for line in lines if line.startswith("core")).split()
    assert columns[:6] == ["core", "busy", "in/s", "out/s", "req/s", "conns"]
    assert any(re.match(r"0 +[█·]+ +\d+% ", line) for line in lines), printed


def test_top_says_why_it_shows_nothing(place):
    status, printed, said = broker.run("top", "--metrics", f"http://{place}/nowhere", "--once")
    assert (status, printed) == (1, "") and "404" in said, said
    status, _, said = broker.run("top", "--metrics", f"http://{place}/metrics")
    assert status == 1 and "--once" in said, said
