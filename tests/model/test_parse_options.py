from __future__ import annotations

from dataclasses import fields

from relay.model.parse_options import OPTION_NAMES, ParseOptions


def test_syslog_ngs_flags_change_options() -> None:
    defaults = {field.name: field.default for field in fields(ParseOptions)}
    for name, (field, setting) in OPTION_NAMES.items():
        turns_off = name in ("no-piggyback-errors", "store-legacy-msghdr", "expect-hostname")
        assert (defaults[field] == setting) is turns_off, name
