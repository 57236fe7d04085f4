"""Look at what the relay as a whole needs of its host: the state directory, disk, descriptors."""

from __future__ import annotations

import os

from relay.model.text import size
from relay.service.configuration.model import Configuration
from relay.service.probes.files import probe_directory, room_at
from relay.service.probes.probe import Probe
from relay.service.process.settings import open_files_warning
from relay.service.queue.state_dir import obstacles_in


def probe_host(probe: Probe, configuration: Configuration) -> None:
    """The state directory, its disk and the limit of open files."""
    state_dir = configuration.state_dir
    obstacles = obstacles_in(state_dir, may_forget=configuration.allow_volatile_state)
    for obstacle in obstacles:
        probe.fail("state_dir", "state-dir-unfit", obstacle, "change state_dir")
    if not obstacles and probe_directory(probe, state_dir):
        _probe_room(probe, configuration)
    count = len(configuration.destinations)
    if lack := open_files_warning(configuration.sources, count):
        probe.warn("descriptors", "descriptors-low", *lack.split("; ", 1))
    else:
        probe.passed("descriptors", "enough file descriptors for connections_max of all sources")


def _probe_room(probe: Probe, configuration: Configuration) -> None:
    free, _ = room_at(configuration.state_dir)
    used = _size_of(os.path.join(configuration.state_dir, "queue", "data.mdb"))
    wanted = max(0, configuration.queue_bytes_max - used)
    usable = free - configuration.min_free_bytes
    shown = f"{size(free)} are free for the queue at {configuration.state_dir}"
    if usable <= 0:
        limit = size(configuration.min_free_bytes)
        probe.fail(
            "disk",
            "disk-full",
            f"{shown}, less than min_free_bytes ({limit}): sources are paused",
            "make room, choose another state_dir, or lower min_free_bytes",
        )
    elif usable < wanted:
        limit = size(configuration.queue_bytes_max)
        probe.warn(
            "disk",
            "disk-smaller-than-queue",
            f"{shown}: the disk is full before the queue has queue_bytes_max ({limit})",
            "lower queue_bytes_max, make room, or choose another state_dir",
        )
    else:
        probe.passed("disk", shown)


def _size_of(path: str) -> int:
    """Bytes on disk; 0 if there is no such file."""
    try:
        return os.stat(path).st_blocks * 512
    except OSError:
        return 0
