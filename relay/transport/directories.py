"""Creates directories for paths in the configuration."""

from __future__ import annotations

import os

from twisted.logger import Logger

__all__ = ["make_parents"]

_log = Logger(namespace="relay")


def make_parents(path: str) -> None:
    """Create missing parent directories of `path`, and log each: it may be a typo.

    Raises:
        OSError: One cannot be made.
    """
    missing = []
    directory = os.path.dirname(path) or "."
    while not os.path.isdir(directory) and directory not in ("", "/"):
        missing.append(directory)
        directory = os.path.dirname(directory) or "."
    for directory in reversed(missing):
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            what_to_do = "make it and let the relay's user write to it, or choose another path"
            if os.path.lexists(directory):
                what_to_do = "move away what lies there, or choose another path"
            words = f"cannot make the directory {directory}: {error.strerror}; {what_to_do}"
            raise OSError(error.errno, words) from error
        _log.info("made directory {directory} for {path}", directory=directory, path=path)
