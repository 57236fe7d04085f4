"""Whether the configuration file is still the one that the relay was started with."""

from __future__ import annotations

import hashlib

from twisted.logger import Logger

__all__ = ["ConfigurationChange"]


class ConfigurationChange:
    """Remembers a configuration file as it is now.

    Args:
        path: Empty = there is none.
    """

    _log = Logger(namespace="relay")

    def __init__(self, path: str) -> None:
        self._path = path
        self._digest = _digest_of(path)

    def look(self) -> None:
        """Say so if it has changed: the relay goes on with what it has read."""
        if self._path and _digest_of(self._path) != self._digest:
            self._log.warn(
                "{path}: the configuration has changed; restart to use it", path=self._path
            )


def _digest_of(path: str) -> bytes:
    """Of its contents; empty where it cannot be read."""
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except OSError:
        return b""
