from __future__ import annotations

import pytest

from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.forms.macros import macro_of, source_of
from relay.cli.moving.rsyslog.forms.template_text import Replaced
from relay.model.template import split_template


def of(name: str, *options: str, start: int = 0, stop: int = 0) -> str:
    return macro_of(Replaced(name, start, stop, options=frozenset(options))).text


def test_properties_are_macros() -> None:
    assert of("hostname") == "${HOST}"
    assert of("procid") == "${PID:--}"
    assert of("pri-text") == "${FACILITY}.${LEVEL}"
    assert of("!a!b") == "${.json.a.b}"
    split_template(of("!a!b"))


def test_stamps_by_their_formats() -> None:
    assert of("timestamp") == "${DATE}"
    assert of("timegenerated", "date-rfc3339") == "${R_ISODATE}"
    assert of("timereported", "date-mysql") == "${YEAR}${MONTH}${DAY}${HOUR}${MIN}${SEC}"
    assert macro_of(Replaced("timestamp", options=frozenset({"date-utc"}))).is_utc


def test_a_stamp_may_be_cut_where_its_parts_end() -> None:
    assert of("timegenerated", "date-rfc3339", start=1, stop=10) == "${R_YEAR}-${R_MONTH}-${R_DAY}"
    assert of("timestamp", "date-rfc3339", start=12, stop=19) == "${HOUR}:${MIN}:${SEC}"
    odd = macro_of(Replaced("timestamp", 2, 5, options=frozenset({"date-rfc3339"})))
    assert (odd.text, odd.note) == ("${ISODATE}", "timestamp is not cut")


@pytest.mark.parametrize("name", ["jsonmesg", "$uptime", "bogus", "!all-json", "/a"])
def test_what_has_no_macro_is_said(name: str) -> None:
    with pytest.raises(NotSupported):
        macro_of(Replaced(name))


def test_names_for_steps() -> None:
    assert source_of("msg") == "MESSAGE"
    assert source_of(".a") == ".var.a"
    with pytest.raises(NotSupported):
        source_of("rawmsg")
