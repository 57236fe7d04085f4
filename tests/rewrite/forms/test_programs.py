"""That programs write what their writers do is tried in `tests/codec/test_forms.py`."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from relay.codec import IS_COMPILED
from relay.model.token import Token
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.form import format_program, token_program


def context(**options: Any) -> MacroContext:
    return MacroContext(relay_name=b"relay", now=lambda: 0.0, **options)


@pytest.mark.parametrize("name", ["rfc5424", "rfc3164", "ewmm"])
def test_formats_without_options_have_programs(name: str) -> None:
    program = format_program(name, context())
    assert program is not None
    assert (program.relay_name, program.zone) == (b"relay", UTC)


@pytest.mark.parametrize("options", [{"frac_digits": 3}, {"time_zone": UTC}])
def test_formats_with_options_are_written_in_python(options: dict[str, Any]) -> None:
    assert format_program("rfc5424", context(**options)) is None
    assert format_program("rfc3164", context(**options)) is None
    assert format_program("json", context()) is None


def test_the_option_of_rfc3164_that_has_a_program() -> None:
    bsd, iso = (format_program("rfc3164", context(ts_format=form)) for form in ("bsd", "iso"))
    assert bsd is not None and bsd.to_bsd is not None
    assert iso is not None and iso.to_bsd is None


def test_an_object_needs_compiled_code() -> None:
    program = token_program("cee", Token(b"secret"), UTC, relay_name=b"relay", known=[b"other"])
    assert (program is not None) is IS_COMPILED
    if program is not None:
        assert program.tokens == (b"secret", b"other")
