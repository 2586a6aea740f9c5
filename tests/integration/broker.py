"""The broker as a process: the only file that knows how to start, find, stop and kill it."""

import os
import pathlib
import random
import re
import select
import socket
import subprocess
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = os.environ.get("CORELANE_BIN", str(TARGET / "release" / "corelane"))
WAIT_S = 120.0  # only so that a hanging broker fails a test instead of the whole run
LOG_LINES_SHOWN = 60


def cores():
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def lasting_port():
    """A free port that no outgoing connection is given while the broker is down that comes back on it."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first // 2, first)
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Broker:
    """One broker process on a data directory, on a free loopback port unless told otherwise.

    `before` runs in the new process before the broker does.
    """

    def __init__(self, data, *args, listen="127.0.0.1:0", before=None):
        self.data = pathlib.Path(data)
        self.log_path = self.data.with_name(self.data.name + ".log")
        command = [BINARY, "serve", "--data", str(data), "--listen", listen, *map(str, args)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, preexec_fn=before)
        self.ready_line = self._first_line()
        found = re.search(r"ready on (\S+),", self.ready_line)
        if not found:
            self.kill()
            raise RuntimeError(f"no ready line but {self.ready_line!r}\n{self.log()}")
        self.address = found.group(1)

    def _first_line(self):
        readable, _, _ = select.select([self.process.stdout], [], [], WAIT_S)
        return self.process.stdout.readline().decode() if readable else ""

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self):
        """SIGKILL: as good as a crash of the process."""
        self.process.kill()
        self.process.wait()

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def metrics(self):
        """What it counts, as Prometheus reads it."""
        place = re.search(r"metrics on (\S+);", self.ready_line).group(1)
        with urllib.request.urlopen(place, timeout=WAIT_S) as answer:
            return answer.read().decode()

    def log(self):
        """The end of its log, for a failed test."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def run(*args, before=None):
    """Runs the binary to its end, for starts that are expected to fail: status, stdout, stderr.

    `before` runs in the new process before the binary does.
    """
    command = [BINARY, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, preexec_fn=before)
    return done.returncode, done.stdout, done.stderr
