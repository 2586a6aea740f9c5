"""What a broker tells on its HTTP port."""

import re
import time
import urllib.request


def place_of(one):
    found = re.search(r"metrics on http://(\S+)/metrics", one.ready_line)
    assert found, one.ready_line
    return found.group(1)


def get(place, path):
    with urllib.request.urlopen(f"http://{place}{path}", timeout=60) as answer:
        return answer.status, answer.headers["content-type"], answer.read().decode()


def value(text, name, **labels):
    """The sum of a metric over the series that have these labels."""
    wanted = [f'{key}="{label}"' for key, label in labels.items()]
    lines = [line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line) and all(one in line for one in wanted)]
    assert lines, f"{name} {labels} is not in\n{text}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def until(place, is_there, path="/metrics"):
    """What is answered once it is as it should be."""
    deadline = time.monotonic() + 120
    while not is_there(text := get(place, path)[2]):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text
