"""Output formats: RFC 5424, RFC 3164, EWMM, JSON, a template, or unchanged frames.

    rfc5424   <PRI>1 STAMP HOST APP-NAME PROCID MSGID STRUCTURED-DATA MSG
    rfc3164   <PRI>STAMP HOST PROGRAM[PID]: MSG

Rules:

1. A header holds nothing but PRINTUSASCII and single spaces, and is read again as the
   same fields.
2. Each message makes one payload.  One that a template leaves empty is a single space,
   because an empty record cannot be sent.  An empty payload stands for a message
   that the selection of a JSON object has dropped, as its `on_error` says.
"""

from __future__ import annotations

import re
from datetime import tzinfo

from relay.model.message import SyslogMessage
from relay.model.output import Selection
from relay.rewrite.batch import Batch, Column, MacroContext, in_zone, moment_of
from relay.rewrite.fields import elements_of
from relay.rewrite.forms.ewmm import ewmm
from relay.rewrite.forms.token import (
    Writer,
    byte_order_mark_of,
    has_legacy_header,
    legacy_header,
    legacy_start,
    tag_of,
    writer_of,
)
from relay.rewrite.json.value_pairs import Report, ValuePairs
from relay.rewrite.macros import bsd_date, compile_template, iso_date
from relay.wire.headers.rfc5424 import APP_NAME_BYTES_MAX, format_header, format_message
from relay.wire.headers.tag import NO_TAG, read_tag
from relay.wire.headers.timestamp import Convert, to_rfc3339, to_rfc5424

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
    match name:
        case "rfc5424":
            return rfc5424(context)
        case "rfc3164":
            return rfc3164(context)
        case "ewmm":
            return ewmm(context.relay_name, context.zone, context.hop)
        case "json":
            pairs = ValuePairs(selection or Selection(), context, report)
            return _of_batches(lambda batch: [text or b"" for text in pairs.json(batch)], context)
        case "template":
            render = compile_template(template, context)
            return _of_batches(lambda batch: [text or EMPTY for text in render(batch)], context)
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

    def payload(message: SyslogMessage, stamp: bytes, host: bytes) -> bytes:
        app_name, msg = _program_and_text(message, APP_NAME_BYTES_MAX)
        header = format_header(
            message.pri, stamp, host, app_name, message.procid, message.msgid, elements_of(message)
        )
        return format_message(header, byte_order_mark_of(message) + msg)

    return writer_of(_iso_stamps(context, to_rfc5424), context.zone, context.relay_name, payload)


def rfc3164(context: MacroContext) -> Writer:
    """Write RFC 3164: stamp, host and tag are never missing.

    A BSD stamp has no offset, and receivers take it for local time: it is written in the
    time_zone of `context`, or else in its local zone.
    """
    is_iso = context.ts_format == "iso"
    convert = _iso_stamps(context, to_rfc3339) if is_iso else bsd_stamps(context)

    def payload(message: SyslogMessage, stamp: bytes, host: bytes) -> bytes:
        return legacy_start(message, stamp, host) + _tag_and_text(message)

    return writer_of(convert, context.zone, context.relay_name, payload)


def _of_batches(column: Column, context: MacroContext) -> Writer:
    return lambda messages, origin: column(Batch(messages, origin, context))


def _program_and_text(message: SyslogMessage, bytes_max: int) -> tuple[bytes | None, bytes]:
    """APP-NAME and MSG.

    What can be no APP-NAME as it is stays whole, in front of the text: a name with blanks or
    in another script, and a long word that only lacks the colon of a text (RFC 3164 §4.1.3).
    """
    app_name = message.app_name
    header = legacy_header(message) if app_name is not None else b""
    if app_name is None or not header:
        return app_name, message.msg
    is_word = b":" not in header and b"[" not in header
    if _PRINTUSASCII.fullmatch(app_name) is None or (is_word and len(app_name) > bytes_max):
        return None, header + message.msg
    return app_name, message.msg


def _tag_and_text(message: SyslogMessage) -> bytes:
    """The tag, as received if possible, and MSG; MSG alone if it had no tag and looks like none."""
    literal, msg = legacy_header(message), message.msg
    if message.hostname not in _FIRST_OF_A_PHRASE:
        if literal and _PRINTABLE.fullmatch(literal) is not None:
            if literal[-1:] == b" " or msg[:1] != b" ":
                return literal + msg
        elif not literal and has_legacy_header(message) and _is_plain_text(message):
            return msg
    app_name, text = _program_and_text(message, len(message.app_name or b""))
    return b"%s %s" % (tag_of(app_name, message.procid), text)


def _is_plain_text(message: SyslogMessage) -> bool:
    """Whether its MSG, which came without a tag, is read as text again behind a host."""
    if message.app_name or message.procid:
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
        moment = moment if context.time_zone is None else in_zone(moment, context.time_zone)
        return write(moment, kept).encode("ascii")

    return convert


def bsd_stamps(context: MacroContext) -> Convert:
    """How stamps are written as RFC 3164 has them, in the time_zone of `context` or locally."""
    write = bsd_date(context.frac_digits)

    def convert(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
        moment = in_zone(moment_of(stamp, received_at, zone), context.time_zone or zone)
        return write(moment, stamp).encode("ascii")

    return convert
