"""The keys that only a source of scheme journald has: what they may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from relay.service.configuration.table import shown

__all__ = ["FieldNames", "Matches"]

# systemd.journal-fields(7), sd_journal_add_match(3): at most 64 octets.
_FIELD = r"[A-Z_][A-Z0-9_]{0,63}"
_MATCH = re.compile(rf"{_FIELD}=[^\0]*", re.DOTALL)
_NAME = re.compile(_FIELD)
_COUNT_MAX = 100


@dataclass(frozen=True, slots=True)
class Matches:
    """A list of ``FIELD=value`` and ``+``, as journalctl takes them."""

    def read(self, value: object) -> tuple[str, ...]:
        matches = _texts(value, 'a list such as ["_TRANSPORT=kernel", "+", "SYSLOG_FACILITY=10"]')
        for match in matches:
            if match != "+" and not _MATCH.fullmatch(match):
                raise ValueError(
                    "expected FIELD=value, with a field of systemd.journal-fields(7), or '+' "
                    f"between alternatives, found {shown(match)}"
                )
        if "+" in (matches[:1] + matches[-1:]) or ("+", "+") in pairwise(matches):
            raise ValueError("'+' stands between two matches; remove it elsewhere")
        return matches


@dataclass(frozen=True, slots=True)
class FieldNames:
    """A list of names of fields; may be empty."""

    def read(self, value: object) -> tuple[str, ...]:
        names = _texts(value, 'a list of fields such as ["_SYSTEMD_UNIT", "_UID"]')
        for number, name in enumerate(names):
            # RFC 5424 §6.3.2: a PARAM-NAME has at most 32 characters.
            if not _NAME.fullmatch(name) or len(name) > 32:
                raise ValueError(
                    "expected names of fields, as in systemd.journal-fields(7) and at most 32 "
                    f"characters long, found {shown(name)}"
                )
            if name in names[:number]:
                raise ValueError(f"{shown(name)} is in the list twice; remove one")
        return names


def _texts(value: object, allowed: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected {allowed}, found {shown(value)}")
    if len(value) > _COUNT_MAX:
        raise ValueError(f"expected at most {_COUNT_MAX} of them, found {len(value)}")
    return tuple(value)
