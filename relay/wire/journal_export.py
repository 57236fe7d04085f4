"""Cut systemd's journal export format into entries (systemd.io/JOURNAL_EXPORT_FORMATS).

    FIELD=value LF                       a value without LF and control characters
    FIELD LF length data LF              any other; the length has 64 bits, little endian
    LF                                   the end of an entry

Needs: chunks of any size, values of hundreds of megabytes (core dumps) that are not
kept, no exception.  Approach: a step for each kind of thing that can come next; it
says how far it got, and what it could not use yet waits for the next chunk.  Only
names, lengths and short lines ever wait; long values are collected up to the limit,
and the rest of them is counted.

An entry comes out when its empty line has come in.  One that the stream breaks off
in is not taken at all: whoever reads on from a cursor gets it again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relay.model.errors import FramingError

_NAME = re.compile(rb"[A-Z0-9_]{1,256}")
# An entry with text values only, as most are, is read in one pass.
_TEXT_ENTRY = re.compile(rb"(?:[^=\n]++=[^\n]*+\n)++\n")
_TEXT_FIELD = re.compile(rb"([^=\n]+)=([^\n]*)\n")
_LENGTH_BYTES = 8
_LINE_BYTES_MAX = 4096  # a line without its end that is longer is collected in parts
_VALUE_BYTES_MAX = 2**30  # journald's own limit is 768 MiB


class JournalEntry(NamedTuple):
    fields: list[tuple[bytes, bytes]]
    """Names and values in the order of the journal; a name may be repeated."""
    cut: dict[bytes, int]
    """Bytes that a value had before it was cut, by the name of the field."""


class JournalExportDecoder:
    """Decode a stream of entries.

    Args:
        field_bytes_max: How much of a value is kept, in bytes.
        entry_bytes_max: The same for all names and values of an entry.
        fields_max: Further fields of an entry are left out.

    Attributes:
        error: The error that ended decoding, or None.  There is no resynchronisation point
            after it: the caller has to begin anew, from a cursor.
        left_out: Fields that were left out because of `fields_max`, so far.
    """

    def __init__(
        self, *, field_bytes_max: int, entry_bytes_max: int, fields_max: int = 1024
    ) -> None:
        self.error: FramingError | None = None
        self.left_out = 0
        self._field_bytes_max = field_bytes_max
        self._entry_bytes_max = entry_bytes_max
        self._fields_max = fields_max
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._entries: list[JournalEntry] = []
        self._step = self._lines
        # The entry so far, and the field whose value arrives in parts.
        self._fields: list[tuple[bytes, bytes]] = []
        self._cut: dict[bytes, int] = {}
        self._room = entry_bytes_max
        self._name = b""
        self._value_begun = bytearray()
        self._value_bytes = 0
        self._to_come = 0

    def feed(self, chunk: bytes) -> list[JournalEntry]:
        """Take the next bytes of the stream; return the entries that they complete."""
        if self.error is not None or not chunk:
            return []
        if (
            self._step == self._lines
            and b"\n" not in chunk
            and self._held_bytes + len(chunk) <= _LINE_BYTES_MAX
        ):
            self._held.append(chunk)
            self._held_bytes += len(chunk)
            return []
        if self._held:
            chunk = b"".join((*self._held, chunk))
        start, stop = 0, len(chunk)
        while start < stop and self.error is None:
            reached = self._step(chunk, start)
            if reached == start:
                break
            start = reached
        self._held = [chunk[start:]] if start < stop else []
        self._held_bytes = stop - start
        entries, self._entries = self._entries, []
        return entries

    def finish(self) -> None:
        """Note the end of the stream; an entry without its end is then an error."""
        begun = self._fields or self._held or self._step != self._lines
        if begun and self.error is None:
            self.error = FramingError("the stream ends within an entry")

    # Each consumes a part of `chunk` from `start` on and returns where it stopped.

    def _lines(self, chunk: bytes, start: int) -> int:
        find = chunk.find
        fields = self._fields
        while (stop := find(b"\n", start)) >= 0:
            if not fields:
                start = self._text_entries(chunk, start)
                if (stop := find(b"\n", start)) < 0:
                    break
            if stop == start:
                if fields:
                    self._end_entry()
                    fields = self._fields
                start += 1
                continue
            equals = find(b"=", start, stop)
            if equals <= start:
                return self._begin_binary(chunk, start, stop)
            room = self._room - (stop - start)
            if (
                room >= 0
                and stop - equals <= self._field_bytes_max
                and len(fields) < self._fields_max
            ):
                self._room = room
                fields.append((chunk[start:equals], chunk[equals + 1 : stop]))
            else:
                self._add(chunk[start:equals], chunk[equals + 1 : stop], stop - equals - 1)
            start = stop + 1
        if len(chunk) - start > _LINE_BYTES_MAX:
            return self._begin_long_line(chunk, start)
        return start

    def _text_entries(self, chunk: bytes, start: int) -> int:
        """Take the entries at `start` that are there whole, have only text and fit."""
        size_max = min(self._field_bytes_max, self._entry_bytes_max)
        while (entry := _TEXT_ENTRY.match(chunk, start)) and entry.end() - start <= size_max:
            fields = _TEXT_FIELD.findall(chunk, start, entry.end())
            if len(fields) > self._fields_max:
                break
            self._entries.append(JournalEntry(fields, {}))
            start = entry.end()
        return start

    def _long_line(self, chunk: bytes, start: int) -> int:
        stop = chunk.find(b"\n", start)
        if stop < 0:
            self._collect(chunk, start, len(chunk))
            return len(chunk)
        self._collect(chunk, start, stop)
        self._end_value()
        return stop + 1

    def _length(self, chunk: bytes, start: int) -> int:
        data = chunk[start : start + _LENGTH_BYTES]
        if len(data) < _LENGTH_BYTES:
            return start
        length = int.from_bytes(data, "little")
        if length > _VALUE_BYTES_MAX:
            return self._fail(
                start, f"field {self._shown(self._name)} has {length:,} bytes, more than 1 GiB"
            )
        self._to_come = length
        self._step = self._value if length else self._line_feed
        return start + _LENGTH_BYTES

    def _value(self, chunk: bytes, start: int) -> int:
        stop = min(start + self._to_come, len(chunk))
        self._collect(chunk, start, stop)
        self._to_come -= stop - start
        if not self._to_come:
            self._step = self._line_feed
        return stop

    def _line_feed(self, chunk: bytes, start: int) -> int:
        if chunk[start] != 0x0A:
            name = self._shown(self._name)
            return self._fail(start, f"no line feed after the value of the field {name}")
        self._end_value()
        return start + 1

    def _begin_binary(self, chunk: bytes, start: int, stop: int) -> int:
        name = chunk[start:stop]
        if not _NAME.fullmatch(name):
            return self._fail(start, f"expected the name of a field, found {self._shown(name)}")
        self._name = name
        self._step = self._length
        return stop + 1

    def _begin_long_line(self, chunk: bytes, start: int) -> int:
        equals = chunk.find(b"=", start, start + _LINE_BYTES_MAX)
        if equals <= start:
            name = self._shown(chunk[start:])
            return self._fail(start, f"expected the name of a field, found {name}")
        self._name = chunk[start:equals]
        self._step = self._long_line
        return equals + 1

    def _collect(self, chunk: bytes, start: int, stop: int) -> None:
        self._value_bytes += stop - start
        room = self._field_bytes_max - len(self._value_begun)
        if room > 0:
            self._value_begun += chunk[start : min(stop, start + room)]

    def _end_value(self) -> None:
        self._add(self._name, bytes(self._value_begun), self._value_bytes)
        self._value_begun = bytearray()
        self._value_bytes = 0
        self._step = self._lines

    def _add(self, name: bytes, kept: bytes, size: int) -> None:
        """Add a field whose kept beginning is `kept` and whose full length is `size`."""
        if len(self._fields) >= self._fields_max:
            self.left_out += 1
            return
        kept = kept[: max(0, min(self._field_bytes_max, self._room - len(name) - 1))]
        self._fields.append((name, kept))
        self._room -= len(name) + 1 + len(kept)
        if len(kept) < size:
            self._cut[name] = size

    def _end_entry(self) -> None:
        self._entries.append(JournalEntry(self._fields, self._cut))
        self._fields, self._cut = [], {}
        self._room = self._entry_bytes_max

    def _fail(self, start: int, reason: str) -> int:
        self.error = FramingError(reason)
        return start

    @staticmethod
    def _shown(name: bytes) -> str:
        return repr(name[:40])[1:]
