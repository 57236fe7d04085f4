"""Where a queue can live: not on a file system that forgets or lies about syncing."""

from __future__ import annotations

import os
import re

from relay.service.refusal import StartRefused

__all__ = ["file_system_of", "refuse_volatile"]

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
