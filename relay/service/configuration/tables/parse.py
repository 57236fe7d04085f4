"""Read how the lines of a source are parsed: ``parse = { no_hostname = true }``.

The keys are those of `ParseOptions`; syslog-ng's flags have the same names with a
hyphen for the underscore.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import fields

from relay.model.parse_options import ParseOptions
from relay.service.configuration.reading import Reading
from relay.service.configuration.table import Choice, Expression, Flag, Leaf, Named, Text, Texts
from relay.service.configuration.tables.filter import FACILITIES, SEVERITIES
from relay.service.configuration.tables.format import TimeZone


class _Bytes:
    """A word, as bytes."""

    def read(self, value: object) -> bytes:
        word = Text("printable ASCII characters without spaces", r"[!-~]{1,255}")
        return word.read(value).encode()


class _Tags:
    """Texts, as bytes."""

    def read(self, value: object) -> tuple[bytes, ...]:
        return tuple(text.encode() for text in Texts("a list of tags").read(value))


class _Encoding:
    """The name of a character set."""

    def read(self, value: object) -> str:
        name = Text('the name of a character set, such as "ISO-8859-1"', r"[!-~]+").read(value)
        try:
            b"a".decode(codecs.lookup(name).name, "replace")
        except (LookupError, UnicodeError) as error:
            raise ValueError(f"cannot convert from {name!r}: {error}") from None
        return name


PARSE: Mapping[str, Leaf[object]] = {
    "mode": Choice(("auto", "rfc3164", "rfc5424")),
    **{each.name: Flag() for each in fields(ParseOptions) if isinstance(each.default, bool)},
    "bad_hostname": Expression(),
    "default_facility": Named(FACILITIES, 23),
    "default_severity": Named(SEVERITIES, 7),
    "time_zone": TimeZone(),
    "host_override": _Bytes(),
    "program_override": _Bytes(),
    "tags": _Tags(),
    "parse_tags": Choice(("errors", "all", "none")),
    "encoding": _Encoding(),
}


class ParseTable:
    """A table of parse options."""

    allowed = "table"

    def read_at(self, value: object, path: str, reading: Reading, /) -> ParseOptions:
        with reading.whole():
            table = reading.table(value, PARSE, path)
        make: Callable[..., ParseOptions] = ParseOptions
        return make(**table)
