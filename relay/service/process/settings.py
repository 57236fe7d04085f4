"""What the relay sets in its process: garbage collector, threads, timers, open files."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

from relay.service.configuration.model import SourceConfiguration
from relay.transport.connections import DESCRIPTORS_RESERVED

_GARBAGE_THRESHOLDS = (50_000, 1, 1)
_SWITCH_SECONDS = 0.0001
_OWN_FILES = 32  # of the process, its queue and its threads


def set_for_batches() -> None:
    """Set garbage collector and threads of this process; once all modules are loaded.

    **Garbage**: thousands of objects live as long as one batch, and none of them is in a
    cycle.  With the default of 700 the collector looked for cycles once a batch: 6 % of
    the CPU time of a message.  Connections that are gone are in cycles; so that they do not
    pile up, all that is not frozen is looked through when there are about 200,000 more
    objects, which is those of 8,000 connections.  More often would slow down what has
    long batches.

    **Threads**: a commit lets go of the interpreter a few times, for LMDB and for the
    disk, and while the reactor is busy it gets it back after this interval each time.  With
    the default of 5 ms commits took so long that ever more messages came meanwhile, until
    the drain had to read from the disk what it could have had from memory.
    """
    gc.freeze()  # modules and configuration stay
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_SECONDS)


def run_steadily(reactor: Any) -> None:
    """Have `reactor` measure time with a clock that nobody sets.

    Twisted's reactors go by `time.time`.  When that is set back by an hour, a timer of a
    second takes an hour and a second.  All of a reactor's own code asks `self.seconds` (and
    each delayed call keeps what that was when it was made), so replacing it is enough;
    Twisted has no other way to say it.  Calls that are scheduled already keep their delay.
    """
    before = reactor.seconds
    if before is time.monotonic:
        return
    scheduled = [(call, call.getTime() - before()) for call in reactor.getDelayedCalls()]
    reactor.seconds = time.monotonic
    for call, delay in scheduled:
        call.seconds = time.monotonic
        call.reset(max(0.0, delay))


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
