from __future__ import annotations

import pytest

from relay.cli.moving.syslog_ng.templates import constant_or_template, read_template


def test_a_template_is_the_same_without_its_line_end() -> None:
    form = read_template("$ISODATE ${HOST:--} $$ $MSG\n", {})
    assert form.keys == {"template": "$ISODATE ${HOST:--} $$ $MSG"}
    assert not form.doubts and not form.unsupported


def test_stamps_make_it_a_format() -> None:
    assert read_template("$DATE $MSG", {"frac_digits": 3}).keys == {
        "format": {"name": "template", "template": "$DATE $MSG", "frac_digits": 3}
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$(echo $HOST) $MSG", "no functions, found echo"),
        ("$1 $MSG", "has matched"),
        ("${HOST", "${ is not closed"),
        ("x" * 20_000, "more than 16,384 characters"),
        ("$(format-json --template-function x)", "--template-function"),
    ],
)
def test_what_is_not_supported_is_said(text: str, said: str) -> None:
    form = read_template(text, {})
    assert said in " ".join(form.unsupported)


def test_ewmm_is_a_mode() -> None:
    assert read_template("$(format-ewmm)\n", {}).mode == "ewmm"


def test_json_is_a_format() -> None:
    form = read_template(
        "$(format-json --scope rfc5424,nv-pairs --exclude DATE --key ISODATE "
        "@timestamp=${ISODATE} size=int64(${RAWMSG_SIZE}) --rekey .SDATA.* --shift 7)\n",
        {},
    )
    assert form.keys["format"] == {
        "name": "json",
        "scope": ["rfc5424", "nv-pairs"],
        "select": [{"exclude": "DATE"}, {"key": "ISODATE"}],
        "pair": {
            "@timestamp": "${ISODATE}",
            "size": {"type": "int64", "value": "${RAWMSG_SIZE}"},
        },
        "rekey": [{"match": ".SDATA.*", "shift": 7}],
    }


def test_json_without_a_scope_has_what_is_named() -> None:
    form = read_template('$(format-json host=$HOST --pair msg="$MSG" --leave-initial-dot)', {})
    assert form.keys["format"] == {
        "name": "json",
        "scope": "none",
        "pair": {"host": "$HOST", "msg": "$MSG"},
        "leave_initial_dot": True,
    }


def test_sematexts_token_is_found() -> None:
    token = "11111111-2222-3333-4444-555555555555"
    modern = '<${PRI}>1 ${ISODATE} ${HOST} ${PROGRAM} ${PID} - - {"message":"$MSG",'
    form = read_template(f'{modern}"logsene-app-token":"{token}"}}\n', {})
    assert (form.mode, form.token) == ("json", token)
    form = read_template(f'@cee: {{"logsene-app-token": "{token}", "message": "$MSG"}}', {})
    assert (form.mode, form.token) == ("cee", token)
    form = read_template(f"$(format-json logsene-app-token={token} message=$MSG)", {})
    assert form.token == token


def test_values_of_steps_are_templates_without_functions() -> None:
    assert constant_or_template("$HOST-x") == ("$HOST-x", "")
    assert "no functions" in constant_or_template("$(uuid)")[1]
    assert "is not kept" in constant_or_template("$1")[1]
