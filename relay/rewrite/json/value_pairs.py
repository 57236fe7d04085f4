"""Value-pairs: the selection and renaming of a message's names and values for output.

A selection works in this order: scopes say what is taken to begin with; patterns add and
take away, in the order in which they are written, so that the last one that fits a name
decides; pairs of its own are added to that; then names are changed.  Of
equal names a pair of the selection's own goes before a macro, and a macro before a
pair of the message.

Macros with nothing in them are left out.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from string import ascii_lowercase, ascii_uppercase

import msgspec

from relay.model.message import JsonText, SyslogMessage
from relay.model.output import Pair, Rekey, Selection
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.fields import PREFIX, array_of, element_pairs
from relay.rewrite.json.text import Layouts, Strings
from relay.rewrite.macros import (
    ALIASES,
    FIELD_NAMES,
    HARD_MACROS,
    compile_macro,
    compile_template,
    compile_value,
    origin_pairs,
)
from relay.wire.list_syntax import parse_list

_DECIMAL = re.compile(rb"[+-]?[0-9]{1,19}")
_HEXADECIMAL = re.compile(rb"[+-]?0[xX][0-9a-fA-F]{1,16}")
_REAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNIX_TIME = re.compile(rb"[+-]?[0-9]{1,19}(?:\.[0-9]{1,9})?(?:[+-][0-9]{2}:[0-9]{2})?")
_REAL_BYTES_MAX = 400
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n", b"  ")
_BOOLEANS = {
    **dict.fromkeys((b"t", b"T", b"1"), JsonText(b"true")),
    **dict.fromkeys((b"f", b"F", b"0"), JsonText(b"false")),
}
_raw = msgspec.json.Decoder(msgspec.Raw)


def _integer(text: bytes, limit: int) -> JsonText | None:
    if _DECIMAL.fullmatch(text) is not None:
        number = int(text)
    elif _HEXADECIMAL.fullmatch(text) is not None:
        number = int(text, 16)
    else:
        return None
    return JsonText(b"%d" % number) if -limit <= number < limit else None


def _double(text: bytes) -> JsonText | None:
    """A finite number; JSON has no others."""
    if len(text) > _REAL_BYTES_MAX or _REAL.fullmatch(text) is None:
        return None
    number = float(text)
    return JsonText(repr(number).encode("ascii")) if abs(number) != float("inf") else None


def _boolean(text: bytes) -> JsonText | None:
    return _BOOLEANS.get(text[:1])


def _json(text: bytes) -> JsonText | None:
    text = text.strip(b" \t\r\n")
    try:
        _raw.decode(text)
        text.decode()  # the decoder skips values without looking at their encoding
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return JsonText(text.translate(_LINE_ENDS_TO_SPACE))


_CASTS: Mapping[str, Callable[[bytes], bytes | None]] = {
    "string": lambda text: text,
    "int32": partial(_integer, limit=2**31),
    **dict.fromkeys(("int", "integer", "int64"), partial(_integer, limit=2**63)),
    **dict.fromkeys(("float", "double"), _double),
    "boolean": _boolean,
    # Seconds since 1970, which JSON holds as a string.
    "datetime": lambda text: text if _UNIX_TIME.fullmatch(text) is not None else None,
    "list": lambda text: array_of(parse_list(text)),
    **dict.fromkeys(("json", "literal"), _json),
    "null": lambda text: JsonText(b"null"),
}


def cast(kind: str) -> Callable[[bytes], bytes | None]:
    """The function that makes a value of a type of `relay.model.output.TYPES`; None = no fit."""
    return _CASTS[kind]


_LEGACY_HEADER = "LEGACY_MSGHDR"
# Soft macros that have a column of their own.
_STATIC = (*FIELD_NAMES, _LEGACY_HEADER)
# Names that exist only if they are asked for by name.
_ON_DEMAND = (*ALIASES, "RAWMSG")
# Names come from peers; the product bounds the cache.
_NAMES_MAX = 4096
_NAME_CHARACTERS_MAX = 256

Report = Callable[[str, int], None]
"""Receives the name of a pair, and how many values of a batch do not fit its type."""


_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
TRANSFORMS: Mapping[str, Callable[..., Callable[[str], str]]] = {
    "shift": lambda count: lambda name: name[count:],
    "shift_levels": lambda count: lambda name: ".".join(name.split(".")[count:]),
    "add_prefix": lambda prefix: lambda name: prefix + name,
    "replace_prefix": lambda change: (
        lambda name: change[1] + name[len(change[0]) :] if name.startswith(change[0]) else name
    ),
    "upper": lambda _: lambda name: name.translate(_UPPER),
    "lower": lambda _: lambda name: name.translate(_LOWER),
}
"""What can be done to names: cut so many characters or levels from the beginning, put
a prefix before, change a prefix, and change the case of ASCII letters."""


class ValuePairs:
    """Selects pairs of messages.

    Args:
        report: Receives values that do not fit their type, unless `on_error` is silent.

    Raises:
        ValueError: The template of a pair is wrong; says which.
    """

    def __init__(
        self, selection: Selection, context: MacroContext, report: Report | None = None
    ) -> None:
        self._names = _Names(selection)
        self._layouts = Layouts()
        self._omits_empty = selection.omits_empty
        self._drops_message = selection.on_error.endswith("drop-message")
        self._drops_property = selection.on_error.endswith("drop-property")
        self._report = None if selection.on_error.startswith("silently-") else report
        exact = {pattern.glob for pattern in selection.patterns if pattern.takes}
        soft = [*_STATIC, *(name for name in _ON_DEMAND if name in exact)]
        self._fields = [
            (new_name, compile_value(name))
            for name in soft
            if (new_name := self._names[name]) is not None
        ]
        self._macros = [
            (new_name, compile_macro(name, context))
            for name in sorted(HARD_MACROS)
            if (new_name := self._names[name]) is not None
        ]
        self._pairs = [
            (self._names.renamed(pair.name), cast(pair.kind), _template(pair, context))
            for pair in selection.pairs
        ]

    def json(self, batch: Batch) -> list[bytes | None]:
        """A JSON object for each message, on one line; None as from `select`."""
        write = self._layouts.write
        strings = Strings()
        return [None if pairs is None else write(pairs, strings) for pairs in self.select(batch)]

    def select(self, batch: Batch) -> Iterator[dict[str, bytes] | None]:
        """The pairs of each message, or None for one that `on_error` drops.

        Numbers, booleans, lists and null are `JsonText`.
        """
        columns: list[tuple[str, Sequence[bytes | None]]] = []
        for name, values in self._fields:
            column = values(batch)
            columns.append((name, [v or None for v in column] if self._omits_empty else column))
        for name, macro in self._macros:
            columns.append((name, [value or None for value in macro(batch)]))
        dropped: set[int] = set()
        for name, convert, template in self._pairs:
            columns.append((name, self._converted(name, convert, template(batch), dropped)))
        shared = self._renamed(origin_pairs(batch))
        for index, message in enumerate(batch.messages):
            if index in dropped:
                yield None
                continue
            own = {name: value for name, c in columns if (value := c[index]) is not None}
            # Most messages have no names but those with columns.
            if shared or message.structured_data is not None or _has_more(message.pairs):
                own = {**shared, **self._renamed(_pairs_of(message)), **own}
            yield own

    def _renamed(self, pairs: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those of `pairs` that are selected, under their new names."""
        names = self._names
        return {
            new_name: value
            for name, value in pairs.items()
            if (new_name := names[name]) is not None and (value or not self._omits_empty)
        }

    def _converted(
        self,
        name: str,
        convert: Callable[[bytes], bytes | None],
        texts: list[bytes],
        dropped: set[int],
    ) -> list[bytes | None]:
        """Values of a pair with a type; what does not fit is treated as `on_error` says."""
        values: list[bytes | None] = []
        failures = 0
        for index, text in enumerate(texts):
            if self._omits_empty and not text:
                values.append(None)
                continue
            value = convert(text)
            if value is None:
                failures += 1
                if self._drops_message:
                    dropped.add(index)
                elif not self._drops_property:
                    value = text
            values.append(value)
        if failures and self._report is not None:
            self._report(name, failures)
        return values


