"""Run a program where it sees nothing of this machine: started as a script, with the standard library alone.

    python -I namespaces.py '{"readable": ["/usr"], "room": "/tmp/empty", "bytes": 1000000}' program argument …

The program gets a network without devices, processes of its own, and a file system in memory: the readable folders,
which it cannot write to, a few devices, and a small ``/tmp``. It runs as a user without rights, who cannot get any:
root gives them up; anybody else first takes a user namespace, to be allowed to make the others. The exit status is that
of the program; if the sandbox cannot be made, it is 125, and the last line of the errors names the step that failed.

Only Linux has namespaces: see ``man 7 namespaces``, ``man 2 pivot_root``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys

FAILED = 125
_NOBODY = 65534
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def _system(name: str, *arguments: bytes | int | None) -> None:
    """A call of the C library that Python does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    if getattr(libc, name)(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends; nothing on other systems. Lost by a change of rights."""
    if sys.platform == "linux":
        _system("prctl", _PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _system("mount", os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode())


def _own_users() -> None:
    """A user namespace in which we are nobody; until the next program starts, we may do there as we like."""
    user, group = os.geteuid(), os.getegid()
    _system("unshare", _NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{_NOBODY} {user} 1"), ("gid_map", f"{_NOBODY} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _enter_room(room: str, readable: list[str], size: int) -> None:
    """Leave the file system for one in memory, at ``room``, that holds what is readable."""
    _mount("none", "/", "none", _REC | _PRIVATE)
    _mount("tmpfs", room, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    os.mkdir(f"{room}/tmp")
    _mount("tmpfs", f"{room}/tmp", "tmpfs", _NOSUID | _NODEV, f"size={size},nr_inodes=10000,mode=1777")
    for path in (*readable, *_DEVICES):
        if os.path.isdir(path):
            os.makedirs(room + path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(room + path), exist_ok=True)
            open(room + path, "w").close()
        _mount(path, room + path, "none", _BIND | _REC)
        if path not in _DEVICES:
            _mount("none", room + path, "none", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.symlink("/tmp", f"{room}/dev/shm")
    os.mkdir(f"{room}/proc")
    _mount("proc", f"{room}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    os.chdir(room)
    _system("pivot_root", b".", b".")
    _system("umount2", b".", _DETACH)
    _mount("none", "/", "none", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir("/tmp")


def _give_up_rights(was_root: bool) -> None:
    if was_root:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        _system("prctl", _DUMPABLE, 1, 0, 0, 0)  # else /proc/self is not ours
        _own_users()
    # In a further user namespace a program could mount file systems of any size.
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    _system("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if memory runs out, this goes first


def _wait(process: int) -> int:
    """The exit status of a process, as a shell gives it; others that end meanwhile are forgotten."""
    while True:
        ended, status = os.wait()
        if ended == process:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def run(readable: list[str], room: str, size: int, program: list[str]) -> int:
    """Run a program in the sandbox, and return its exit status."""
    was_root = os.geteuid() == 0
    if not was_root:
        _own_users()
        die_with_parent()  # which the change of rights has undone
    _system("unshare", _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS)
    if first := os.fork():
        return _wait(first)
    # The first process of the new ones: when it ends, all of them do.
    status = FAILED
    try:
        _enter_room(room, readable, size)
        _give_up_rights(was_root)
        die_with_parent()
        if (process := os.fork()) == 0:
            os.execv(program[0], program)
        status = _wait(process)
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
    finally:
        os._exit(status)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    try:
        raise SystemExit(run(told["readable"], told["room"], told["bytes"], sys.argv[2:]))
    except OSError as error:
        print(error, file=sys.stderr)
        raise SystemExit(FAILED) from error
