"""How the interpreter is set for work in batches, and what it runs of its own."""

from __future__ import annotations

import gc
import sys

from relay.codec import IS_COMPILED

__all__ = ["is_pure", "set_for_batches"]

_GARBAGE_THRESHOLDS = (50_000, 1, 1)
_SWITCH_SECONDS = 0.0001


def is_pure() -> bool:
    """Whether something is done in Python that could be compiled; `relay` says when."""
    return not IS_COMPILED


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