class _Names(dict[str, str | None]):
    """New names by old ones; None for names that are not selected."""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        asks = bool(selection.pairs) or any(pattern.takes for pattern in selection.patterns)
        scopes = selection.scopes
        self._scope = Scope(DEFAULT_SCOPES if scopes is None and not asks else scopes or ())
        self._patterns = [(_fits(pattern.glob), pattern.takes) for pattern in selection.patterns]
        rekeys = selection.rekeys
        if not selection.keeps_initial_dot:
            rekeys = (*rekeys, Rekey(".*", (("replace_prefix", (".", "_")),)))
        self._rekeys = [
            (_fits(rekey.glob), [TRANSFORMS[word](value) for word, value in rekey.transforms])
            for rekey in rekeys
        ]

    def __missing__(self, name: str) -> str | None:
        is_taken = self._scope.has(name)
        for fits, takes in self._patterns:
            if fits(name):
                is_taken = takes
        new_name = self.renamed(name) if is_taken else None
        if len(name) <= _NAME_CHARACTERS_MAX:
            if len(self) >= _NAMES_MAX:
                self.clear()
            self[name] = new_name
        return new_name

    def renamed(self, name: str) -> str:
        """`name` after all changes."""
        for fits, transforms in self._rekeys:
            if fits(name):
                for transform in transforms:
                    name = transform(name)
        return name


def _fits(glob: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(glob.replace("[", "[[]"))).match


def _template(pair: Pair, context: MacroContext) -> Callable[[Batch], list[bytes]]:
    try:
        return compile_template(pair.template, context)
    except ValueError as error:
        raise ValueError(f"pair {pair.name}: {error}") from None


def _has_more(pairs: Mapping[str, bytes] | None) -> bool:
    """Whether there are pairs besides the one that parsing makes."""
    return pairs is not None and (len(pairs) > 1 or _LEGACY_HEADER not in pairs)


def _pairs_of(message: SyslogMessage) -> Mapping[str, bytes]:
    """The pairs of a message that have no column."""
    pairs = {
        name: value
        for name, value in (message.pairs or {}).items()
        if name not in _STATIC and not name.startswith(PREFIX)
    }
    return {**pairs, **element_pairs(message)}


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
