"""A disk that is full, and has room again, for the queue of one relay."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.relay_process import RelayProcess

__all__ = ["FileSizeLimit", "SmallDisk", "SmallMount", "small_mount"]


class SmallDisk(Protocol):
    """What holds only a few megabytes for the relay."""

    def apply(self, relay: RelayProcess) -> None:
        """The relay runs: from now on the disk is small."""

    def enlarge(self, relay: RelayProcess) -> None:
        """There is room again, for this process or for the next one."""


class FileSizeLimit:
    """RLIMIT_FSIZE, which needs no rights: writing past it fails with EFBIG."""

    def __init__(self, size: int) -> None:
        self._size = size

    def apply(self, relay: RelayProcess) -> None:
        _, hard = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (self._size, hard))

    def enlarge(self, relay: RelayProcess) -> None:
        if relay.is_running:  # the next process has no limit
            _, hard = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (hard, hard))


class SmallMount:
    """A file system of its own in memory: writing past its end fails with ENOSPC."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def apply(self, relay: RelayProcess) -> None:
        """It has been so from the beginning."""

    def enlarge(self, relay: RelayProcess) -> None:
        _run("mount", "-o", f"remount,size={2**30}", str(self._folder))


@contextmanager
def small_mount(folder: Path, size: int) -> Iterator[SmallMount | None]:
    """Mount it at `folder`; None where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or _run(
        "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)
    ):
        yield None
        return
    try:
        yield SmallMount(folder)
    finally:
        _run("umount", "--lazy", str(folder))  # somebody may still be in it


def _run(*command: str) -> int:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode
    except FileNotFoundError:  # no mount here
        return 1
