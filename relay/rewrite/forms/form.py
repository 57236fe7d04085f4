"""How payloads are written: by a program of compiled code, or by a writer in Python.

Programs are data: rows of pieces that `relay/codec/forms.pyx` writes for each line, without a
message.  The writer of the same form is the reference, writes the lines that the program leaves,
messages that steps have changed, and everything where there is no compiled code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, Protocol

from relay.codec import IS_COMPILED, Lines, native
from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.model.token import Token
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.ewmm import header_of, suffixes_of_origin
from relay.rewrite.forms.formats import bsd_stamps
from relay.rewrite.forms.token import (
    RFC5424,
    RSYSLOG,
    TOKEN_KEY,
    Header,
    Writer,
    object_writer,
    sender_of,
    token_member,
)
from relay.rewrite.json.text import COOKIE, json_string
from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc5424 import header_hostname
from relay.wire.headers.tag import format_tag
from relay.wire.headers.timestamp import CONVERSIONS, Convert, StampForm

if TYPE_CHECKING:
    from relay.codec.objects import ObjectWriter  # exists only where there is compiled code

Suffixes = Callable[[Origin, bytes, tuple[bytes, ...]], tuple[bytes, bytes, bytes]]
"""What ends the envelopes of an origin, by its sender and the tags of a line: without an exact
stamp, before and behind one."""


Piece = bytes | str | tuple[str, object]
"""A literal, an operation of `relay/codec/forms.pyx`, or one with its argument."""


class Form(Protocol):
    """Writes payloads, one of each line or message, in order."""

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The payloads of lines, or of those at `indexes`, which ascend."""
        ...

    def write_messages(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        """The payloads of messages of one origin."""
        arrival = Arrival.of_one(len(messages), origin)
        return list(self.write(Messages(messages), None, arrival))


@dataclass(frozen=True, slots=True)
class Program:
    """A form for compiled code.

    Attributes:
        pieces: Written in this order.
        policy: What is program and what is text.
        relay_name: HOST of lines that name none, from local senders.
        zone: Of stamps that have no offset.
        tokens, token_key, objects, before_text: Arguments of `relay.codec.forms.Form`.
        to_bsd: How stamps of RFC 3164 are written, if they are.
        suffixes: Of envelopes.
    """

    pieces: Sequence[Piece]
    policy: str
    relay_name: bytes
    zone: tzinfo
    tokens: Collection[bytes] | None = None
    token_key: bytes = b""
    objects: ObjectWriter | None = None
    before_text: bytes = b""
    to_bsd: Convert | None = None
    suffixes: Suffixes = lambda origin, sender, tags: (b"", b"", b"")


class _Written(Form):
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

        def bound(origin: Origin) -> tuple[bytes, bytes, bytes]:
            """How a sender is named: as HOST, HOSTNAME and JSON string."""
            sender = sender_of(origin, program.relay_name)
            return format_hostname(sender), header_hostname(sender), json_string(sender)

        self._native = native.forms.Form(
            [_with_argument(piece) for piece in program.pieces],
            program.policy,
            native.stamps.Stamps(program.zone, (*CONVERSIONS, *filter(None, [program.to_bsd]))),
            bound,
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


def _with_argument(piece: Piece) -> tuple[str, object]:
    if isinstance(piece, tuple):
        return piece
    return ("literal", piece) if isinstance(piece, bytes) else (piece, None)


def messages_of_each(
    lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
) -> list[tuple[Sequence[SyslogMessage], Origin]]:
    """The messages of lines, or of those at `indexes`, by origin; no origin without messages."""
    return [(lines.messages(run), origin) for run, origin in arrival.chosen(indexes)]


_LEGACY_START: tuple[Piece, ...] = ("pri", ("stamp", StampForm.RFC3339), b" ", "host", b" ")
_MODERN_START: tuple[Piece, ...] = ("pri", b"1 ", ("stamp", StampForm.RFC5424), b" ", "hostname")
_MODERN_END: tuple[Piece, ...] = (b" ", "procid", b" ", "msgid", b" ", "sdata", "marked-text")


def token_program(
    mode: str,
    token: Token,
    zone: tzinfo,
    *,
    relay_name: bytes,
    known: Collection[bytes] = (),
    header: Header = RSYSLOG,
) -> Program | None:
    """Of the form `mode`: cee and json (without structured data in the object; None without
    compiled code), tag or app-name."""
    secret, key = token.reveal(), TOKEN_KEY.encode("ascii")
    program = partial(
        Program, relay_name=relay_name, zone=zone, tokens=(secret, *known), token_key=key
    )
    start = _LEGACY_START
    if header.name == "rfc3164":
        start = ("pri", ("stamp", StampForm.BSD), *_LEGACY_START[2:])
        program = partial(program, to_bsd=header.convert)
    if mode == "tag":
        return program((*start, secret + b":", "text"), "names-lost")
    if mode == "app-name":
        return program((*_MODERN_START, b" " + secret, *_MODERN_END), "names-lost")
    if not IS_COMPILED:
        return None
    member = token_member(token)
    cookie = COOKIE + b" " if mode == "cee" else b""
    before: tuple[Piece, ...] = (
        *start,
        "tag",
        cookie if header == RSYSLOG and cookie else b" " + cookie,
    )
    if header == RFC5424:
        fields: tuple[Piece, ...] = ("app-name", b" ", "procid", b" ", "msgid", b" ")
        before = (*_MODERN_START, b" ", *fields, "sdata" if cookie else b"-", b" " + cookie)
    return program(
        (*before, "object"),
        "names-kept",
        objects=native.objects.ObjectWriter(key, member, object_writer(token)),
        before_text=b'{%b, "message": ' % member,
    )


def format_program(name: str, context: MacroContext) -> Program | None:
    """Of the format `name`; None if it is written in Python only, as one with options is."""
    program = partial(Program, relay_name=context.relay_name, zone=context.zone)
    if name == "ewmm":
        suffixes = partial(suffixes_of_origin, context.hop)
        return program(_envelope(context.relay_name), "as-read", suffixes=suffixes)
    if context.frac_digits is not None or context.time_zone is not None:
        return None
    if name == "rfc5424":
        return program((*_MODERN_START, b" ", "app-name", *_MODERN_END), "app-name-room")
    if name == "rfc3164":
        is_iso = context.ts_format == "iso"
        stamp = ("stamp", StampForm.RFC3339 if is_iso else StampForm.BSD)
        return program(
            ("pri", stamp, *_LEGACY_START[2:], "tag-and-text"),
            "whole-tags",
            to_bsd=None if is_iso else bsd_stamps(context),
        )
    return None


def _envelope(relay_name: bytes) -> tuple[Piece, ...]:
    return (
        *("pri", b"1 ", ("stamp", StampForm.MILLISECONDS), b" %b " % header_of(relay_name)),
        *("sdata", b" {"),
        ("member", (b'"PROGRAM":', "app-name")),
        ("member", (b'"PID":', "procid")),
        ("member", (b'"MSGID":', "msgid")),
        *(b'"MESSAGE":', "string", "header-member"),
        *(b',"HOST_FROM":', "sender-string", b',"HOST":', "host-string", "origin-end"),
    )
