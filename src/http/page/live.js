"use strict";
// Counts in the browser what /metrics says, and asks /api/ for topics. All text is set as text, never as markup.

const EVERY_MS = 1000;
const HISTORY_MAX = 120;
const ROWS_MAX = 10;
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

// ---- elements

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

// A cell is text, an element, or { text, kind }.
function cell(value) {
  if (value instanceof Node) return element("td", {}, value);
  if (value !== null && typeof value === "object") return element("td", { class: value.kind }, value.text);
  return element("td", { class: value === "–" ? "none" : undefined }, String(value));
}

function fill(table, columns, rows, empty) {
  const head = element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name))));
  const body = element("tbody");
  for (const row of rows) {
    body.append(row instanceof Node ? row : element("tr", {}, ...row.map(cell)));
  }
  if (rows.length === 0) {
    body.append(element("tr", {}, element("td", { class: "empty", colspan: columns.length }, empty)));
  }
  table.replaceChildren(head, body);
}

function sparkline(values, kind) {
  const svg = document.createElementNS(SVG, "svg");
  const width = HISTORY_MAX - 1;
  svg.setAttribute("class", `spark ${kind}`);
  svg.setAttribute("viewBox", `0 0 ${width} 32`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...values, 1e-9);
  const first = HISTORY_MAX - values.length;
  const points = values.map((value, at) => `${first + at},${(30 - (28 * value) / most).toFixed(2)}`);
  if (points.length > 1) {
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", points.join(" "));
    const area = document.createElementNS(SVG, "path");
    area.setAttribute("d", `M${first},32 L${points.join(" L")} L${width},32 Z`);
    svg.append(area, line);
  }
  return svg;
}

// ---- numbers

function scaled(value, step, units) {
  let unit = 0;
  while (value >= Math.min(step, 999.5) && unit + 1 < units.length) {
    value /= step;
    unit += 1;
  }
  return [value.toFixed(unit === 0 || value >= 99.95 ? 0 : 1), units[unit]];
}
const bytes = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]).join(" ");
const count = (value) =>
  value > 0 && value < 10 && value % 1 !== 0 ? value.toFixed(1) : scaled(value, 1000, ["", "k", "M", "G"]).join("");
