"""Run a program of Python and write down what LMDB does in it: `-m tests.crash.watched_relay`.

The first argument is a file that gets a letter when a call has come back:

    w   bytes were written, and are in the kernel's memory
    s   what was written to the file before is on disk
    m   bytes were written through a descriptor that waits for the disk (O_DSYNC)

The others are the program and its arguments.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import sys

from tests.crash.interposer import interpose


class Letters:
    """Writes the letters."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._letter = b""

    def write(self, fd: int, offset: int, data: bytes) -> int:
        waits = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DSYNC
        self._letter = b"m" if waits else b"w"
        return 0

    def sync(self, fd: int) -> int:
        self._letter = b"s"
        return 0

    def other(self, name: str) -> int:
        self._letter = b""
        return 0

    def done(self, fd: int) -> None:
        os.write(self._fd, self._letter)


if __name__ == "__main__":
    kept = interpose(Letters(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
