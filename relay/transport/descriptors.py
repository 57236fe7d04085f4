"""How many file descriptors are left for connections and files."""

from __future__ import annotations

import os
import resource

__all__ = ["DESCRIPTORS_RESERVED", "descriptors_limit", "descriptors_left"]

DESCRIPTORS_RESERVED = 16
"""Reserved for the control socket's connections, files and upstreams."""


def descriptors_limit() -> int:
    """The limit of open descriptors of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptors_left() -> int:
    """An upper bound of the descriptors that can still be opened.

    The kernel gives out the lowest number that is free, so all below it are in use.
    """
    try:
        lowest_free = os.dup(0)
    except OSError:  # none is left, or standard input is closed
        try:
            lowest_free = os.open("/", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return 0
    os.close(lowest_free)
    return max(0, descriptors_limit() - lowest_free)