function time(seconds) {
  if (seconds === undefined) return "–";
  if (seconds <= 0) return "0";
  if (seconds < 0.0009995) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 0.9995) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(0)} h`;
}

// ---- metrics: Prometheus's text, and what happened between two of them

function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (found === null) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, one) => (one === "n" ? "\n" : one));
    }
    if (!series.has(found[1])) series.set(found[1], []);
    series.get(found[1]).push({ labels, value: Number(found[3].replace("+Inf", "Infinity")) });
  }
  return series;
}

function by(scrape, name, label) {
  const sums = new Map();
  for (const one of scrape.get(name) ?? []) {
    const key = one.labels[label];
    if (key !== undefined) sums.set(key, (sums.get(key) ?? 0) + one.value);
  }
  return sums;
}

// A counter that is less than before began anew.
const growth = (before, after) => (after >= before ? after - before : after);

function rates(change, name, label) {
  const before = by(change.before, name, label);
  const grown = new Map();
  for (const [key, after] of by(change.after, name, label)) {
    grown.set(key, growth(before.get(key) ?? 0, after) / change.seconds);
  }
  return grown;
}

// By key: pairs of bound and how much came at or below it, in order.
function buckets(change, name, key) {
  const place = (one) => JSON.stringify([key(one.labels), one.labels.shard, one.labels.le]);
  const before = new Map((change.before.get(name) ?? []).map((one) => [place(one), one.value]));
  const found = new Map();
  for (const one of change.after.get(name) ?? []) {
    const of = key(one.labels);
    if (of === undefined) continue;
    const bound = Number(one.labels.le.replace("+Inf", "Infinity"));
    if (!found.has(of)) found.set(of, new Map());
    const came = growth(before.get(place(one)) ?? 0, one.value);
    found.get(of).set(bound, (found.get(of).get(bound) ?? 0) + came);
  }
  for (const [of, bounds] of found) found.set(of, [...bounds].sort(([one], [other]) => one - other));
  return found;
}

function quantile(all, share) {
  const total = all?.at(-1)?.[1] ?? 0;
  if (total <= 0) return undefined;
  const found = all.find(([, below]) => below >= share * total)[0];
  return Number.isFinite(found) ? found : all.findLast(([bound]) => Number.isFinite(bound))?.[0];
}

function coresOf(change) {
  const rate = (name) => rates(change, name, "shard");
  const now = (name) => by(change.after, name, "shard");
  const numbers = {
    busy: rate("corelane_cpu_seconds_total"),
    in: rate("corelane_bytes_in_total"),
    out: rate("corelane_bytes_out_total"),
    records: rate("corelane_records_in_total"),
    requests: rate("corelane_requests_total"),
    errors: rate("corelane_errors_total"),
    hops: rate("corelane_hops_total"),
    connections: now("corelane_connections_open"),
    partitions: now("corelane_partitions"),
    journal: now("corelane_unsettled_bytes"),
    longest: now("corelane_reactor_stall_longest_seconds"),
    failed: now("corelane_storage_failed"),
    full: now("corelane_disk_full"),
  };
  const stalls = buckets(change, "corelane_reactor_stall_seconds_bucket", (labels) => labels.shard);
  const cores = [...now("corelane_serving")].map(([shard, serves]) => {
    const core = { shard, stall: quantile(stalls.get(shard), 0.99) };
    for (const [name, of] of Object.entries(numbers)) core[name] = of.get(shard) ?? 0;
    core.busy = numbers.busy.has(shard) ? Math.min(core.busy, 1) : undefined;
    core.well = serves > 0 && core.failed === 0 && core.full === 0;
    return core;
  });
  return cores.sort((one, other) => Number(one.shard) - Number(other.shard));
}

function totalOf(cores) {
  const total = { shard: "all", well: cores.every((core) => core.well) };
  for (const name of ["in", "out", "records", "requests", "errors", "hops", "connections", "partitions", "journal"]) {
    total[name] = cores.reduce((sum, core) => sum + core[name], 0);
  }
  const busy = cores.map((core) => core.busy).filter((one) => one !== undefined);
  total.busy = busy.length > 0 ? busy.reduce((sum, one) => sum + one, 0) / busy.length : undefined;
  const stalls = cores.map((core) => core.stall).filter((one) => one !== undefined);
  total.stall = stalls.length > 0 ? Math.max(...stalls) : undefined;
  total.longest = Math.max(0, ...cores.map((core) => core.longest));
  return total;
}

// ---- the live part

const history = [];
let before;

function bar(share) {
  if (share === undefined) return "–";
  const kind = share >= 0.85 ? "bad" : share >= 0.6 ? "warm" : "";
  const filled = element("progress", { max: 1, value: share.toFixed(3), class: kind });
  return element("span", {}, filled, `${(share * 100).toFixed(0)} %`);
}

function coreRow(core) {
  return [
    core.well ? core.shard : { text: `${core.shard} does not serve`, kind: "bad" },
    bar(core.busy),
    bytes(core.in),
    bytes(core.out),
    count(core.requests),
    count(core.records),
    core.errors > 0 ? { text: count(core.errors), kind: "bad" } : { text: "0", kind: "none" },
    count(core.hops),
    count(core.connections),
    count(core.partitions),
    bytes(core.journal),
    core.stall >= 0.01 ? { text: time(core.stall), kind: "warm" } : time(core.stall),
    time(core.longest),
  ];
}

function showCards(total) {
  const card = (name, [value, unit], of, kind) =>
    element(
      "div",
      { class: "card" },
      element("div", { class: "name" }, name),
      element("div", { class: "value" }, value, element("small", {}, unit)),
      sparkline(history.map(of), kind),
    );
  const size = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
  const perSecond = ([value, unit]) => [value, `${unit}/s`];
  const number = (value) => scaled(value, 1000, ["", "k", "M", "G"]);
  $("cards").replaceChildren(
    card("From clients", perSecond(size(total.in)), (one) => one.in, "in"),
    card("To clients", perSecond(size(total.out)), (one) => one.out, "out"),
    card("Requests", perSecond(number(total.requests)), (one) => one.requests, "requests"),
    card("Records appended", perSecond(number(total.records)), (one) => one.records, "in"),
    card("Cores busy", total.busy === undefined ? ["–", ""] : [(total.busy * 100).toFixed(0), "%"], (one) => one.busy ?? 0, ""),
    card("Connections", number(total.connections), (one) => one.connections, ""),
  );
}

function showSection(section, table, columns, rows) {
  section.hidden = rows.length === 0;
  if (rows.length > 0) fill(table, columns, rows.slice(0, ROWS_MAX), "");
}

function show(change) {
  const cores = coresOf(change);
  const total = totalOf(cores);
  history.push(total);
  if (history.length > HISTORY_MAX) history.shift();
  showCards(total);
  const rows = cores.map(coreRow).map((row) => element("tr", {}, ...row.map(cell)));
  if (rows.length > 1) rows.push(element("tr", { class: "sum" }, ...coreRow(total).map(cell)));
  fill(
    $("cores"),
    ["Core", "Busy", "In /s", "Out /s", "Requests /s", "Records /s", "Errors /s", "Hops /s", "Connections", "Partitions", "Journal", "Stall p99", "Longest stall"],
    rows,
    "No core tells anything.",
  );
  const apis = [...rates(change, "corelane_requests_total", "api")].filter(([, rate]) => rate > 0);
  apis.sort(([, one], [, other]) => other - one);
  fill($("apis"), ["API", "Requests /s"], apis.slice(0, ROWS_MAX).map(([name, rate]) => [name, count(rate)]), "Nobody asks for anything.");
  const ofStage = (labels) => (labels.stage === "total" ? labels.api : undefined);
  const latencies = [...buckets(change, "corelane_request_stage_seconds_bucket", ofStage)]
    .filter(([, all]) => all.at(-1)[1] > 0)
    .map(([name, all]) => [name, count(all.at(-1)[1] / change.seconds), ...[0.5, 0.99, 0.999].map((share) => time(quantile(all, share)))]);
  showSection($("latency-section"), $("latencies"), ["Request", "/s", "p50", "p99", "p99.9"], latencies);
  const topicIn = rates(change, "corelane_topic_bytes_in_total", "topic");
  const topicOut = rates(change, "corelane_topic_bytes_out_total", "topic");
  const hot = [...new Set([...topicIn.keys(), ...topicOut.keys()])].map((name) => [name, topicIn.get(name) ?? 0, topicOut.get(name) ?? 0]);
  hot.sort((one, other) => other[1] + other[2] - one[1] - one[2]);
  showSection($("hot-section"), $("hot"), ["Topic", "In /s", "Out /s"], hot.map(([name, one, other]) => [name, bytes(one), bytes(other)]));
  const seconds = new Map();
  for (const one of change.after.get("corelane_group_lag_seconds") ?? []) {
    seconds.set(one.labels.group, Math.max(seconds.get(one.labels.group) ?? 0, one.value));
  }
  const groups = [...by(change.after, "corelane_group_lag_records", "group")].sort(([, one], [, other]) => other - one);
  showSection($("group-section"), $("groups"), ["Group", "Records", "Time"], groups.map(([name, lag]) => [name, count(lag), time(seconds.get(name))]));
  const ill = cores.filter((core) => !core.well).map((core) => core.shard);
  health(
    ill.length === 0 && cores.length > 0 ? "good" : "bad",
    cores.length === 0 ? "no core tells anything" : ill.length === 0 ? `${cores.length} ${cores.length === 1 ? "core" : "cores"}, all serve` : `core ${ill.join(", ")} does not serve`,
  );
  $("clock").textContent = new Date().toLocaleTimeString();
}

function health(kind, text) {
  $("health").className = `pill ${kind}`;
  if ($("health").textContent !== text) $("health").textContent = text;
}

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/metrics");
    if (!answer.ok) throw new Error(`/metrics answers ${answer.status}`);
    const now = { at: performance.now(), series: parse(await answer.text()) };
    if (before !== undefined) {
      show({ before: before.series, after: now.series, seconds: Math.max(now.at - before.at, 1) / 1000 });
    }
    before = now;
  } catch (error) {
    health("bad", "does not answer");
  }
}

async function lookAgainAndAgain() {
  await look();
  setTimeout(lookAgainAndAgain, EVERY_MS);
}

// ---- topics and records

let topics = [];
// The topic that is shown, and the page of its records; undefined while they are asked for.
let chosen;
let page;
// Counts the questions about them: an answer to any but the latest comes too late.
let asked = 0;

async function ask(path) {
  const answer = await fetch(path);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error ?? `${path} answers ${answer.status}`);
  return found;
}

// Runs what was asked for, and says why it failed if it did, unless that is of no interest any more.
async function trying(what, isLatest = () => true) {
  try {
    await what(isLatest);
    if (isLatest()) $("browser-error").hidden = true;
  } catch (error) {
    if (!isLatest()) return;
    $("browser-error").textContent = error.message;
    $("browser-error").hidden = false;
  }
}

// Runs a question about a topic or its records: from now on it is the latest.
function asking(what) {
  asked += 1;
  const mine = asked;
  page = undefined;
  $("older").disabled = true;
  $("newer").disabled = true;
  trying(what, () => mine === asked);
}

function showTopics() {
  const wanted = $("filter").value.toLowerCase();
  const found = topics.filter((topic) => topic.name.toLowerCase().includes(wanted));
  const row = (topic) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: topic.name === chosen ? "chosen" : undefined, title: topic.name, onclick: () => go(topic.name, 0) },
        element("span", {}, topic.name),
        element("span", {}, String(topic.partitions)),
      ),
    );
  $("topics").replaceChildren(...found.map(row));
  const none = topics.length === 0 ? "No topics yet." : `${found.length} of ${topics.length} topics, with their partitions`;
  $("topics-note").textContent = none;
}

async function loadTopics() {
  const found = await ask("/api/topics");
  topics = found.topics;
  showTopics();
  if (found.left_off > 0) $("topics-note").textContent += `; ${found.left_off} more are not listed`;
}

// The place is in the address, so that it can be kept and sent.
function go(topic, partition) {
  const hash = `#/topics/${encodeURIComponent(topic)}/${partition}`;
  if (location.hash === hash) openPlace();
  else location.hash = hash;
}

