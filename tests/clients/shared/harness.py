"""What the Python clients share: one scenario per process, one JSON line as its result.

    client.py BROKER SCENARIO NAME                      NAME: prefix of the topics and groups to use
    client.py BROKER member MODE TOPIC GROUP INSTANCE   one member of a group, until its input ends
"""

import json
import os
import sys
import threading
import traceback

TEN = "ten keyed messages with a callback"
AUTO = "group consumer with auto-commit"
MANUAL = "group consumer with manual commit"
JSON = "four partitions of JSON"
SEEK = "seek by time"
HEADERS = "headers"
CODECS = "all codecs"
ADMIN = "admin"
IDLE = "idle connection"
IDLE_S = float(os.environ.get("CLIENT_IDLE_S", "5"))
WAIT_S = 30.0  # only so that a client which waits for ever fails its scenario


def check(holds, said):
    if not holds:
        raise AssertionError(said)


def numbers(first, end):
    """The values v0, v1, ... as bytes."""
    return [b"v%d" % number for number in range(first, end)]


class Input:
    """Becomes closed when nobody speaks to us any more: a member then leaves its group."""

    def __init__(self):
        self.closed = False
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        sys.stdin.buffer.read()
        self.closed = True


def assigned(partitions):
    """The whole assignment of this member, as it is now."""
    print("assigned", *sorted(partitions), flush=True)


def revoked(partitions):
    """What this member was just told to give up."""
    print("revoked", *sorted(partitions), flush=True)


def read(value):
    print("read", value.decode(), flush=True)


def main(client, version, scenarios, member):
    """Runs what the arguments name. `scenarios` maps names to functions of broker and name."""
    broker, scenario, *rest = sys.argv[1:]
    if scenario == "member":
        member(broker, *rest)
        return
    result, detail = "pass", ""
    try:
        if scenario in scenarios:
            scenarios[scenario](broker, *rest)
        else:
            result, detail = "skipped", f"{client} has nothing for it"
    except Exception as error:
        traceback.print_exc()
        result, detail = "fail", f"{type(error).__name__}: {error}"[:300]
    print(json.dumps(dict(client=client, version=version, scenario=scenario, result=result, detail=detail)), flush=True)
