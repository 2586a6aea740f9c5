"""Processes whose system calls are filtered, as in containers."""

import ctypes
import errno
import json
import pathlib
import re
import struct

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _FIRST_ARGUMENT = 0, 16  # where they lie in what a filter sees (struct seccomp_data)
_IO_URING_SETUP = 425  # on every architecture
_HEADER = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


def forbid_io_uring():
    """From here on io_uring_setup fails with EPERM in this process and its children."""
    _filter(
        [
            (_LOAD, 0, 0, _NUMBER),
            (_JUMP_IF_EQUAL, 0, 1, _IO_URING_SETUP),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    )


def numbers():
    """Names of system calls and their numbers; none where the headers of this architecture are not there."""
    if not _HEADER.exists():
        return {}
    return {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", _HEADER.read_text())}


def obey(profile):
    """From here on this process and its children may do what the profile (Docker's format) allows."""
    known, program = numbers(), [(_LOAD, 0, 0, _NUMBER)]
    contents = json.loads(pathlib.Path(profile).read_text())
    for rule in contents["syscalls"]:
        answer = _ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else _ERRNO | rule["errnoRet"]
        for number in [known[name] for name in rule["names"] if name in known]:
            if rule.get("args"):
                [argument] = rule["args"]
                assert (argument["index"], argument["op"]) == (0, "SCMP_CMP_MASKED_EQ")
                program += [
                    (_JUMP_IF_EQUAL, 0, 5, number),
                    (_LOAD, 0, 0, _FIRST_ARGUMENT),
                    (_AND, 0, 0, argument["value"]),
                    (_JUMP_IF_EQUAL, 0, 1, argument["valueTwo"]),
                    (_RETURN, 0, 0, answer),
                    (_RETURN, 0, 0, _ERRNO | contents["defaultErrnoRet"]),
                ]
            else:
                program += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]
    assert contents["defaultAction"] == "SCMP_ACT_ERRNO"
    _filter([*program, (_RETURN, 0, 0, _ERRNO | contents["defaultErrnoRet"])])


def _filter(instructions):
    program = b"".join(
        struct.pack("=HBBI", code, if_true, if_false, value) for code, if_true, if_false, value in instructions
    )
    code = ctypes.create_string_buffer(program, len(program))
    whole = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for args in [(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, whole, 0, 0)]:
        if libc.prctl(*args) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
