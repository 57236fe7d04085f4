"""Which events of the log are written: those of a level and above, for each namespace.

The log belongs to the process, as Twisted's does, and so do its levels: there is one `LOG_LEVELS`.
"""

from __future__ import annotations

import re

from relay.model.debug import LEVELS, TOPICS
from relay.model.text import Document

_NAMESPACES_MAX = 32
_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_OURS = ("relay", *(topic.namespace for topic in TOPICS))
_TWISTED = "twisted"


class LogLevels:
    """Levels by namespace; that of a namespace holds for all below it that have none.

    Attributes:
        level: Of all namespaces that have no other one.
        configured: What it is at the start.
        namespaces: Levels that were set by hand.
    """

    def __init__(self) -> None:
        self.configured = self.level = "info"
        self.namespaces: dict[str, str] = {}

    def configure(self, level: str) -> None:
        """Begin with what the configuration says; forgets what was set."""
        self.configured = level
        self.set(level)

    def set(self, level: str, namespace: str = "") -> None:
        """Write events of `level` and above from now on.

        Args:
            namespace: Empty = of all, and no namespace has another level any more.

        Raises:
            ValueError: There is no such level, or nothing is logged under this namespace.
        """
        if level not in LEVELS:
            raise ValueError(f"there is no level {level!r}; the levels are {', '.join(LEVELS)}")
        if not namespace:
            self.level = level
            self.namespaces.clear()
        else:
            is_known = namespace in _OURS or namespace.split(".")[0] == _TWISTED
            if not is_known or not _NAMESPACE.fullmatch(namespace):
                raise ValueError(
                    f"nothing is logged as {namespace[:100]!r}; the namespaces are "
                    f"{', '.join(_OURS)} and those that begin with {_TWISTED}"
                )
            if namespace not in self.namespaces and len(self.namespaces) >= _NAMESPACES_MAX:
                raise ValueError(
                    f"{_NAMESPACES_MAX} namespaces have levels; set one for all, without a "
                    "namespace, to forget them"
                )
            self.namespaces[namespace] = level
        for topic in TOPICS:
            topic.is_on = self.level_of(topic.namespace) == "debug"

    def level_of(self, namespace: str) -> str:
        """The least level that is written."""
        return self._set_for(namespace) or self.level

    def shows(self, namespace: str, level: str) -> bool:
        """Whether an event is written; levels that are none of `LEVELS` always are."""
        if level not in LEVELS:
            return True
        return LEVELS.index(level) >= LEVELS.index(self.level_of(namespace))

    def names(self, namespace: str) -> bool:
        """Whether a level was set by hand for `namespace` itself, or one around it."""
        return bool(self._set_for(namespace))

    def report(self) -> Document:
        """For the status document."""
        return {
            "level": self.level,
            "configured": self.configured,
            "namespaces": dict(self.namespaces),
        }

    def _set_for(self, namespace: str) -> str:
        while namespace and self.namespaces:
            if found := self.namespaces.get(namespace):
                return found
            namespace = namespace.rpartition(".")[0]
        return ""


LOG_LEVELS = LogLevels()
