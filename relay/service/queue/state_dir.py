"""Checks of the state directory: nobody else uses it, and it lies on a local disk."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress

from relay.queue.files.ownership import why_refused
from relay.service.refusal import StartRefused
from relay.transport.sockets import obstacle_to_socket, peer_credentials

__all__ = ["CONTROL_SOCKET", "file_system_of", "obstacles_in", "refuse_used", "refuse_volatile"]

CONTROL_SOCKET = "control.sock"
"""Name of the control socket, in the state directory."""

_ESCAPE = re.compile(r"\\([0-7]{3})")  # how blanks and backslashes are written there
_FORGETS = {"tmpfs", "ramfs"}
_SHARED = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs", "afs"}


def refuse_volatile(path: str, *, mounts: str = "/proc/self/mountinfo") -> None:
    """Raise StartRefused if `path` would lie on memory or on a network file system.

    LMDB maps the file and locks it: over a network neither is safe, and what lies
    in memory does not survive a power cut.
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            kind = file_system_of(os.path.realpath(path), file.read())
    except OSError:
        return  # no /proc: nothing to go by
    if kind in _FORGETS | _SHARED:
        what = "is gone after a reboot" if kind in _FORGETS else "is not safe for a memory map"
        raise StartRefused(
            f"queue {path} would lie on {kind}, which {what}; choose a state_dir on a local disk, "
            "or set allow_volatile_state = true under [relay] if losing the queue is acceptable"
        )


def refuse_used(path: str) -> None:
    """Raise StartRefused if a relay answers at the control socket beside the queue `path`.

    Its locks may have been removed, or lie in a directory that was moved away.
    """
    name = os.path.join(os.path.dirname(path), CONTROL_SOCKET)
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.setblocking(False)
        probe.connect(name)
        pid, _, _ = peer_credentials(probe)
        raise StartRefused(
            f"queue {path} is in use by process {pid}: it listens at {name}; "
            "stop that relay or give this one another state_dir"
        )


def obstacles_in(state_dir: str) -> list[str]:
    """What lies in the way of a state directory, one line each, whatever user the relay runs as."""
    places = [state_dir, os.path.join(state_dir, "queue")]
    for place in places:
        if os.path.lexists(place) and not os.path.isdir(place):
            return [f"state_dir {state_dir}: {why_refused(places[1])}"]
    name = os.path.join(state_dir, CONTROL_SOCKET)
    obstacle = obstacle_to_socket(name)
    return [f"control socket {name}: {obstacle}"] if obstacle else []


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
