"""The forms as programs for compiled code; `relay/codec/forms.pyx` says what the pieces are.

The writers of `token.py`, `formats.py` and `ewmm.py` are the reference.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import tzinfo

from relay.codec import IS_COMPILED, native
from relay.model.token import Token
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.ewmm import header_of, suffixes_of_origin
from relay.rewrite.forms.form import Program
from relay.rewrite.forms.formats import bsd_stamps
from relay.rewrite.forms.token import TOKEN_KEY, members_of, object_writer
from relay.rewrite.json.text import COOKIE
from relay.wire.headers.timestamp import Convert, StampForm

__all__ = [
    "app_name_program",
    "cee_program",
    "ewmm_program",
    "format_program",
    "rfc3164_program",
    "rfc5424_program",
    "tag_program",
]

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
