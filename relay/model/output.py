"""What a destination sends: formats, stamps, and which pairs a JSON object gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

FORMATS = ("rfc5424", "rfc3164", "ewmm", "json", "template", "raw")

STAMP_FORMATS = ("bsd", "full", "iso", "unix")
FRAC_DIGITS_MAX = 9

SCOPES = (
    *("nv-pairs", "dot-nv-pairs", "all-nv-pairs", "rfc3164", "core", "base", "rfc5424"),
    *("syslog-proto", "selected-macros", "sdata", "all-macros", "everything", "none"),
)
"""Names of scopes.  ``none`` cancels those before it."""

TYPES = (
    *("string", "int32", "int", "integer", "int64", "float", "double", "boolean", "datetime"),
    *("list", "json", "literal", "null"),
)
"""What a pair of a selection can be in JSON."""

ON_ERROR = (
    *("drop-message", "drop-property", "fallback-to-string"),
    *("silently-drop-message", "silently-drop-property", "silently-fallback-to-string"),
)
"""Handling of a value that does not fit its type."""


class SizeLimit(NamedTuple):
    """How long payloads may be, and what happens to longer ones."""

    bytes_max: int
    policy: str
    """truncate, drop, split or quarantine."""
    whose: str
    """For people."""


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """How the key of each record is made (`relay.rewrite.forms.record_key`)."""

    text: str
    """A template; right ones only."""
    escape: Callable[[bytes], bytes]
    """Applied to values and defaults of macros, not to the text around them; may see any bytes."""
    finish: Callable[[bytes], bytes]
    """Applied to the whole; depends on nothing else.  Of its result NUL and LF become ``_``, and
    what is longer than 1,024 bytes is cut."""


Transform = tuple[str, int | str | tuple[str, str]]
"""One of `value_pairs.TRANSFORMS` and its argument."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Names to take, or to leave out; ``*`` and ``?`` are wildcards."""

    glob: str
    takes: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of the selection's own."""

    name: str
    template: str
    kind: str = "string"
    """One of `TYPES`."""


@dataclass(frozen=True, slots=True)
class Rekey:
    """How to change the names that `glob` fits; the transforms follow one another."""

    glob: str
    transforms: tuple[Transform, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The selection of pairs, and their names."""

    scopes: tuple[str, ...] | None = None
    """Names of `SCOPES`; None = the default ones if nothing else is
    asked for, or else none."""
    patterns: tuple[Pattern, ...] = ()
    pairs: tuple[Pair, ...] = ()
    rekeys: tuple[Rekey, ...] = ()
    """Applied one after the other, each to the names that the one before has left."""
    omits_empty: bool = False
    keeps_initial_dot: bool = False
    """If not, a dot at the beginning of a name becomes an underscore."""
    on_error: str = "fallback-to-string"
    """One of `ON_ERROR`."""
