"""How payloads are written: by a program of compiled code, or by a writer in Python.

Programs are data: rows of pieces that `relay/codec/forms.pyx` writes for each line, without a
message.  The writer of the same form is the reference, writes the lines that the program leaves,
messages that steps have changed, and everything where there is no compiled code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Protocol

from relay.codec import IS_COMPILED, Lines, native
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.rewrite.forms.token import sender_of
from relay.rewrite.json.text import json_string
from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc5424 import header_hostname
from relay.wire.headers.tag import format_tag
from relay.wire.headers.timestamp import CONVERSIONS, Convert

if TYPE_CHECKING:
    from relay.codec.objects import ObjectWriter  # exists only where there is compiled code

__all__ = ["Form", "Program", "Writer", "form_of", "messages_of_each"]

Writer = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]
"""Makes one payload of each message, in the same order."""
Suffixes = Callable[[Origin, bytes, tuple[bytes, ...]], tuple[bytes, bytes, bytes]]
"""What ends the envelopes of an origin, by its sender and the tags of a line: without an exact
stamp, before and behind one."""


class Form(Protocol):
    """Writes payloads, one of each line or message, in order."""

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The payloads of lines, or of those at `indexes`, which ascend."""
        ...

    def write_messages(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        """The payloads of messages of one origin."""
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """A form for compiled code.

    Attributes:
        pieces: What is written, in order (`relay/codec/forms.pyx`).
        policy: What is program and what is text.
        relay_name: HOST of lines that name none, from local senders.
        zone: Of stamps that have no offset.
        tokens, token_key, objects, before_text: Arguments of `relay.codec.forms.Form`.
        to_bsd: How stamps of RFC 3164 are written, if they are.
        suffixes: Of envelopes.
    """

    pieces: Sequence[tuple[str, object]]
    policy: str
    relay_name: bytes
    zone: tzinfo
    tokens: Collection[bytes] | None = None
    token_key: bytes = b""
    objects: ObjectWriter | None = None
    before_text: bytes = b""
    to_bsd: Convert | None = None
    suffixes: Suffixes = lambda origin, sender, tags: (b"", b"", b"")


class _Written:
    """A form that Python writes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        payloads: list[bytes] = []
        for messages, origin in messages_of_each(lines, indexes, arrival):
            payloads += self._writer(messages, origin)
        return payloads

    def write_messages(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return self._writer(messages, origin)


class _Compiled(_Written):
    """A form that compiled code writes, as far as it can."""

    def __init__(self, writer: Writer, program: Program) -> None:
        super().__init__(writer)
        self._native = native.forms.Form(
            program.pieces,
            program.policy,
            native.stamps.Stamps(program.zone, (*CONVERSIONS, *filter(None, [program.to_bsd]))),
            lambda origin: _bound(program, origin),
            lambda origin, tags: program.suffixes(
                origin, sender_of(origin, program.relay_name), tags
            ),
            writer,
            format_tag=format_tag,
            format_host=format_hostname,
            format_hostname=header_hostname,
            tokens=program.tokens,
            token_key=program.token_key,
            objects=program.objects,
            before_text=program.before_text,
        )

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        if isinstance(lines, native.lines.Lines):
            return self._native.write(lines, indexes, arrival)
        return super().write(lines, indexes, arrival)


def form_of(writer: Writer, program: Program | None = None) -> Form:
    """The form that `writer` writes, and `program` in compiled code where that is there."""
    if program is None or not IS_COMPILED:
        return _Written(writer)
    return _Compiled(writer, program)


def messages_of_each(
    lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
) -> list[tuple[Sequence[SyslogMessage], Origin]]:
    """The messages of lines, or of those at `indexes`, by origin; no origin without messages."""
    return [(lines.messages(run), origin) for run, origin in arrival.chosen(indexes)]


def _bound(program: Program, origin: Origin) -> tuple[bytes, bytes, bytes]:
    """How the sender of an origin is named in a form: as HOST, HOSTNAME and JSON string."""
    sender = sender_of(origin, program.relay_name)
    return format_hostname(sender), header_hostname(sender), json_string(sender)
