"""How much address space the queue's file is mapped into.

LMDB cannot enlarge a map while there are readers, and a full map cannot even delete.  So the map
is made for a larger limit than the configured one where the address space has room: a reload can
then raise `relay.queue_bytes_max` at once.  It costs nothing: the kernel keeps page tables for
touched pages only, cgroups count no addresses, and the file stays as long as its contents.
"""

from __future__ import annotations

import mmap

_SLACK_BYTES = 1024**3
_MAPS = 2  # a compaction maps the old file and the new one

ROOMY_BYTES_MAX = 512 * 1024**3
"""The limit of the queue that a reload can raise it to without a restart."""


def map_bytes_for(bytes_max: int) -> int:
    """The size of the map of a queue of at most `bytes_max`: admission has to close long before."""
    return 2 * bytes_max + _SLACK_BYTES


def bytes_max_of(map_bytes: int) -> int:
    """The largest limit of a queue for which a map of that size is enough."""
    return (map_bytes - _SLACK_BYTES) // 2


def roomy_map_bytes(bytes_max: int) -> int:
    """The size of a map with room for a limit that is raised later, if addresses allow that.

    They do not where ``ulimit -v`` or ``LimitAS=`` is small, on 32-bit machines, or with 39-bit
    addresses as some kernels for arm64 have them.

    Args:
        bytes_max: What the limit is now.
    """
    least, roomy = map_bytes_for(bytes_max), map_bytes_for(ROOMY_BYTES_MAX)
    return roomy if roomy > least and _has_addresses(_MAPS * roomy) else least


def _has_addresses(size: int) -> bool:
    # Read-only and private, which no kernel counts as memory, whatever vm.overcommit_memory is.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        mmap.mmap(-1, size, flags=flags, prot=mmap.PROT_READ).close()
    except (OSError, OverflowError):
        return False
    return True
