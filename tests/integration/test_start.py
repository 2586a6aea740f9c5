"""How the broker starts, and how it says that it cannot."""

import contextlib
import pathlib
import re
import socket
import tempfile

import pytest

import broker
import seccomp
import wire
from apis import Api
from errors import NONE

pytestmark = pytest.mark.usefixtures("own_only")
HELP_LINES_MAX = 24


def refused(*args, **options):
    """Runs a start that must fail with one clear sentence; returns it."""
    status, stdout, stderr = broker.run("serve", *args, **options)
    assert status == 1, (status, stdout, stderr)
    assert stdout == "", "not ready, so no ready line"
    said = [line for line in stderr.splitlines() if line.startswith("corelane: ")]
    assert len(said) == 1, stderr
    return said[0]


def test_the_ready_line_says_where_it_listens_and_how_to_look(start, data):
    one = start(data, "--cores", 1)
    expected = rf"corelane ready on (127\.0\.0\.1:\d+), 1 shards? \(cores? \d+\), data in {re.escape(str(data))}; metrics on http://127\.0\.0\.1:\d+/metrics; try: kcat -b \1 -L\n"
    assert re.fullmatch(expected, one.ready_line), one.ready_line
    with Api(one.address) as api:
        assert api.call("ApiVersions", 0).error_code == NONE


def test_sigterm_ends_it_with_status_0_whatever_its_connections_do(start, data):
    one = start(data)
    with Api(one.address) as idle, Api(one.address) as waiting, Api(one.address) as half:
        idle.create_topic("t")
        waiting.send_fetch("t", 0, max_wait_ms=600_000)
        half.send_bytes(wire.request("Metadata", 1, 1, {"topics": None})[:9])
        assert idle.append("t", b"a") == 0
        waiting.send_fetch("t", 1, max_wait_ms=600_000)
        assert one.stop() == 0, one.log()


def test_a_second_broker_on_the_same_directory_is_refused(start, data):
    one = start(data)
    said = refused("--data", data, "--listen", "127.0.0.1:0")
    assert str(data) in said and "in use" in said and str(one.pid) in said
    with Api(one.address) as api:
        assert api.call("ApiVersions", 0).error_code == NONE, "the first one has not noticed"


def test_a_port_in_use_is_named_with_the_remedy(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused("--data", data, "--listen", place)
    assert place in said and "in use" in said and "--listen" in said


def test_a_port_that_another_broker_has_is_in_use(start, data, tmp_path):
    one = start(data)
    assert "in use" in refused("--data", tmp_path / "other", "--listen", one.address)


def test_an_unknown_key_names_itself_its_file_and_its_neighbour(data, tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text("node.id = 1\nnum.partition = 3\n")
    said = refused("--config", file, "--data", data)
    assert f"{file}:2" in said and '"num.partition"' in said and "num.partitions" in said
    assert not data.exists(), "a refused start leaves nothing behind"


@pytest.mark.parametrize("setting", ["num.partition=3", "no.such.key=1"])
def test_an_unknown_key_on_the_command_line_is_refused(data, setting):
    said = refused("--data", data, "--set", setting)
    assert "--set" in said and setting.split("=")[0] in said


@pytest.mark.parametrize("setting", ["num.partitions=0", "num.partitions=many", "auto.create.topics.enable=1"])
def test_a_value_that_cannot_be_is_named_with_what_is_expected(data, setting):
    key, value = setting.split("=")
    said = refused("--data", data, "--set", setting)
    assert key in said and f'"{value}"' in said and "expected" in said


def test_a_file_that_is_not_there_is_named(data):
    assert "/nowhere/x.toml" in refused("--config", "/nowhere/x.toml", "--data", data)


@pytest.mark.parametrize("words", [["--nonsense"], ["nonsense"], ["serve", "--set", "x"], ["serve", "--cores"]])
def test_wrong_usage_ends_with_status_2(words):
    status, stdout, stderr = broker.run(*words)
    assert (status, stdout) == (2, "") and stderr


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"]])
def test_help_fits_one_screen(words):
    status, stdout, _ = broker.run(*words)
    assert status == 0 and 3 < len(stdout.splitlines()) <= HELP_LINES_MAX


@contextlib.contextmanager
def directory_in_memory():
    if not pathlib.Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield pathlib.Path(path) / "data"


def test_a_directory_in_memory_is_refused_with_the_flag_that_allows_it():
    with directory_in_memory() as data:
        said = refused("--data", data, "--listen", "127.0.0.1:0")
        assert str(data) in said and "tmpfs" in said and "--allow-tmpfs" in said


def test_a_directory_in_memory_is_used_where_it_is_allowed(start):
    with directory_in_memory() as data:
        try:
            one = start(data, "--allow-tmpfs")
        except RuntimeError as error:
            assert "O_DIRECT" in str(error)
            pytest.skip("this kernel's tmpfs has no direct I/O")
        with Api(one.address) as api:
            api.create_topic("t")
            assert api.append("t", b"a") == 0
        assert one.stop() == 0


def test_a_directory_that_belongs_to_something_else_is_left_alone(tmp_path):
    thesis = tmp_path / "thesis.odt"
    thesis.write_text("precious")
    said = refused("--data", tmp_path, "--listen", "127.0.0.1:0")
    assert str(tmp_path) in said and "thesis.odt" in said
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.odt"]


def test_a_forbidden_io_uring_is_said_with_the_remedy(data):
    said = refused("--data", data, "--listen", "127.0.0.1:0", before=seccomp.forbid_io_uring)
    assert "io_uring" in said and "seccomp" in said


def test_a_malformed_frame_costs_one_log_line(start, data):
    one = start(data)
    with Api(one.address) as api:
        api.create_topic("t")
        before = len(one.log_path.read_text().splitlines())
        with Api(one.address) as bad:
            bad.send_bytes(b"\xff\xff\xff\xff garbage")
            assert bad.is_closed()
        assert api.append("t", b"a") == 0
        api.until(lambda: len(one.log_path.read_text().splitlines()) > before, "nothing was logged")
    assert len(one.log_path.read_text().splitlines()) == before + 1
