"""Groups whose members are processes of the client under test: they join, leave, crash and come back.

A member is `COMMAND BROKER member MODE TOPIC GROUP INSTANCE`. It says on its output
    assigned 0 1 2   its whole assignment, whenever that changes
    revoked 2        what it was told to give up, where the client tells
    read VALUE       every record it was given
    unsupported WHY  the client has no such mode; the process ends
and leaves the group in good order when its input ends. The sessions of its members time out after 6 s.
"""

import subprocess
import threading
import time

from apis import Api

THREE, CLASSIC, COOPERATIVE = "three members join, leave and crash", "classic rebalance", "cooperative rebalance"
STATIC, CONSUMER = "static rebalance", "consumer-protocol rebalance"
PARTITIONS, RECORDS = 6, 5  # of each partition and round
STEP_S = 45.0  # only so that a group which never settles fails its scenario


class Unsupported(Exception):
    """The client has no such kind of group."""


class Member:
    def __init__(self, command, broker, mode, topic, group, instance, log):
        words = [*command, broker, "member", mode, topic, group, instance]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=log, text=True, bufsize=1)
        self.held, self.assignments, self.revoked, self.read, self.unsupported = set(), 0, set(), [], ""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "assigned":
                self.held = {int(one) for one in rest.split()}
                self.assignments += 1
            elif word == "revoked":
                self.revoked |= {int(one) for one in rest.split()}
            elif word == "read":
                self.read.append(rest)
            elif word == "unsupported":
                self.unsupported = rest

    def leave(self):
        self.process.stdin.close()
        self.process.wait(STEP_S)

    def crash(self):
        self.process.kill()
        self.process.wait()


class Group:
    """One group on a topic of its own, and what was appended to the topic so far."""

    def __init__(self, command, broker, mode, name, log):
        self.start = lambda instance: Member(command, broker, mode, name, f"{name}-group", instance, log)
        self.members, self.topic, self.api, self.sent = [], name, Api(broker), 0
        self.api.create_topic(name, PARTITIONS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.api.socket.close()
        for one in self.members:
            one.crash()

    def join(self, instance=""):
        self.members.append(self.start(instance))
        return self.members[-1]

    def settle(self, members):
        """Waits until these members share all partitions, each has some, and what is appended then is read."""
        self._until(lambda: self._is_shared(members), lambda: f"shared as {[sorted(one.held) for one in members]}")
        for partition in range(PARTITIONS):
            values = [f"v{number}" for number in range(self.sent, self.sent + RECORDS)]
            self.api.append(self.topic, *[value.encode() for value in values], partition=partition)
            self.sent += RECORDS
        wanted = {f"v{number}" for number in range(self.sent)}
        self._until(lambda: not self._missing(wanted), lambda: f"{len(self._missing(wanted))} records never read")

    def _is_shared(self, members):
        held = [partition for one in members for partition in one.held]
        return sorted(held) == list(range(PARTITIONS)) and all(one.held for one in members)

    def _missing(self, wanted):
        return wanted - {value for one in self.members for value in one.read}

    def _until(self, condition, complaint):
        end = time.monotonic() + STEP_S
        while not condition():
            for one in self.members:
                if one.unsupported:
                    raise Unsupported(one.unsupported)
            assert time.monotonic() < end, complaint()
            time.sleep(0.05)


def three_members(group):
    first, second, third = members = [group.join() for _ in range(3)]
    group.settle(members)
    third.leave()
    group.settle([first, second])
    second.crash()
    group.settle([first])


def second_comes_and_goes(group):
    first = group.join()
    group.settle([first])
    second = group.join()
    group.settle([first, second])
    second.leave()
    group.settle([first])


def cooperative(group):
    first = group.join()
    group.settle([first])
    second = group.join()
    group.settle([first, second])
    kept = first.held
    assert first.revoked == second.held, f"{first.revoked} revoked, moved were {second.held}"
    second.leave()
    group.settle([first])
    assert not first.revoked & kept, f"{first.revoked} revoked, {kept} stayed"


def static(group):
    first = group.join("first")
    second = group.join("second")
    group.settle([first, second])
    before = second.held
    assignments = first.assignments
    second.crash()
    group.settle([first, again := group.join("second")])
    assert again.held == before, f"{again.held} after the restart, {before} before"
    assert first.assignments == assignments, "the other member was rebalanced"
    again.crash()
    group.settle([first])


SCENARIOS = {
    THREE: ("default", three_members),
    CLASSIC: ("classic", second_comes_and_goes),
    COOPERATIVE: ("cooperative", cooperative),
    STATIC: ("static", static),
    CONSUMER: ("consumer", second_comes_and_goes),
}


def run(scenario, command, broker, name, log):
    """Result and detail of one scenario."""
    mode, play = SCENARIOS[scenario]
    try:
        with Group(command, broker, mode, name, log) as group:
            play(group)
    except Unsupported as error:
        return "skipped", str(error)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return "fail", str(error)
    return "pass", ""
