"""What systemd hears from the broker (Type=notify, WatchdogSec=)."""

import socket

import pytest

pytestmark = pytest.mark.usefixtures("own_only")
WAIT_S = 120.0


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """The manager's socket, as the broker finds it in its environment; a watchdog of two seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(WAIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        yield heard


def test_it_says_when_it_is_ready_that_it_lives_and_that_it_stops(start, data, manager):
    one = start(data)
    first = manager.recv(4096).decode().splitlines()
    assert first[0] == "READY=1" and one.address in first[1]
    assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    assert one.stop() == 0, one.log()
    said = b"WATCHDOG=1"
    while said == b"WATCHDOG=1":
        said = manager.recv(4096)
    assert said.startswith(b"STOPPING=1\n")


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(start, data, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_PID", "1")
    one = start(data)
    assert manager.recv(4096).startswith(b"READY=1\n")
    assert one.stop() == 0, one.log()
    assert manager.recv(4096).startswith(b"STOPPING=1\n")
