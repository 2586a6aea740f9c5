"""TRAPS.md names tests; they exist."""

import pathlib
import re

HERE = pathlib.Path(__file__).parent
SOURCES = HERE.parents[1] / "src"


def test_every_test_that_the_list_of_traps_names_exists():
    named = set(re.findall(r"`(\w+)`", "".join(line for line in (HERE / "TRAPS.md").open() if line.startswith("|"))))
    tests = {name for path in HERE.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    units = {
        name
        for path in SOURCES.rglob("*.rs")
        for name in re.findall(r"#\[test\]\s+(?:pub\(super\) )?fn (\w+)", path.read_text())
    }
    named = {name for name in named if name != "__consumer_offsets"}
    assert len(named) > 100 and not named - tests - units, named - tests - units
