"""The limit of open files: every connection is one."""

from __future__ import annotations

import resource
from collections.abc import Iterable

from relay.service.configuration.model import SourceConfiguration
from relay.transport.connections import DESCRIPTORS_RESERVED

__all__ = ["open_files_warning", "raise_open_files_limit"]

_OWN_FILES = 32  # of the process, its queue and its threads


def raise_open_files_limit() -> None:
    """Take as many as the system allows us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_warning(sources: Iterable[SourceConfiguration], destinations: int) -> str:
    """What to say if there are fewer than the relay may need; empty if there are enough.

    Args:
        destinations: How many there are.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = files = listeners = 0
    for source in sources:
        listeners += 1
        of_source = source.connections_and_files
        connections += of_source[0]
        files += of_source[1]
    own = _OWN_FILES + DESCRIPTORS_RESERVED + listeners + destinations
    needed = connections + files + own
    if hard == resource.RLIM_INFINITY or needed <= hard:
        return ""
    return (
        f"this process may have {hard:,} files open, and could need {needed:,}: "
        f"{connections:,} for connections (connections_max of all sources), {files:,} for files "
        f"that are read (files_max), {own} of its own; raise LimitNOFILE= of the unit or ulimit "
        "-n, or lower connections_max"
    )
