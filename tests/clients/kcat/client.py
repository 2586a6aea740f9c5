"""kcat, as its introductions use it: a producer and a consumer on the command line. It has no calls for administrators."""

import ctypes
import json
import re
import signal
import subprocess
import sys
import threading
import time

from harness import AUTO, CODECS, HEADERS, IDLE, IDLE_S, JSON, SEEK, TEN, WAIT_S
from harness import Input, assigned, check, main, numbers, read, revoked

PR_SET_PDEATHSIG = 1


def kcat(*words, given=None):
    done = subprocess.run(["kcat", *map(str, words)], input=given, capture_output=True, timeout=WAIT_S + IDLE_S, check=False)
    sys.stderr.buffer.write(done.stderr)
    check(done.returncode == 0, done.stderr.decode(errors="replace"))
    return done.stdout


def lines(values):
    return b"".join(value + b"\n" for value in values)


def send(broker, topic, values, *more):
    kcat("-P", "-b", broker, "-t", topic, "-p", 0, *more, given=lines(values))


def group_consumer(broker, topic, count):
    settings = ["-X", "auto.offset.reset=earliest", "-c", count]
    return kcat("-b", broker, "-G", f"{topic}-group", *settings, topic).splitlines()


def ten_keyed(broker, name):
    pairs = [b"key-%d:message %d" % (number, number) for number in range(10)]
    kcat("-P", "-b", broker, "-t", name, "-K:", given=lines(pairs))
    got = kcat("-C", "-b", broker, "-t", name, "-K:", "-e", "-q")
    check(got == lines(pairs), got)


def auto_commit(broker, name):
    send(broker, name, numbers(0, 10))
    check(group_consumer(broker, name, 10) == numbers(0, 10), "the ten")
    send(broker, name, numbers(10, 11))
    check(group_consumer(broker, name, 1) == [b"v10"], "goes on after the ten")


def json_partitions(broker, name):
    # The topic is there with its four partitions: kcat creates none like that.
    text = [json.dumps({"number": number}).encode() for number in range(100)]
    for partition in range(4):
        kcat("-P", "-b", broker, "-t", name, "-p", partition, given=lines(text[partition::4]))
    got = [json.loads(line) for line in kcat("-C", "-b", broker, "-t", name, "-e", "-q", "-J").splitlines()]
    check(len({one["partition"] for one in got}) == 4, "all partitions used")
    check(sorted(json.loads(one["payload"])["number"] for one in got) == list(range(100)), "every object once")


def seek(broker, name):
    send(broker, name, numbers(0, 5))
    time.sleep(0.1)
    between = int(time.time() * 1000)
    time.sleep(0.1)
    send(broker, name, numbers(5, 10))
    check(kcat("-Q", "-b", broker, "-t", f"{name}:0:{between}").split()[-1] == b"5", "the offset at that time")
    got = kcat("-C", "-b", broker, "-t", name, "-o", f"s@{between}", "-e", "-q").splitlines()
    check(got == numbers(5, 10), got)


def headers(broker, name):
    send(broker, name, [b"value"], "-H", "trace=1", "-H", "trace=2", "-H", "null")
    got = json.loads(kcat("-C", "-b", broker, "-t", name, "-e", "-q", "-J"))["headers"]
    check(got == ["trace", "1", "trace", "2", "null", None], got)


def codecs(broker, name):
    values = [b"v%d " % number * 50 for number in range(100)]
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        send(broker, name, values, "-X", f"compression.codec={codec}")
    check(kcat("-C", "-b", broker, "-t", name, "-e", "-q").splitlines() == values * 5, "every value in order")


def idle(broker, name):
    command = ["kcat", "-P", "-b", broker, "-t", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as producer:
        producer.stdin.write(b"v0\n")
        producer.stdin.flush()
        time.sleep(IDLE_S)
        producer.stdin.write(b"v1\n")
        producer.stdin.close()
        check(producer.wait(WAIT_S) == 0, "the producer")
    check(kcat("-C", "-b", broker, "-t", name, "-e", "-q").splitlines() == numbers(0, 2), "both values")


def member(broker, mode, topic, group, instance):
    if mode == "consumer":
        print("unsupported", "its librdkafka has no KIP-848 consumer")
        return
    settings = ["auto.offset.reset=earliest", "session.timeout.ms=6000", "heartbeat.interval.ms=1000"]
    settings += ["auto.commit.interval.ms=500"]
    if mode == "cooperative":
        settings.append("partition.assignment.strategy=cooperative-sticky")
    if instance:
        settings.append(f"group.instance.id={instance}")
    command = ["kcat", "-b", broker, "-u", *[word for one in settings for word in ("-X", one)], "-G", group, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent) as process:
        threading.Thread(target=follow, args=(process.stderr, mode), daemon=True).start()
        threading.Thread(target=lambda: [read(line.rstrip(b"\n")) for line in process.stdout], daemon=True).start()
        until = Input()
        while not until.closed and process.poll() is None:
            time.sleep(0.05)
        process.terminate()


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def follow(stream, mode):
    """Translates what kcat says about its group."""
    held = set()
    for line in stream:
        sys.stderr.buffer.write(line)
        found = re.search(rb"rebalanced.*?(assign|revo)", line)
        if not found:
            continue
        partitions = {int(one) for one in re.findall(rb"\[(\d+)\]", line)}
        if found[1] == b"revo":
            held -= partitions
            revoked(partitions)
        else:
            held |= partitions
        assigned(held)


SCENARIOS = {TEN: ten_keyed, AUTO: auto_commit, JSON: json_partitions, SEEK: seek}
SCENARIOS |= {HEADERS: headers, CODECS: codecs, IDLE: idle}
VERSION = re.search(rb"Version (\S+).*librdkafka (\S+)", kcat("-V"), re.DOTALL).expand(rb"\1, librdkafka \2").decode()
main("kcat", VERSION, SCENARIOS, member)