function openPlace() {
  const found = /^#\/topics\/([^/]+)\/(\d+)$/.exec(location.hash);
  if (found === null) return;
  chosen = undefined;
  asking(async (isLatest) => {
    const topic = decodeURIComponent(found[1]);
    $("partition").value = found[2];
    $("offset").value = "latest";
    await openTopic(topic, isLatest);
    if (isLatest()) await read(isLatest);
  });
}

async function openTopic(name, isLatest) {
  const found = await ask(`/api/topics/${encodeURIComponent(name)}`);
  if (!isLatest()) return;
  chosen = name;
  $("records").replaceChildren();
  $("records-note").textContent = "";
  showTopics();
  $("topic").hidden = false;
  $("hint").hidden = true;
  $("topic-name").textContent = name;
  const open = (partition) => () => go(name, partition);
  const offset = (value) => (value === null ? "–" : String(value));
  const row = (one) => {
    const size = one.high_watermark === null || one.log_start_offset === null ? "–" : String(one.high_watermark - one.log_start_offset);
    const cells = [one.partition, one.leader, one.leader_epoch, offset(one.log_start_offset), offset(one.high_watermark), size];
    const kind = String(one.partition) === $("partition").value ? "choose chosen" : "choose";
    return element("tr", { class: kind, onclick: open(one.partition) }, ...cells.map(cell));
  };
  fill($("partitions"), ["Partition", "Leader", "Leader epoch", "Log start offset", "High watermark", "Offsets"], found.partitions.map(row), "No partitions.");
}

