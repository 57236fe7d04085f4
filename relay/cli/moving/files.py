"""The files of a configuration that is imported: read with limits, includes sorted."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

__all__ = ["ImportRefused", "InputFiles"]

FILE_BYTES_MAX = 4 * 1024 * 1024
TOTAL_BYTES_MAX = 64 * 1024 * 1024
FILES_MAX = 1000
DEPTH_MAX = 32


class ImportRefused(Exception):
    """The configuration cannot be read at all; the text is one line that names the file."""


class InputFiles:
    """Reads files, and knows which of them is inside which.

    Limits: 4 MiB for a file, 64 MiB and 1,000 files for all, 32 files inside each other.
    """

    def __init__(self) -> None:
        self._inside: list[tuple[str, str]] = []
        self._count = self._bytes = 0

    @contextmanager
    def opened(self, path: str) -> Iterator[str]:
        """The text of the file at `path`; what is opened meanwhile is included by it.

        Bytes that are not UTF-8 become U+FFFD.

        Raises:
            ImportRefused: It includes itself, or a limit is exceeded.
            OSError: It cannot be read.
        """
        identity = os.path.realpath(path)
        chain = [shown for shown, _ in self._inside] + [path]
        if any(identity == other for _, other in self._inside):
            raise ImportRefused(
                f"{path}: includes itself ({' → '.join(chain)}); remove one of the includes"
            )
        if len(self._inside) >= DEPTH_MAX:
            raise ImportRefused(f"{path}: more than {DEPTH_MAX} files include each other")
        self._count += 1
        if self._count > FILES_MAX:
            raise ImportRefused(f"{path}: more than {FILES_MAX} files; import them in parts")
        data = _content_of(path)
        self._bytes += len(data)
        if self._bytes > TOTAL_BYTES_MAX:
            raise ImportRefused(f"{path}: more than 64 MiB in all; import the files in parts")
        text = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
        self._inside.append((path, identity))
        try:
            yield text
        finally:
            self._inside.pop()

    def matching(self, pattern: str) -> list[str]:
        """The files that `pattern` names, sorted as the shell sorts them.

        A relative pattern is relative to the file that is open.  A pattern without wildcards is
        returned as it is, whether there is such a file or not.
        """
        if self._inside:
            pattern = os.path.join(os.path.dirname(self._inside[-1][0]), pattern)
        if not glob.has_magic(pattern):
            return [pattern]
        found = (path for path in glob.iglob(pattern) if not os.path.isdir(path))
        return sorted(islice(found, FILES_MAX + 1))  # more are refused when they are opened


def _content_of(path: str) -> bytes:
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImportRefused(f"{path}: is no file; name a configuration file")
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ImportRefused(f"{path}: longer than 4 MiB, the longest file that is read")
    return data
