"""What `tuning/` ships for systemd and containers, as far as it can be tried without them."""

import json
import re
import shlex

import pytest

import broker
import seccomp
from apis import Api

pytestmark = pytest.mark.usefixtures("own_only")
TUNING = broker.ROOT / "tuning"
PROFILE = TUNING / "container" / "seccomp.json"


def texts():
    return sorted(path for path in TUNING.rglob("*") if path.is_file() and path.suffix != ".json")


@pytest.mark.skipif(not seccomp.numbers(), reason="the numbers of system calls are not known here")
def test_the_broker_works_within_the_seccomp_profile(start, data):
    one = start(data, before=lambda: seccomp.obey(PROFILE))
    with Api(one.address) as api:
        api.create_topic("t")
        assert api.append("t", b"a") == 0
        assert api.append("t", b"b") == 1
    assert one.stop() == 0, one.log()
    again = start(data, before=lambda: seccomp.obey(PROFILE))
    with Api(again.address) as api:
        assert api.append("t", b"c") == 2
    assert again.stop() == 0, again.log()


def test_the_seccomp_profile_opens_no_way_out_of_a_container():
    rules = json.loads(PROFILE.read_text())["syscalls"]
    allowed = {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"io_uring_setup", "io_uring_enter", "io_uring_register"} <= allowed
    dangerous = "bpf keyctl add_key request_key mount umount2 pivot_root setns unshare ptrace init_module kexec_load"
    more = "open_by_handle_at perf_event_open reboot swapon syslog userfaultfd process_vm_writev pidfd_getfd clone3"
    assert not allowed & {*dangerous.split(), *more.split()}


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_every_command_line_is_understood(path, tmp_path):
    """Those of serve are checked whole, the others as far as their words go."""
    commands = []
    for words in re.findall(r"^Exec(?:Start|Stop)=/usr/local/bin/corelane (.+)$", path.read_text(), re.M):
        commands.append(shlex.split(words))
    for array in re.findall(r"(?:CMD|command:) (\[\".+\])$", path.read_text(), re.M):
        commands.append([word for word in json.loads(array) if word != "corelane"])
    if path.suffix == ".yaml" and (args := re.search(r"args:\n((?: +- .+\n)+)", path.read_text())):
        commands.append([line.split("- ", 1)[1].strip() for line in args.group(1).splitlines()])
    profile = "container" if path.suffix in {"", ".yaml"} else "throughput"
    for words in commands:
        file = str(TUNING / "profiles" / f"{profile}.toml")
        words = [word.replace("/etc/corelane/broker.toml", file).replace("$(POD)", "pod-0") for word in words]
        if words[0] == "serve":
            status, out, err = broker.run(*words, "--check")
            assert status == 0 and "log.dir" in out, err
        else:
            assert broker.run(*words, "--help")[0] == 0, words
            if words[:2] == ["tune", "apply"]:
                status, _, err = broker.run(*words, "--dry-run", "--root", tmp_path)
                assert status == 0, err
    assert commands or path.suffix in {".toml", ".sysusers", ".md", ".yml", ".dockerignore"} or path.name == "seccomp.yaml"


def test_data_and_record_do_not_share_a_directory():
    """A record in a directory that is still to become a data directory would be taken for someone else's."""
    for path in texts():
        for directory in re.findall(r"--data[= ](\S+)|log\.dir = \"(.+?)\"", path.read_text()):
            assert "/var/lib/corelane" not in directory, path
