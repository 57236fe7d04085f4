"""Look whether files and terminals could be read or written, and how much room a disk has left."""

from __future__ import annotations

import grp
import os
import socket
import stat

from relay.model.text import counted, size
from relay.queue.files.ownership import user_name
from relay.service.probes.probe import Probe
from relay.transport.files.search import FileSearch
from relay.transport.local.logins import terminal_lines

_FREE_PERCENT_MIN = 5


def probe_appended(probe: Probe, directory: str, name: str) -> None:
    """A file that lines are appended to; no name = many of them, below the directory."""
    path = os.path.join(directory, name)
    if name and os.path.isdir(path):
        probe.fail("path", "path-taken", f"{path} is a directory", "write the path of a file")
        return
    if name and os.path.lexists(path):
        if not os.access(path, os.W_OK):
            _fail_access(probe, path, "file-not-writable", "may not write to")
            return
        probe.passed("path", f"{path} can be appended to")
    elif not probe_directory(probe, directory):
        return
    _probe_room(probe, directory)


def probe_ownership(probe: Probe, owner: int, group: int) -> None:
    """Whether files can be given to a user and a group, by their numbers; -1 = as they are made.

    A warning: the relay may have groups and capabilities of its unit, which its user has not here.
    """
    user = os.geteuid()
    if user == 0:
        return
    if owner not in (-1, user):
        probe.warn(
            "path",
            "owner-not-possible",
            f"user {user_name(user)} may not give files to user {user_name(owner)}",
            "leave `owner` out, or give the relay CAP_CHOWN",
        )
    if group != -1 and group not in (os.getegid(), *os.getgroups()):
        probe.warn(
            "path",
            "group-not-possible",
            f"user {user_name(user)} is not a member of group {_group_name(group)}, so it may not "
            "give files to it",
            "leave `group` out, or write SupplementaryGroups= into the unit",
        )


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def probe_directory(probe: Probe, directory: str) -> bool:
    """A directory to make files in, or to make first; returns whether that can be done."""
    there = directory
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        probe.fail(
            "path",
            "path-taken",
            f"{there} is a file, and has to be a directory for {directory}",
            "move it away, or choose another path",
        )
        return False
    if not os.access(there, os.W_OK | os.X_OK):
        _fail_access(probe, there, "directory-not-writable", "may not make files in")
        return False
    missing = "" if there == directory else f" (the relay makes it, below {there})"
    probe.passed("path", f"{directory} can be written to{missing}")
    return True


def probe_read(probe: Probe, path: str, *, follow_symlinks: bool) -> None:
    """Files that are read; the path may have wildcards."""
    found = FileSearch(path, follow_symlinks=follow_symlinks).run()
    closed = [each for each in found.files.values() if not os.access(each, os.R_OK)]
    for each in closed[:3]:
        _fail_access(probe, each, "file-not-readable", "may not read")
    for each, why in found.problems[:3]:
        probe.warn("path", "file-left-out", f"{each}: {why}", "mend it, or change the path")
    if not found.files and not found.problems:
        probe.warn("path", "file-missing", f"no file matches {path}", "is the path right?")
    elif not closed:
        probe.passed("path", counted(len(found.files), "readable file"))


def probe_connectable(probe: Probe, path: str, kind: socket.SocketKind) -> None:
    """A unix socket of another program: connect, and send nothing."""
    try:
        with socket.socket(socket.AF_UNIX, kind) as connected:
            connected.settimeout(probe.seconds_max)
            connected.connect(path)
    except OSError as error:
        probe.fail(
            "connect",
            "socket-unusable",
            f"{path}: {error.strerror or error}",
            "start the program that listens there, and let the relay's user write to its socket",
        )
    else:
        probe.passed("connect", f"a program takes what is sent to {path}")


def probe_pipe(probe: Probe, path: str, *, reads: bool = False) -> None:
    """A named pipe, which is not opened: its reader would take our end for the end of all.

    Args:
        reads: The relay is its reader, which opens it for writing, too.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        text = f"{path}: {error.strerror}"
        probe.fail("path", "pipe-missing", text, f"make it: mkfifo {path}")
        return
    if not stat.S_ISFIFO(mode):
        probe.fail("path", "path-taken", f"{path} is no named pipe", "make one with mkfifo")
    elif not os.access(path, os.W_OK):
        _fail_access(probe, path, "file-not-writable", "may not write to")
    elif reads and not os.access(path, os.R_OK):
        _fail_access(probe, path, "file-not-readable", "may not read")
    else:
        other = "writes to" if reads else "reads"
        probe.passed("path", f"{path} is a named pipe; whether somebody {other} it is not tried")


def probe_runnable(probe: Probe, path: str) -> None:
    """A program, which is not run."""
    if os.path.isfile(path) and os.access(path, os.X_OK):
        probe.passed("path", f"{path} may be run")
        return
    probe.fail(
        "path",
        "program-not-runnable",
        f"{path} is not a program that user {os.geteuid()} may run",
        "compare the path, and its mode with chmod +x",
    )


def probe_terminals(probe: Probe) -> None:
    """The terminals of users who are logged in now; nothing is written to them."""
    modes = {path: _mode(path) for path in (f"/dev/{line}" for line in terminal_lines())}
    missing = [path for path, mode in modes.items() if mode is None]
    closed = [
        path
        for path, mode in modes.items()
        # One that others may not write to is of a user who wants no messages.
        if mode is not None and mode & stat.S_IWGRP and not os.access(path, os.W_OK)
    ]
    if missing:
        probe.warn(
            "terminals",
            "terminal-missing",
            f"{missing[0]} is not there",
            "under systemd, write PrivateDevices=false into the unit",
        )
    if closed:
        probe.warn(
            "terminals",
            "terminal-not-writable",
            f"user {os.geteuid()} may not write to {closed[0]}, whose user wants messages",
            "let the relay's user be in the group tty, or check as the relay's user",
        )
    if not missing and not closed:
        probe.passed("terminals", f"users are logged in at {counted(len(modes), 'terminal')}")


def _mode(path: str) -> int | None:
    """None = it is not there."""
    try:
        return os.stat(path).st_mode
    except OSError:
        return None


def room_at(path: str) -> tuple[int, int]:
    """Bytes that the user has free, and all, of the file system that `path` is or will be on."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _probe_room(probe: Probe, directory: str) -> None:
    free, whole = room_at(directory)
    shown = f"{size(free)} of {size(whole)} are free at {directory}"
    if not free:
        probe.fail("disk", "disk-full", shown, "make room")
    elif free * 100 < whole * _FREE_PERCENT_MIN:
        probe.warn("disk", "disk-nearly-full", shown, "make room before lines cannot be written")
    else:
        probe.passed("disk", shown)


def _fail_access(probe: Probe, path: str, fault: str, what: str) -> None:
    owner = os.stat(path)
    probe.fail(
        "path",
        fault,
        f"user {user_name(os.geteuid())} {what} {path}, which belongs to user "
        f"{user_name(owner.st_uid)} with mode {owner.st_mode & 0o7777:04o}",
        "choose another path, or change its owner or mode; check as the relay's user",
    )
