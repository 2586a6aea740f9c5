"""The report card: results are kept in report.json, REPORT.md is written from them."""

import json
import re

import rebalances
from toolchains import SOURCES

OWN = [
    "ten keyed messages with a callback",
    "group consumer with auto-commit",
    "group consumer with manual commit",
    "four partitions of JSON",
    "seek by time",
    "headers",
    "all codecs",
    "admin",
    "idle connection",
]
SCENARIOS = OWN[:4] + list(rebalances.SCENARIOS) + OWN[4:]
LONG = "idle for ten minutes"  # a run of its own
RESULTS, REPORT, LISTS = SOURCES / "report.json", SOURCES / "REPORT.md", SOURCES / "suites"
HEAD = """# What clients say

Written by `scripts/clients` and `scripts/suites`; not edited by hand. Each client is the published library, unmodified, at
the version shown, in a program of this directory that reads like the client's introduction. Every client gets a broker of
its own with default settings.
"""
SUITES = """
## The clients' own suites

Tests of the clients' authors, fetched with the package and run against one broker by `scripts/suites NAME`. An allow-list
in `suites/` names what passes and only grows; what fails has its reason beside it. Tests of transactions and of security
(TLS, SASL, ACLs) do not apply yet. `librdkafka-consumer` is librdkafka's suite with `group.protocol=consumer` (KIP-848).
"""
NOT_DUE = {"transactions", "security"}  # kinds of reasons: what is not built yet


def load():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"clients": {}, "suites": {}}


def keep(kind, name, one):
    """Replaces what is known of one client or suite and writes both files; returns all results."""
    results = load()
    results[kind][name] = one
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    REPORT.write_text("".join(line + "\n" for line in render(results)))
    return results


def merged(client, found):
    """`found`, and what is known of the same version from runs of other scenarios."""
    known = load()["clients"].get(client, {"version": "", "scenarios": {}})
    if known["version"] != found["version"]:
        return found
    before = {name: one for name, one in known["scenarios"].items() if name in (*SCENARIOS, LONG)}
    return {**found, "scenarios": {**before, **found["scenarios"]}}


def row(cells):
    return f"| {' | '.join(map(str, cells))} |"


def table(results):
    """Clients below each other, one column for each scenario."""
    columns = [*SCENARIOS, LONG]
    yield row(["client", "version", *columns])
    yield row(["---"] * (2 + len(columns)))
    for client, of_client in sorted(results.items()):
        found = of_client["scenarios"]
        yield row([client, of_client["version"], *[found[name]["result"] if name in found else "" for name in columns]])


def details(results, kind):
    for client, of_client in sorted(results.items()):
        for name, one in of_client["scenarios"].items():
            if one["result"] == kind:
                yield f"- {client}, {name}: {one['detail']}"


def render(results):
    yield from HEAD.splitlines()
    yield ""
    yield from table(results["clients"])
    for kind, title in (("fail", "Failed"), ("skipped", "Skipped")):
        lines = list(details(results["clients"], kind))
        if lines:
            yield from ["", f"{title}:", "", *lines]
    if results["suites"]:
        yield from SUITES.splitlines()
        yield ""
        yield from suites(results["suites"])


def reasons(name):
    """Kind and text by test. A line: - `test` kind: text; of the kind "left out" is what would hang."""
    path = LISTS / f"{name}.reasons.md"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [re.match(r"- `(.+?)` ([a-z ]+): (.+)", line) for line in lines]
    return {one[1]: (one[2], one[3]) for one in found if one}


def suites(results):
    """Counts by kind of reason, then the reasons."""
    why = {}
    for suite, one in results.items():
        known = reasons(suite)
        why[suite] = {test: known.get(test, ("unexplained", "")) for test in one["failed"]}
    kinds = sorted({kind for one in why.values() for kind, _ in one.values()})
    columns = ["suite", "version", "pass", "skipped by the suite", *[f"fail: {kind}" for kind in kinds]]
    yield row([*columns, "fails of what applies"])
    yield row(["---"] * (len(columns) + 1))
    for suite, one in sorted(results.items()):
        found = [kind for kind, _ in why[suite].values()]
        outside = sum(kind not in NOT_DUE for kind in found)
        applies = one["passed"] + outside
        share = f"{outside} of {applies} ({100 * outside / applies:.0f} %)"
        yield row([suite, one["version"], one["passed"], one["skipped"], *[found.count(kind) for kind in kinds], share])
    for suite, failed in sorted(why.items()):
        if failed:
            yield from ["", f"### {suite}: what fails", ""]
            yield from [f"- `{test}` {kind}: {text}" for test, (kind, text) in failed.items()]
