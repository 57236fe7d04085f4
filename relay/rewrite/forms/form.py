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
from relay.model.token import Token
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.ewmm import header_of, suffixes_of_origin
from relay.rewrite.forms.formats import bsd_stamps
from relay.rewrite.forms.token import TOKEN_KEY, Writer, members_of, object_writer, sender_of
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


_KEY = TOKEN_KEY.encode("ascii")
_LEGACY_START = (("pri", None), ("stamp", StampForm.RFC3339), ("literal", b" "), ("host", None))
_MODERN_START = (
    ("pri", None),
    ("literal", b"1 "),
    ("stamp", StampForm.RFC5424),
    ("literal", b" "),
    ("hostname", None),
    ("literal", b" "),
)
_MODERN_END = (
    ("literal", b" "),
    ("procid", None),
    ("literal", b" "),
    ("msgid", None),
    ("literal", b" "),
    ("sdata", None),
    ("marked-text", None),
)


def cee_program(
    token: Token, zone: tzinfo, *, relay_name: bytes, known: Collection[bytes] = ()
) -> Program | None:
    """`forms.token.cee` without tags and structured data; None without compiled code."""
    if not IS_COMPILED:
        return None
    members = members_of(token)
    pieces = (
        *_LEGACY_START,
        ("literal", b" "),
        ("tag", None),
        ("literal", COOKIE + b" "),
        ("object", None),
    )
    return Program(
        pieces,
        "names-kept",
        relay_name,
        zone,
        tokens=(token.reveal(), *known),
        token_key=_KEY,
        objects=native.objects.ObjectWriter(_KEY, members, members, object_writer(token)),
        before_text=b'{%b, "message": ' % members,
    )


def tag_program(
    token: Token, zone: tzinfo, *, relay_name: bytes, known: Collection[bytes] = ()
) -> Program:
    """`relay.rewrite.forms.token.tag`."""
    secret = token.reveal()
    pieces = (*_LEGACY_START, ("literal", b" %b:" % secret), ("text", None))
    return Program(pieces, "names-lost", relay_name, zone, tokens=(secret, *known), token_key=_KEY)


def app_name_program(
    token: Token, zone: tzinfo, *, relay_name: bytes, known: Collection[bytes] = ()
) -> Program:
    """`relay.rewrite.forms.token.app_name`."""
    secret = token.reveal()
    pieces = (*_MODERN_START, ("literal", secret), *_MODERN_END)
    return Program(pieces, "names-lost", relay_name, zone, tokens=(secret, *known), token_key=_KEY)


def rfc5424_program(relay_name: bytes, zone: tzinfo) -> Program:
    """`relay.rewrite.forms.formats.rfc5424` with stamps as they come."""
    pieces = (*_MODERN_START, ("app-name", None), *_MODERN_END)
    return Program(pieces, "app-name-room", relay_name, zone)


def rfc3164_program(relay_name: bytes, zone: tzinfo, to_bsd: Convert | None) -> Program:
    """`forms.formats.rfc3164`, with BSD stamps or, if there is no `to_bsd`, RFC 3339."""
    stamp = StampForm.RFC3339 if to_bsd is None else StampForm.BSD
    pieces = (
        ("pri", None),
        ("stamp", stamp),
        *_LEGACY_START[2:],
        ("literal", b" "),
        ("tag-and-text", None),
    )
    return Program(pieces, "whole-tags", relay_name, zone, to_bsd=to_bsd)


def format_program(name: str, context: MacroContext) -> Program | None:
    """The format `name`; None if it is written in Python only, as one with options is."""
    if name == "ewmm":
        return ewmm_program(context.relay_name, context.zone)
    if context.frac_digits is not None or context.time_zone is not None:
        return None
    if name == "rfc5424":
        return rfc5424_program(context.relay_name, context.zone)
    if name == "rfc3164":
        to_bsd = None if context.ts_format == "iso" else bsd_stamps(context)
        return rfc3164_program(context.relay_name, context.zone, to_bsd)
    return None


def ewmm_program(relay_name: bytes, zone: tzinfo) -> Program:
    """`relay.rewrite.forms.ewmm.ewmm`."""
    pieces = (
        ("pri", None),
        ("literal", b"1 "),
        ("stamp", StampForm.MILLISECONDS),
        ("literal", b" %b " % header_of(relay_name)),
        ("sdata", None),
        ("literal", b" {"),
        ("member", (b'"PROGRAM":', "app-name")),
        ("member", (b'"PID":', "procid")),
        ("member", (b'"MSGID":', "msgid")),
        ("literal", b'"MESSAGE":'),
        ("string", None),
        ("header-member", None),
        ("literal", b',"HOST_FROM":'),
        ("sender-string", None),
        ("literal", b',"HOST":'),
        ("host-string", None),
        ("origin-end", None),
    )
    return Program(pieces, "as-read", relay_name, zone, suffixes=suffixes_of_origin)
