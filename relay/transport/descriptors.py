"""Whether file descriptors are left, for those who open more of them when somebody asks."""

from __future__ import annotations

import os
import resource

__all__ = ["DESCRIPTORS_RESERVED", "descriptors_limit", "descriptors_left"]

DESCRIPTORS_RESERVED = 16
"""Kept for what the relay itself opens: the control socket's connections, files, upstreams."""


def descriptors_limit() -> int:
    """How many this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptors_left() -> int:
    """How many more can be opened, at most.

    The kernel gives out the lowest number that is free, so all below it are in use.
    """
    try:
        lowest_free = os.dup(0)
    except OSError:  # none is left, or there is no standard input to ask with
        try:
            lowest_free = os.open("/", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return 0
    os.close(lowest_free)
    return max(0, descriptors_limit() - lowest_free)
