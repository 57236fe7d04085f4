"""Take a value apart into pairs: JSON, key=value, CSV, a regular expression, a date.

Each function makes a `Change`.  What does not fit leaves the message as it is, but
for a tag, so that a filter further on can tell.  A value whose name, prefix included, is
that of a field (HOST, PROGRAM, PID, MSGID, MESSAGE, or an alias) sets this field, as in
syslog-ng; every other value becomes a pair.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo

from relay.model.expression import Expression
from relay.model.message import SyslogMessage
from relay.rewrite.fields import MACRO_FIELDS, getter, setter
from relay.rewrite.steps.pipeline import Change, per_message
from relay.wire.json.pairs import flatten_json, text_of

NOT_PARSED_TAG = b"syslogrelay.not-parsed"

_PAIRS_MAX = 1000  # of one value
_COOKIES = (b"@cee:", b"@cim:")
_CONTROL = re.compile(r"[\r\n\0]")

_SETTERS = {name: setter(name) for name in MACRO_FIELDS}

_Found = Mapping[str, bytes] | None


def parse_json(source: str, prefix: str) -> Change:
    """Members of a JSON object, nested names joined with dots; a cookie may precede it."""

    def take_apart(value: bytes) -> _Found:
        text = value.lstrip(b" \t\r\n")
        for cookie in _COOKIES:
            text = text.removeprefix(cookie)
        return flatten_json(text)

    return _parsing(source, prefix, take_apart)


def parse_key_values(
    source: str, prefix: str, *, pair_separator: str = " ", value_separator: str = "="
) -> Change:
    """``key=value`` pairs; values in double or single quotes may hold the separators.

    Words without a separator are passed over.
    """
    between, assign = re.escape(pair_separator.encode()), re.escape(value_separator.encode())
    pattern = re.compile(
        rb"""(?:\A|(?<=%s))\s*+([^\s"'%s]{1,255})%s(?:"((?:[^"\\]|\\.)*+)"|'([^']*+)'|((?:(?!%s).)*+))"""
        % (between, re.escape(value_separator.encode()[:1]), assign, between),
        re.DOTALL,
    )

    def take_apart(value: bytes) -> _Found:
        found: dict[str, bytes] = {}
        for key, double, single, bare in pattern.findall(value):
            if len(found) == _PAIRS_MAX:
                break
            text = re.sub(rb"\\(.)", rb"\1", double, flags=re.DOTALL) if double else single or bare
            found[key.decode("utf-8", "backslashreplace")] = text
        return found or None

    return _parsing(source, prefix, take_apart)


def parse_csv(
    source: str, prefix: str, columns: Sequence[str], *, delimiter: str = ",", greedy: bool = False
) -> Change:
    """Columns of a comma separated value (RFC 4180), by the names of `columns`.

    Args:
        delimiter: One character.
        greedy: The last column takes the rest of the value as it is; otherwise
            more columns than names do not fit.
    """

    def take_apart(value: bytes) -> _Found:
        if greedy:
            cells = value.split(delimiter.encode(), len(columns) - 1)
            return dict(zip(columns, cells, strict=False)) if len(cells) == len(columns) else None
        # latin-1 makes a character of each byte and back
        text = _CONTROL.sub(" ", value.decode("latin-1"))
        try:
            row = next(csv.reader([text], delimiter=delimiter, strict=True), [])
        except csv.Error:
            return None
        if not 0 < len(row) <= len(columns):
            return None
        return {name: cell.encode("latin-1") for name, cell in zip(columns, row, strict=False)}

    return _parsing(source, prefix, take_apart)


def parse_regex(source: str, prefix: str, pattern: Expression) -> Change:
    """The named groups of `pattern`, found anywhere in the value; those that took part."""

    return _parsing(source, prefix, pattern.captures)


def parse_date(source: str, format: str, zone: tzinfo) -> Change:
    """Make the value the message's time stamp.

    Args:
        format: As for `datetime.strptime`, or ``iso`` (RFC 3339) or ``unix`` (seconds).
        zone: Of dates without an offset.
    """
    value_of = getter(source)

    def change(message: SyslogMessage) -> SyslogMessage:
        value = value_of(message)
        if value is None:
            return message
        moment = _moment(value.decode("latin-1").strip(), format, zone)
        if moment is None:
            return _not_parsed(message)
        return message._replace(timestamp=_stamp(moment))

    return per_message(change)


def check_date_format(format: str) -> None:
    """Raise ValueError if `format` is none for `parse_date`."""
    if format in ("iso", "unix"):
        return
    moment = datetime(2024, 2, 29, 13, 14, 15, tzinfo=UTC)
    try:
        datetime.strptime(moment.strftime(format), format)
    except (ValueError, re.error) as error:
        raise ValueError(f"not a date format: {error}") from None
    if "%Y" not in format and "%y" not in format and "%s" not in format and "%c" not in format:
        raise ValueError("a date format without a year (%Y or %y) says nothing certain")


def _parsing(source: str, prefix: str, take_apart: Callable[[bytes], _Found]) -> Change:
    value_of = getter(source)

    def change(message: SyslogMessage) -> SyslogMessage:
        value = value_of(message)
        if value is None:
            return message
        found = take_apart(value)
        if found is None:
            return _not_parsed(message)
        values = {prefix + name: text for name, text in found.items()}
        pairs = {name: text for name, text in values.items() if name not in _SETTERS}
        message = message._replace(pairs={**(message.pairs or {}), **pairs} or None)
        for name, text in values.items():
            if name in _SETTERS:
                message = _SETTERS[name](message, text_of(text))
        return message

    return per_message(change)


def _not_parsed(message: SyslogMessage) -> SyslogMessage:
    if NOT_PARSED_TAG in message.tags:
        return message
    return message._replace(tags=(*message.tags, NOT_PARSED_TAG))


def _moment(text: str, format: str, zone: tzinfo) -> datetime | None:
    try:
        if format == "unix":
            return datetime.fromtimestamp(float(text), zone)
        if format == "iso":
            moment = datetime.fromisoformat(text)
        else:
            moment = datetime.strptime(text, format)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        moment.utctimetuple()  # years that no offset leads out of
    except (ValueError, OverflowError, OSError):
        return None
    return moment


def _stamp(moment: datetime) -> bytes:
    digits = "microseconds" if moment.microsecond else "seconds"
    offset = moment.utcoffset()
    assert offset is not None
    if offset.seconds % 60 or offset.microseconds:  # RFC 3339 has none
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec=digits).encode("ascii")
