"""Read how the lines of a source are parsed: ``parse = { no_hostname = true }``.

The keys are those of `ParseOptions`; syslog-ng's flags have the same names with a
hyphen for the underscore.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.model.parse_options import ParseOptions
from relay.service.configuration.filter_table import FACILITIES, SEVERITIES
from relay.service.configuration.format_table import TimeZone
from relay.service.configuration.reading import Reading
from relay.service.configuration.table import (
    Choice,
    Expression,
    Flag,
    Kind,
    Named,
    Text,
    Texts,
)

__all__ = ["PARSE", "read_parse_options"]


class _Octets:
    """A word, as octets."""

    def read(self, value: object) -> bytes:
        word = Text("printable ASCII characters without spaces", r"[!-~]{1,255}")
        return word.read(value).encode()


class _Tags:
    """Texts, as octets."""

    def read(self, value: object) -> tuple[bytes, ...]:
        return tuple(text.encode() for text in Texts("a list of tags").read(value))


@dataclass(frozen=True, slots=True)
class _Encoding:
    """The name of a character set."""

    def read(self, value: object) -> str:
        name = Text('the name of a character set, such as "ISO-8859-1"', r"[!-~]+").read(value)
        try:
            b"a".decode(codecs.lookup(name).name, "replace")
        except (LookupError, UnicodeError) as error:
            raise ValueError(f"cannot convert from {name!r}: {error}") from None
        return name


_FLAGS = (
    *("adapters", "no_parse", "no_header", "no_rfc3164_fallback", "no_hostname"),
    *(
        "expect_hostname",
        "local_hostname",
        "check_hostname",
        "check_program",
        "kernel",
        "guess_timezone",
    ),
    *("keep_timestamp", "keep_hostname", "chain_hostnames", "piggyback_errors", "store_raw"),
    *("dont_store_legacy_msghdr", "no_multi_line", "assume_utf8", "validate_utf8"),
    *("sanitize_utf8", "empty_lines", "keep_line_end"),
)

PARSE: Mapping[str, Kind] = {
    "mode": Choice(("auto", "rfc3164", "rfc5424")),
    **dict.fromkeys(_FLAGS, Flag()),
    "bad_hostname": Expression(),
    "default_facility": Named(FACILITIES, 23),
    "default_severity": Named(SEVERITIES, 7),
    "time_zone": TimeZone(),
    "host_override": _Octets(),
    "program_override": _Octets(),
    "tags": _Tags(),
    "parse_tags": Choice(("errors", "all", "none")),
    "encoding": _Encoding(),
}


def read_parse_options(values: object, path: str, reading: Reading) -> ParseOptions:
    """Read a parse table.

    Args:
        values: The table as TOML gave it.
        path: Its dotted path, for the problems.
    """
    known = len(reading.problems)
    table = reading.table(values, PARSE, path)
    if len(reading.problems) > known:
        return ParseOptions()
    make: Callable[..., ParseOptions] = ParseOptions
    return make(**table)
