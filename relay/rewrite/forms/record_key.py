"""Record keys: what a destination has to know of a record beside its payload.

The name of the file that it goes to, or of an index.  The key is rendered at the way in, where the
message is known, and stands before the payload in the queue:

    NUL KEY SP key NUL payload

A key has at most 1,024 bytes, and neither NUL nor LF.  Only records of kinds with
`DestinationConfiguration.record_key` have one.  The mark before it tells them from others, whatever
the configuration says today: so tools show the key apart, and records that were queued for another
kind of destination are sent without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from relay.codec import Lines, beginning_with
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.model.output import KeyTemplate
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.forms.form import Form, messages_of_each
from relay.rewrite.macros import compile_template
from relay.wire.hops import records_with_hops, split_hops

KEY_BYTES_MAX = 1024
PART_SEPARATOR = b"\x1f"
"""US, between the parts of a key that has several; in values it becomes ``_``."""

_NUL = 0
_KEYED = re.compile(rb"\0KEY ([^\0\n]{0,%d})\0" % KEY_BYTES_MAX)
_DELIMITERS = re.compile(rb"[\0\n]")
_KEYS_KEPT = 1024  # few files or indexes get most messages


def with_key(key: bytes, payload: bytes) -> bytes:
    """A record of a key, which has to be one, and a payload."""
    return b"\0KEY %b\0%b" % (key, payload)


def split_key(record: bytes) -> tuple[bytes | None, bytes]:
    """The key of a record, None if it has none, and its payload, without the hops before it."""
    found = _KEYED.match(record) if record[:1] == b"\0" else None
    return (None, split_hops(record)[1]) if found is None else (found[1], record[found.end() :])


def without_keys(records: Sequence[bytes], *, keep_hops: bool = False) -> Sequence[bytes]:
    """The payloads of records, of which any may have a key, or hops."""
    marked = beginning_with(records, _NUL)
    if not marked:
        return records
    payloads = list(records)
    for index in marked:
        if not keep_hops or _KEYED.match(payloads[index]):
            payloads[index] = split_key(payloads[index])[1]
    return payloads


class Keyed(Form):
    """A form whose payloads have keys before them; an empty payload stays empty.

    Args:
        form: Makes one payload of each message.

    Raises:
        ValueError: The template is wrong; says what, and at which character.
    """

    def __init__(self, form: Form, template: KeyTemplate, context: MacroContext) -> None:
        self._form = form
        self._context = context
        self._column = compile_template(template.text, context, escape=template.escape)

        def finished(rendered: bytes) -> bytes:
            return _DELIMITERS.sub(b"_", template.finish(rendered))[:KEY_BYTES_MAX]

        self._finished = finished
        self._remembered = lru_cache(_KEYS_KEPT)(finished)

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The records of lines, or of those at `indexes`."""
        keys: list[bytes] = []
        for messages, origin in messages_of_each(lines, indexes, arrival):
            keys += self._keys(messages, origin)
        return _records(keys, self._form.write(lines, indexes, arrival))

    def _keys(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [
            # What a peer makes long is not kept in memory.
            self._remembered(text) if len(text) <= KEY_BYTES_MAX else self._finished(text)
            for text in self._column(Batch(messages, origin, self._context))
        ]


class WithHops(Form):
    """A form whose payloads have the hops of their messages before them, if there are any."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The records of lines, or of those at `indexes`."""
        return hops_before(self._form.write(lines, indexes, arrival), indexes, arrival)


def hops_before(
    payloads: Sequence[bytes], indexes: Sequence[int] | None, arrival: Arrival
) -> Sequence[bytes]:
    """The records of payloads, one of each line or of those at `indexes`."""
    if not any(origin.hops for _, origin in arrival.runs):
        return records_with_hops(payloads, b"")
    records: list[bytes] = []
    for run, origin in arrival.chosen(indexes):
        start = len(records)
        records += records_with_hops(payloads[start : start + len(run)], origin.hops)
    return records


def _records(keys: Sequence[bytes], payloads: Sequence[bytes]) -> list[bytes]:
    pairs = zip(keys, payloads, strict=True)
    return [payload and with_key(key, payload) for key, payload in pairs]
