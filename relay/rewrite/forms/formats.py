"""Output formats: RFC 5424, RFC 3164, EWMM, JSON, a template, or unchanged frames.

    rfc5424   <PRI>1 STAMP HOST APP-NAME PROCID MSGID STRUCTURED-DATA MSG
    rfc3164   <PRI>STAMP HOST PROGRAM[PID]: MSG

Rules that bind this file:

1. A header holds nothing but PRINTUSASCII and single spaces, whatever came in; and what
   has been written is read again as the same fields.
2. Each message makes one payload.  One that a template leaves empty is a single space,
   because an empty record cannot be sent.  An empty payload stands for a message
   that the selection of a JSON object has dropped, as its `on_error` says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.output import Selection
from relay.rewrite.batch import Batch, MacroContext, in_zone, moment_of
from relay.rewrite.fields import elements_of
from relay.rewrite.forms.ewmm import ewmm
from relay.rewrite.forms.token import (
    Writer,
    byte_order_mark_of,
    has_legacy_header,
    hostname_of,
    legacy_header,
    sender_of,
)
from relay.rewrite.json.value_pairs import Report, ValuePairs
from relay.rewrite.template.macros import compile_template
from relay.rewrite.template.time_macros import bsd_date, iso_date
from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc5424 import APP_NAME_BYTES_MAX, format_header, format_message
from relay.wire.headers.tag import NO_TAG, format_tag, read_tag
from relay.wire.headers.timestamp import Convert, StampTable, to_rfc3339, to_rfc5424

EMPTY = b" "
"""Payload of a message for which a template is empty."""

_DIGITS_MAX = 6  # RFC 5424 §6.2.3
_PRINTABLE = re.compile(rb"[^\x00-\x1f\x7f]++")
_PRINTUSASCII = re.compile(rb"[!-~]++")
# As words after a stamp, "last message repeated" and "Message forwarded from" are read in
# their own way; behind these hosts a tag needs its colon to be one.
_FIRST_OF_A_PHRASE = (b"last", b"Message")


def new_format(
    name: str,
    context: MacroContext,
    *,
    template: str = "",
    selection: Selection | None = None,
    report: Report | None = None,
) -> Writer | None:
    """The function that writes the format `name`; None if frames pass as they are.

    Args:
        name: One of `relay.model.output.FORMATS`.
        context: Its time_zone, frac_digits and ts_format apply to stamps.  rfc3164 knows
            the ts_format bsd and iso, rfc5424 only iso; both take no notice of others.
        template: For the format template.
        selection: For the format json.
        report: For the format json, see `ValuePairs`.

    Raises:
        ValueError: `template` or that of a pair is wrong, or frac_digits is more than 6 for
            RFC 5424.
    """
    if name == "rfc5424":
        return rfc5424(context)
    if name == "rfc3164":
        return rfc3164(context)
    if name == "ewmm":
        return ewmm(context.relay_name, context.zone)
    if name == "json":
        return _json(ValuePairs(selection or Selection(), context, report), context)
    if name == "template":
        return _from_template(template, context)
    assert name == "raw", name
    return None


def rfc5424(context: MacroContext) -> Writer:
    """Write RFC 5424.  A byte order mark that a message had is put back before MSG.

    Stamps keep the digits that they have, six at most, unless `context` says how many.

    Raises:
        ValueError: `context` asks for more than six digits.
    """
    if context.frac_digits is not None and context.frac_digits > _DIGITS_MAX:
        raise ValueError(f"RFC 5424 allows {_DIGITS_MAX} digits, not {context.frac_digits}")
    convert = _iso_stamps(context, to_rfc5424)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(convert, origin.received_at, context.zone)
        sender = sender_of(origin, context.relay_name)
        payloads = []
        for message in messages:
            app_name, msg = _program_and_text(message, APP_NAME_BYTES_MAX)
            header = format_header(
                message.pri,
                stamps[message.timestamp],
                hostname_of(message) or sender,
                app_name,
                message.procid,
                message.msgid,
                elements_of(message),
            )
            if message.version or message.is_utf8:
                msg = byte_order_mark_of(message) + msg
            payloads.append(format_message(header, msg))
        return payloads

    return rewrite


def rfc3164(context: MacroContext) -> Writer:
    """Write RFC 3164: stamp, host and tag are never missing.

    A BSD stamp says no offset, so that whoever reads it takes it for local time: it
    is written in the time_zone of `context`, or else in its local zone.
    """
    is_iso = context.ts_format == "iso"
    convert = _iso_stamps(context, to_rfc3339) if is_iso else bsd_stamps(context)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(convert, origin.received_at, context.zone)
        sender = sender_of(origin, context.relay_name)
        return [
            b"<%d>%s %s %s"
            % (
                message.pri,
                stamps[message.timestamp],
                format_hostname(hostname_of(message) or sender),
                _tag_and_text(message),
            )
            for message in messages
        ]

    return rewrite


def _json(pairs: ValuePairs, context: MacroContext) -> Writer:
    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [payload or b"" for payload in pairs.json(Batch(messages, origin, context))]

    return rewrite


def _from_template(text: str, context: MacroContext) -> Writer:
    render = compile_template(text, context)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [payload or EMPTY for payload in render(Batch(messages, origin, context))]

    return rewrite


def _program_and_text(message: SyslogMessage, octets_max: int) -> tuple[bytes | None, bytes]:
    """APP-NAME and MSG.

    What can be no APP-NAME as it is stays whole, in front of the text: a name with blanks or
    in another script, and a long word that only lacks the colon of a text (RFC 3164 §4.1.3).
    """
    app_name = message.app_name
    header = legacy_header(message) if app_name is not None else b""
    if app_name is None or not header:
        return app_name, message.msg
    is_word = b":" not in header and b"[" not in header
    if _PRINTUSASCII.fullmatch(app_name) is None or (is_word and len(app_name) > octets_max):
        return None, header + message.msg
    return app_name, message.msg


def _tag_and_text(message: SyslogMessage) -> bytes:
    """The tag as it came if it can be, and MSG; without a tag MSG alone if it looks like none."""
    literal, msg = legacy_header(message), message.msg
    if message.hostname not in _FIRST_OF_A_PHRASE:
        if literal and _PRINTABLE.fullmatch(literal) is not None:
            if literal[-1:] == b" " or msg[:1] != b" ":
                return literal + msg
        elif message.pairs is not None and literal == b"" and _is_plain_text(message):
            return msg
    app_name, text = _program_and_text(message, len(message.app_name or b""))
    return b"%s %s" % (format_tag(app_name, message.procid), text)


def _is_plain_text(message: SyslogMessage) -> bool:
    """Whether it came without a tag, and its MSG is read as text again behind a host."""
    if not has_legacy_header(message) or message.app_name or message.procid:
        return False
    return message.msg[:1] not in (b"", b" ") and read_tag(message.msg, 0) == NO_TAG


def _iso_stamps(context: MacroContext, keep: Convert) -> Convert:
    """`keep`, and what `context` wants of it."""
    if context.frac_digits is None and context.time_zone is None:
        return keep
    write = iso_date(context.frac_digits)

    def convert(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
        kept = keep(stamp, received_at, zone)
        moment = moment_of(kept, received_at, zone)
        if context.time_zone is not None:
            moment = in_zone(moment, context.time_zone)
        return write(moment, kept).encode("ascii")

    return convert


def bsd_stamps(context: MacroContext) -> Convert:
    """How stamps are written as RFC 3164 has them, in the time_zone of `context` or locally."""
    write = bsd_date(context.frac_digits)

    def convert(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
        moment = in_zone(moment_of(stamp, received_at, zone), context.time_zone or zone)
        return write(moment, stamp).encode("ascii")

    return convert
