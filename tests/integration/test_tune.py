"""corelane tune: check, apply and undo on a host in a scratch directory, killed where it hurts."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest

import broker
import seccomp
from apis import Api

pytestmark = pytest.mark.usefixtures("own_only")
FILES = {
    "proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 259:1 / /srv rw - xfs /dev/nvme0n1p1 rw\n",
    "proc/self/limits": "Max open files  1024  4096  files\nMax locked memory  65536  65536  bytes\n",
    "proc/sys/kernel/random/boot_id": "b-1\n",
    "proc/sys/vm/swappiness": "60\n",
    "proc/sys/net/core/somaxconn": "128\n",
    "proc/sys/net/core/rmem_max": "212992\n",
    "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    "sys/devices/nvme0n1/nvme0n1p1/partition": "1\n",
    "sys/block/nvme0n1/queue/rotational": "0\n",
    "sys/block/nvme0n1/queue/nomerges": "0\n",
    "sys/block/nvme0n1/queue/read_ahead_kb": "128\n",
    "sys/block/nvme0n1/queue/scheduler": "none\n",
    "etc/security/limits.d/others.conf": "# theirs\n",
    "srv/data/format": '{"version":1}',
} | {f"proc/irq/{number}/smp_affinity_list": "0-3\n" for number in range(200)} | {
    f"sys/devices/pci0/msi_irqs/{number}": "msix\n" for number in range(200)
} | {"sys/devices/system/cpu/online": "0-3\n", "sys/devices/pci0/net/eth0/queues/rx-0/rps_cpus": "0\n"}
LINKS = {
    "sys/dev/block/259:1": "../../devices/nvme0n1/nvme0n1p1",
    "sys/class/net/eth0": "../../devices/pci0/net/eth0",
    "sys/devices/pci0/net/eth0/device": "../..",
}
# Kills that hit something are as many as are wanted, but there is an end to it.
KILLS_MIDWAY, KILLS_MAX = 20, 100


@pytest.fixture
def host(tmp_path):
    """A scratch host, on a disk: space is set aside on it."""
    root = tmp_path / "host"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path, target in LINKS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    (root / "small.toml").write_text("[host]\nballast = 65536\n")
    return root


def tree(root):
    return {
        str(path.relative_to(root)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() or path.is_symlink()
    }


def arguments(host, *, scope=True):
    scoped = ["--data", "/srv/data", "--profile", host / "small.toml"] if scope else []
    return ["--root", host, *scoped]


def test_check_apply_undo(host):
    found = tree(host)
    status, out, _ = broker.run("tune", "check", "--json", *arguments(host))
    assert status == 1
    values = {row["where"]: row["value"] for knob in json.loads(out) for row in knob["found"]}
    assert values["/proc/sys/vm/swappiness"] == "60"
    status, commands, _ = broker.run("tune", "apply", "--dry-run", *arguments(host))
    assert status == 0 and "echo 1 > /proc/sys/vm/swappiness\n" in commands
    assert tree(host) == found, "a dry run changes nothing"
    status, out, err = broker.run("tune", "apply", *arguments(host))
    assert status == 0, err
    assert (host / "proc/sys/vm/swappiness").read_text() == "1\n"
    assert (host / "var/lib/corelane/tune.toml").exists()
    assert broker.run("tune", "check", *arguments(host))[0] == 0
    status, out, err = broker.run("tune", "undo", *arguments(host, scope=False))
    assert status == 0 and "everything is as it was found" in out, err
    assert tree(host) == found
    assert "nothing to undo" in broker.run("tune", "undo", *arguments(host, scope=False))[1]


def test_kill_9_anywhere_in_apply_is_undone_to_what_was_found(host):
    seed = int(os.environ.get("TUNE_SEED", random.SystemRandom().randrange(1 << 32)))
    delays, found, midway = random.Random(seed), tree(host), 0
    # However fast the machine: most kills come while it works.
    began = time.monotonic()
    assert broker.run("tune", "apply", *arguments(host))[0] == 0
    whole_s = time.monotonic() - began
    for round_number in range(KILLS_MAX + 1):
        if round_number:
            command = [broker.BINARY, "tune", "apply", *map(str, arguments(host))]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as apply:
                try:
                    apply.wait(delays.uniform(0.0, whole_s))
                except subprocess.TimeoutExpired:
                    apply.send_signal(signal.SIGKILL)
            midway += apply.returncode == -signal.SIGKILL and tree(host) != found
        status, _, err = broker.run("tune", "undo", *arguments(host, scope=False))
        assert status == 0, (seed, err)
        left = {path: what for path, what in tree(host).items() if not path.startswith("var/lib/corelane")}
        assert left == found, seed
        if midway >= KILLS_MIDWAY:
            break
    print(f"seed {seed}: {midway} of {round_number} were killed midway")
    assert midway, f"seed {seed}: nothing was ever killed midway, in {whole_s} s each"


def test_without_the_right_nothing_is_changed_and_the_remedy_is_named(host):
    found = tree(host)

    def become_nobody():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    if os.geteuid() == 0:
        if not nobody_may_run():
            pytest.skip("the binary lies where nobody may not go")
        for directory in [host, *host.parents]:
            if directory.stat().st_mode & 0o005 != 0o005:
                directory.chmod(directory.stat().st_mode | 0o005)
        before = become_nobody
    else:
        (host / "proc/sys/vm/swappiness").chmod(0o444)
        before = None
    status, out, err = broker.run("tune", "apply", *arguments(host), before=before)
    assert (status, out) == (1, ""), err
    assert "nothing was changed" in err and "may not be written: /" in err
    assert "sudo" in err and "--dry-run" in err
    assert tree(host) == found


def nobody_may_run():
    return all(path.stat().st_mode & 0o001 for path in pathlib.Path(broker.BINARY).resolve().parents)


def test_explain_names_what_forbids_io_uring_and_what_helps(tmp_path):
    status, out, _ = broker.run(
        "tune", "check", "--explain", "--data", tmp_path, before=seccomp.forbid_io_uring
    )
    assert status == 1
    assert "BAD    io_uring" in out and "seccomp" in out
    assert "SystemCallFilter=@system-service @aio" in out
    assert "--security-opt seccomp=tuning/container/seccomp.json" in out


def test_disk_measures_and_the_broker_starts_on_what_it_leaves(start, data):
    data.mkdir()
    status, out, err = broker.run("tune", "disk", "--data", data, "--file-mib", 4, "--each-ms", 5)
    assert status == 0, err
    assert "random read" in out and "worth having in flight" in out
    assert [path.name for path in data.iterdir()] == ["io-properties.toml"]
    one = start(data, "--set", "http.listen=127.0.0.1:0")
    bounds = dict(re.findall(r"(reads|writes)_in_flight_max = (\d+)", (data / "io-properties.toml").read_text()))
    cores = len(re.search(r"cores ([\d,]+)", one.ready_line).group(1).split(","))
    for kind, bound in bounds.items():
        wanted = [float(max(1, int(bound) // cores))] * cores
        line = re.compile(rf"^corelane_disk_{kind}_in_flight_max{{.*}} (\S+)$", re.MULTILINE)
        Api.until(lambda: [float(found) for found in line.findall(one.metrics())] == wanted, f"{kind}: {wanted}")
    assert len(bounds) == 2 and one.stop() == 0
