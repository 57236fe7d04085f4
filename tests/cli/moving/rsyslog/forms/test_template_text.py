from __future__ import annotations

import pytest

from relay.cli.moving.rsyslog.forms.template_text import (
    BUILT_IN,
    Constant,
    Replaced,
    canonical_name,
    pieces_of_text,
)


def test_properties_positions_and_options() -> None:
    assert pieces_of_text(r"<%PRI%>%msg:2:$:drop-last-lf,json% 100%%\n") == [
        Constant("<"),
        Replaced("pri"),
        Constant(">"),
        Replaced("msg", 2, 0, options=frozenset({"drop-last-lf", "json"})),
        Constant(" 100"),
        Constant("%"),
        Constant("\n"),
    ]


def test_fields_and_expressions() -> None:
    assert pieces_of_text("%msg:F,44:3%%msg:R,ERE,2,BLANK:(a)(b%)--end:json%%msg:F:1%") == [
        Replaced("msg", separator=",", column=3),
        Replaced("msg", pattern="(a)(b%)", group=2, fallback="BLANK", options=frozenset({"json"})),
        Replaced("msg", separator="\t", column=1),
    ]


def test_variables_keep_their_case() -> None:
    assert canonical_name("$!User!Name") == "!User!Name"
    assert canonical_name(" HOSTNAME ") == "hostname"
    assert canonical_name("$NOW") == "$now"


@pytest.mark.parametrize("text", ["%msg", "%msg:x:y%"])
def test_what_is_no_template_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"%|position"):
        pieces_of_text(text)


def test_the_templates_of_rsyslog_can_be_read() -> None:
    for text in BUILT_IN.values():
        assert pieces_of_text(text)