function shown(bytes) {
  if (bytes === null) return element("span", { class: "tag" }, "null");
  const text = element("pre", {}, bytes.text === "" ? "" : bytes.text);
  const note = bytes.cut ? `${bytes.as}, the beginning of ${bytes.bytes} bytes` : `${bytes.as}, ${bytes.bytes} bytes`;
  return element("div", {}, text, element("span", { class: "tag" }, note));
}

// A producer may give any number; what is no date in a browser is shown as it is.
function when(timestamp) {
  const date = new Date(timestamp);
  if (timestamp < 0) return "–";
  return Number.isNaN(date.getTime()) ? String(timestamp) : date.toISOString().replace("T", " ");
}

function recordRow(record) {
  const value = element("div", {}, shown(record.value));
  for (const header of record.headers) {
    value.append(element("div", {}, element("span", { class: "tag" }, `header ${header.key}`), shown(header.value)));
  }
  return [String(record.offset), when(record.timestamp), shown(record.key), value];
}

async function read(isLatest) {
  const at = `${encodeURIComponent(chosen)}/${$("partition").value}`;
  const found = await ask(`/api/topics/${at}?offset=${$("offset").value}&max=${$("max").value}&as=${$("form").value}`);
  if (!isLatest()) return;
  page = found;
  fill($("records"), ["Offset", "Time (UTC)", "Key", "Value"], page.records.map(recordRow), "No records here.");
  const last = page.records.at(-1)?.offset;
  const range = page.records.length === 0 ? "No records" : `${page.records.length} records, offsets ${page.records[0].offset} to ${last},`;
  $("records-note").textContent = `${range} of ${page.log_start_offset} to ${page.high_watermark} (exclusive)`;
  $("older").disabled = page.from <= page.log_start_offset;
  $("newer").disabled = page.next >= page.high_watermark;
}

function readFrom(offset) {
  $("offset").value = String(offset);
  asking(read);
}

$("filter").addEventListener("input", showTopics);
$("reload").addEventListener("click", () => trying(loadTopics));
$("question").addEventListener("submit", (event) => {
  event.preventDefault();
  // A topic that is being opened is read as the form then says.
  if (chosen !== undefined) asking(read);
});
$("older").addEventListener("click", () => readFrom(Math.max(page.log_start_offset, page.from - Number($("max").value))));
$("newer").addEventListener("click", () => readFrom(page.next));
window.addEventListener("hashchange", openPlace);
lookAgainAndAgain();
trying(loadTopics).then(openPlace);
