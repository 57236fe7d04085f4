"""Checks of the state directory: nobody else uses it, and it can be made on a local disk."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress

from relay.service.refusal import StartRefused
from relay.transport.connections import peer_credentials
from relay.transport.sockets import obstacle_to_socket

CONTROL_SOCKET = "control.sock"
"""Name of the control socket, in the state directory."""

_ESCAPE = re.compile(r"\\([0-7]{3})")  # how blanks and backslashes are written there
_MOUNTS = "/proc/self/mountinfo"
_FORGETS = {"tmpfs", "ramfs"}
_KERNEL = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "debugfs", "tracefs", "securityfs"}
_SHARED = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs", "afs"}


def refuse_unfit(path: str, *, may_forget: bool, mounts: str = _MOUNTS) -> None:
    """Raise StartRefused if no queue can be kept in the directory `path`, whatever the user."""
    if problem := _unfitness(path, may_forget=may_forget, mounts=mounts):
        raise StartRefused(problem)


def refuse_used(path: str) -> None:
    """Raise StartRefused if a relay answers at the control socket beside the queue `path`.

    Its locks may have been removed, or lie in a directory that was moved away.
    """
    state_dir = os.path.dirname(path)
    if pid := running_relay(state_dir):
        raise StartRefused(
            f"queue {path} is in use by process {pid}: it listens at "
            f"{os.path.join(state_dir, CONTROL_SOCKET)}; stop that relay or give this one another "
            "state_dir"
        )


def running_relay(state_dir: str) -> int:
    """The process that listens at the control socket in `state_dir`; 0 = none does."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.setblocking(False)
        probe.connect(os.path.join(state_dir, CONTROL_SOCKET))
        return peer_credentials(probe)[0]
    return 0


def obstacles_in(state_dir: str, *, may_forget: bool) -> list[str]:
    """Obstacles to every relay's start in a state directory, one line each.

    Looks only.  Rights are left aside: the relay may run as another user than the caller.

    Args:
        may_forget: `allow_volatile_state` of the configuration.
    """
    if problem := _unfitness(os.path.join(state_dir, "queue"), may_forget=may_forget):
        return [problem]
    name = os.path.join(state_dir, CONTROL_SOCKET)
    obstacle = obstacle_to_socket(name)
    return [f"control socket {name}: {obstacle}"] if obstacle else []


def _unfitness(path: str, *, may_forget: bool, mounts: str = _MOUNTS) -> str:
    """Why the directory `path` cannot be made or must not hold a queue; empty = it can.

    LMDB maps the file and locks it: over a network neither is safe, and what lies
    in memory does not survive a power cut.
    """
    there = os.path.abspath(path)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        what = "a link to nowhere" if os.path.islink(there) else "a file"
        return f"queue {path}: {there} is {what}, and has to be a directory: move it away"
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            kind = file_system_of(os.path.realpath(path), file.read())
    except OSError:
        kind = ""  # no /proc: nothing to go by
    if kind in _KERNEL:
        return (
            f"queue {path} would lie on {kind}, where no files can be made; choose a state_dir "
            "on a local disk"
        )
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return (
            f"queue {path}: {there} is on a file system that is mounted read-only; mount it "
            "read-write or choose another state_dir"
        )
    if kind in _FORGETS | _SHARED and not may_forget:
        what = "is gone after a reboot" if kind in _FORGETS else "is not safe for a memory map"
        return (
            f"queue {path} would lie on {kind}, which {what}; choose a state_dir on a local disk, "
            "or set allow_volatile_state = true under [relay] if losing the queue is acceptable"
        )
    return ""


def file_system_of(path: str, mountinfo: str) -> str:
    """Type of the file system that `path` is on, by the text of /proc/PID/mountinfo."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 5 or not rest:
            continue
        point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest[0]
    return kind
