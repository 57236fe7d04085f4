"""Scopes of value-pairs: names for groups of macros and name-value pairs."""

from __future__ import annotations

from collections.abc import Sequence

from relay.rewrite.elements import PREFIX
from relay.rewrite.template.macros import HARD_MACROS

__all__ = ["DEFAULT_SCOPES", "Scope"]

DEFAULT_SCOPES = ("selected-macros", "nv-pairs", "sdata")

_RFC3164 = ("FACILITY", "PRIORITY", "HOST", "PROGRAM", "PID", "MESSAGE", "DATE")
_NAMES = {
    **dict.fromkeys(("rfc3164", "core", "base"), _RFC3164),
    **dict.fromkeys(("rfc5424", "syslog-proto"), (*_RFC3164, "MSGID")),
    "selected-macros": (*_RFC3164, "TAGS", "SOURCEIP", "SEQNUM"),
    "all-macros": tuple(sorted(HARD_MACROS)),
    "everything": (*_RFC3164, "MSGID", *sorted(HARD_MACROS)),
}
_WITH_SDATA = {"rfc5424", "syslog-proto", "sdata", "dot-nv-pairs", "all-nv-pairs", "everything"}
_WITH_PLAIN_PAIRS = {"nv-pairs", "all-nv-pairs", "everything"}
_WITH_DOT_PAIRS = {"dot-nv-pairs", "all-nv-pairs", "everything"}


class Scope:
    """The union of the scopes of one selection."""

    def __init__(self, scopes: Sequence[str]) -> None:
        chosen: set[str] = set()
        for scope in scopes:
            chosen = set() if scope == "none" else {*chosen, scope}
        self._names = frozenset(name for scope in chosen for name in _NAMES.get(scope, ()))
        self._has_elements = bool(chosen & _WITH_SDATA)
        self._has_pairs = bool(chosen & _WITH_PLAIN_PAIRS)
        self._has_dot_pairs = bool(chosen & _WITH_DOT_PAIRS)

    def has(self, name: str) -> bool:
        """Whether the macro or pair `name` is in one of the scopes."""
        if name in self._names:
            return True
        if name in HARD_MACROS:
            return False
        if name.startswith("."):
            return self._has_dot_pairs or (self._has_elements and name.startswith(PREFIX))
        return self._has_pairs
