from __future__ import annotations

import re

import pytest

from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.forms.template_text import BUILT_IN, pieces_of_text
from relay.cli.moving.rsyslog.forms.templates import (
    Form,
    form_of,
    path_of,
    subtree_form,
    with_group,
)


def of(text: str, *, wants_lines: bool = True) -> Form:
    return form_of(pieces_of_text(text), wants_lines=wants_lines)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("RSYSLOG_TraditionalFileFormat", {"template": "${DATE} ${HOST} ${SYSLOGTAG} ${MSG}"}),
        ("RSYSLOG_FileFormat", {"template": "${ISODATE} ${HOST} ${SYSLOGTAG} ${MSG}"}),
        ("RSYSLOG_TraditionalForwardFormat", {"format": "rfc3164"}),
        ("RSYSLOG_ForwardFormat", {"format": {"name": "rfc3164", "ts_format": "iso"}}),
        ("RSYSLOG_SyslogProtocol23Format", {"format": "rfc5424"}),
        ("RSYSLOG_DebugFormat", {"format": "raw"}),
    ],
)
def test_templates_of_rsyslog(name: str, keys: object) -> None:
    form = of(BUILT_IN[name], wants_lines="File" in name)
    assert (form.keys, form.steps, form.notes) == (keys, [], [])


def test_constants_are_escaped_and_the_last_line_end_is_the_files() -> None:
    assert of("costs $5 %hostname%\\n").keys == {"template": "costs $$5 ${HOST}"}
    assert of("%hostname%").notes == ["messages are lines here; the template has no line end"]
    assert of("a\\nb\\n").notes == ["a line end within a message is written as #012"]


def test_the_first_character_of_msg_is_the_space_behind_the_tag() -> None:
    assert of("%msg:2:$%\\n").keys == {"template": "${MSG}"}
    assert of("%syslogtag%%msg%\\n").keys == {"template": "${SYSLOGTAG} ${MSG}"}


def test_parts_are_found_by_steps() -> None:
    form = of("%msg:R,ERE,1,ZERO:id=([0-9]+)--end%-%hostname:1:3%\\n")
    assert form.keys == {"template": "${.part.1.value:-0}-${.part.2.value}"}
    assert form.steps == [
        {"parse": "regex", "pattern": "id=(?P<value>[0-9]+)", "prefix": ".part.1."},
        {
            "parse": "regex",
            "pattern": "(?s)^(?P<value>.{0,3})",
            "prefix": ".part.2.",
            "from": "HOST",
        },
    ]


def test_an_object_becomes_the_format_json() -> None:
    form = of(
        '{"host":"%hostname:::json%","n":%syslogseverity%,"in":{"ip":"%fromhost-ip%"},"m":"%msg:::json%"}'
    )
    assert form.keys == {
        "format": {
            "name": "json",
            "scope": ["none"],
            "pair": {
                "host": "${HOST}",
                "n": {"type": "json", "value": "${LEVEL_NUM}"},
                "in.ip": "${SOURCEIP}",
                "m": "${MSG}",
            },
        }
    }


def test_all_variables_become_the_format_json() -> None:
    expected = {"name": "json", "scope": ["none"], "subkeys": ".json."}
    assert of("%$!all-json%\\n").keys == {"format": expected}
    assert subtree_form("!a!b").keys == {"format": {**expected, "subkeys": ".json.a.b."}}


def test_a_token_for_sematext_becomes_a_mode() -> None:
    form = of(
        '<%PRI%>%timestamp:::date-rfc3339% %HOSTNAME% %syslogtag%@cee: {"logsene-app-token": '
        '"0c3c5ba6", "message": "%msg:::json%", "env": "test"}\\n'
    )
    assert (form.mode, form.token, form.keys) == ({"mode": "cee"}, "0c3c5ba6", {})
    assert form.notes == ["the member env is left out"]


def test_json_in_other_texts_is_escaped_by_steps() -> None:
    form = of('x="%msg:::json%" y="%pri:::json%"\\n')
    assert form.keys == {"template": 'x="${.text.part.1}" y="${PRI}"'}
    pattern, replacement = str(form.steps[1]["subst"]), str(form.steps[1]["with"])  # type: ignore[call-overload, index]
    assert re.sub(pattern, replacement, 'a"b\\') == 'a\\"b\\\\'


def test_stamps_in_utc_set_the_zone() -> None:
    form = of("%timestamp:::date-rfc3339,date-utc%\\n")
    assert form.keys == {
        "format": {"name": "template", "template": "${ISODATE}", "time_zone": "UTC"}
    }


def test_paths_have_macros() -> None:
    path, form = path_of(pieces_of_text("/srv/%HOSTNAME%/%$YEAR%.log"))
    assert path == "/srv/${HOST}/${R_YEAR}.log"
    assert form.notes == []


def test_a_programs_name_ends_at_a_slash_unless_rsyslog_is_told_otherwise() -> None:
    pieces = pieces_of_text("%programname%%programname%")
    form = form_of(pieces)
    assert form.keys == {"template": "${.part.1.value}${.part.1.value}"}
    assert len(form.steps) == 1
    assert form_of(pieces, has_slashes=True).keys == {"template": "${PROGRAM}${PROGRAM}"}


def test_groups_by_number() -> None:
    assert with_group(r"\((a)(?:b)[(](c)", 2) == r"\((a)(?:b)[(](?P<value>c)"
    assert with_group("a", 0) == "(?P<value>a)"
    with pytest.raises(NotSupported, match="the group 2 of 'a', which has 0"):
        with_group("a", 2)
