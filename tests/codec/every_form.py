"""All forms, each with its writer in Python, and batches of lines of several origins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from typing import Any, NamedTuple

from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.token import Token
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.form import Form, Program, form_of, format_program, token_program
from relay.rewrite.forms.formats import bsd_stamps, new_format
from relay.rewrite.forms.token import RFC5424, RSYSLOG, Header, Writer, app_name, cee, tag
from relay.rewrite.json.text import COOKIE
from relay.wire.parse import DELIMITERS, Dialect, parse_as, read_lines

__all__ = [
    "DIALECTS",
    "FORM_NAMES",
    "KNOWN",
    "ORIGINS",
    "TOKEN",
    "Both",
    "arrival_of",
    "counted_forms",
    "every_form",
    "reference_of",
]

TOKEN = Token(b"01234567-89ab-cdef-0123-456789abcdef")
KNOWN = (b"other-token", b"su", b"t" * 255)
"""Tokens that lines may carry, whatever their form."""
RELAY_NAME = b"relay.example"
DIALECTS = {
    "default": Dialect(),
    "local": Dialect(hosts=(None, False)),
    "rfc3164": Dialect(reads_rfc5424=False, default_pri=(0, 5)),
    "local rfc3164": Dialect(reads_rfc5424=False, default_pri=(23, 7), hosts=(None, False)),
}
"""What compiled code reads lines by."""
ORIGINS = (
    Origin("net", Transport.TCP, "192.0.2.7", 514),
    Origin("local", Transport.UNIX, pid=7, uid=8, gid=9),
    Origin('odd "name"', Transport.UDP, "2001:db8::1%eth0", 1),
    Origin("named", Transport.UNIX),
)


class Both(NamedTuple):
    """A form that compiled code writes, and the writer that is its reference."""

    writer: Writer
    form: Form

    def check(
        self, frames: Sequence[bytes], arrival: Arrival, *, dialect: Dialect = DIALECTS["default"]
    ) -> list[bytes]:
        """Write frames in both ways; the payloads, which are the same."""
        payloads = self.form.write(read_lines(frames, dialect), None, arrival)
        expected = form_of(self.writer).write(reference_of(frames, dialect), None, arrival)
        for frame, payload, wanted in zip(frames, payloads, expected, strict=True):
            assert payload == wanted, frame
        return payloads


def every_form(zone: tzinfo, known: Collection[bytes] = KNOWN) -> dict[str, Both]:
    """All forms that compiled code writes, by name."""
    return {
        name: Both(writer, form_of(writer, program))
        for name, (writer, program) in _written(zone, known).items()
    }


def counted_forms(
    zone: tzinfo, asked: list[bytes], known: Collection[bytes] = KNOWN
) -> dict[str, Form]:
    """All forms; `asked` gets the frame of each line that the writer in Python writes."""

    def counted(writer: Writer) -> Writer:
        def write(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
            asked.extend(message.raw for message in messages)
            return writer(messages, origin)

        return write

    return {
        name: form_of(counted(writer), program)
        for name, (writer, program) in _written(zone, known).items()
    }


def _written(zone: tzinfo, known: Collection[bytes]) -> dict[str, tuple[Writer, Program | None]]:
    found: dict[str, tuple[Writer, Program | None]] = {
        "cee": (
            cee(TOKEN, zone, relay_name=RELAY_NAME, known=known),
            token_program("cee", TOKEN, zone, relay_name=RELAY_NAME, known=known),
        ),
        "tag": (
            tag(TOKEN, zone, relay_name=RELAY_NAME, known=known),
            token_program("tag", TOKEN, zone, relay_name=RELAY_NAME, known=known),
        ),
        "app-name": (
            app_name(TOKEN, zone, relay_name=RELAY_NAME, known=known),
            token_program("app-name", TOKEN, zone, relay_name=RELAY_NAME, known=known),
        ),
    }
    plain = MacroContext(relay_name=RELAY_NAME, now=float, zone=zone)
    for name, mode, header in (
        ("cee rfc3164", "cee", Header("rfc3164", bsd_stamps(plain))),
        ("cee rfc5424", "cee", RFC5424),
        ("json", "json", RFC5424),
        ("json rsyslog", "json", RSYSLOG),
        ("json rfc3164", "json", Header("rfc3164", bsd_stamps(plain))),
        ("tag rfc3164", "tag", Header("rfc3164", bsd_stamps(plain))),
    ):
        given: dict[str, Any] = {"relay_name": RELAY_NAME, "known": known, "header": header}
        write: Any = tag if mode == "tag" else partial(cee, cookie=COOKIE if mode == "cee" else b"")
        found[name] = (write(TOKEN, zone, **given), token_program(mode, TOKEN, zone, **given))
    for name, form, context in (
        ("ewmm", "ewmm", plain),
        ("rfc5424", "rfc5424", plain),
        ("rfc3164", "rfc3164", plain),
        ("rfc3164 iso", "rfc3164", replace(plain, ts_format="iso")),
    ):
        writer = new_format(form, context)
        assert writer is not None
        found[name] = (writer, format_program(form, context))
    return found


FORM_NAMES = (
    *("cee", "cee rfc3164", "cee rfc5424", "json", "json rsyslog", "json rfc3164"),
    *("tag", "tag rfc3164", "app-name", "ewmm", "rfc5424", "rfc3164", "rfc3164 iso"),
)


def reference_of(frames: Sequence[bytes], dialect: Dialect) -> Messages:
    """What Python reads in frames."""
    return Messages([parse_as(dialect, frame.rstrip(DELIMITERS), frame) for frame in frames])


def arrival_of(stops: Sequence[int], received_at: float) -> Arrival:
    """Lines of the origins, in turn; those of each end at one of `stops`."""
    runs = [(stop, ORIGINS[number % len(ORIGINS)]) for number, stop in enumerate(stops)]
    return Arrival(runs, received_at, 5.0)
