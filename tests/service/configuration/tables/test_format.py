from __future__ import annotations

import tomllib
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.output import FORMATS, Pair, Pattern, Rekey, Selection
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.formats import new_format
from relay.service.configuration.model import FormatConfiguration
from relay.service.configuration.reading import Readable, Reading
from relay.service.configuration.tables.format import (
    FORMAT,
    FormatTable,
    TemplateOnly,
    format_problem,
)
from relay.service.configuration.tables.rewrite import names_a_form
from relay.wire.parse import parse_all
from tests.any_messages import NETWORK


def read(text: str) -> tuple[FormatConfiguration | None, list[str]]:
    return read_values(tomllib.loads(text))


def read_values(values: dict[str, object]) -> tuple[FormatConfiguration | None, list[str]]:
    reading = Reading()
    form = values.pop("rewrite", None)
    kinds: dict[str, Readable] = {"format": FormatTable(), "template": TemplateOnly()}
    found = list(reading.table(values, kinds, "d").values())
    if problem := format_problem(values, has_form=names_a_form(form)):
        reading.add("d", problem)
    form = found[0] if len(found) == 1 and not reading.problems else None
    assert form is None or isinstance(form, FormatConfiguration)
    return form, reading.problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ('rewrite = { mode = "ewmm" }', None),
        *((f'format = "{name}"', FormatConfiguration(name)) for name in FORMATS[:4]),
        ('format = "raw"', FormatConfiguration()),
        ('template = "$ISODATE $MSG"', FormatConfiguration("template", "$ISODATE $MSG")),
        (
            'format = { name = "template", template = "", ts_format = "unix" }',
            FormatConfiguration("template", "", ts_format="unix"),
        ),
        (
            'format = { name = "rfc5424", frac_digits = 6, time_zone = "Europe/Berlin" }',
            FormatConfiguration("rfc5424", frac_digits=6, time_zone=ZoneInfo("Europe/Berlin")),
        ),
        (
            'format = { name = "rfc3164", ts_format = "iso", time_zone = "-05:30" }',
            FormatConfiguration(
                "rfc3164",
                ts_format="iso",
                time_zone=timezone(-timedelta(hours=5, minutes=30)),
            ),
        ),
        (
            'format = { name = "json", frac_digits = 3, time_zone = "UTC" }',
            FormatConfiguration("json", frac_digits=3, time_zone=UTC),
        ),
    ],
)
def test_formats(text: str, expected: FormatConfiguration | None) -> None:
    assert read(text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('scope = "rfc5424"', Selection(("rfc5424",))),
        ('scope = ["nv-pairs", "sdata"]', Selection(("nv-pairs", "sdata"))),
        (
            'key = ["HOST*", "PID"]\nexclude = "HOST"',
            Selection(patterns=(Pattern("HOST*"), Pattern("PID"), Pattern("HOST", False))),
        ),
        (
            'exclude = "HOST"\nkey = "HOST*"',
            Selection(patterns=(Pattern("HOST", False), Pattern("HOST*"))),
        ),
        (
            'select = [{ key = "*" }, { exclude = ["a", "b"] }, { key = "a" }]',
            Selection(
                patterns=(Pattern("*"), Pattern("a", False), Pattern("b", False), Pattern("a"))
            ),
        ),
        (
            'pair = { h = "$HOST", "@x" = { type = "int", value = "$PID" }, y = { value = "" } }',
            Selection(pairs=(Pair("h", "$HOST"), Pair("@x", "$PID", "int"), Pair("y", ""))),
        ),
        (
            'rekey = [{ match = ".a.*", shift = 1, add_prefix = "x", shift_levels = 2 },'
            ' { match = "*", replace_prefix = ["x", ""], upper = true }]',
            Selection(
                rekeys=(
                    Rekey(".a.*", (("shift", 1), ("add_prefix", "x"), ("shift_levels", 2))),
                    Rekey("*", (("replace_prefix", ("x", "")), ("upper", True))),
                )
            ),
        ),
        (
            'rekey = [{ match = "x*", lower = true }]\nsubkeys = ".cee."',
            Selection(
                patterns=(Pattern(".cee.*"),),
                rekeys=(
                    Rekey(".cee.*", (("replace_prefix", (".cee.", "")),)),
                    Rekey("x*", (("lower", True),)),
                ),
            ),
        ),
        (
            'omit_empty_values = true\nleave_initial_dot = true\non_error = "drop-property"',
            Selection(omits_empty=True, keeps_initial_dot=True, on_error="drop-property"),
        ),
    ],
)
def test_selections(text: str, expected: Selection) -> None:
    found = FormatConfiguration("json", selection=expected)
    assert read(f'[format]\nname = "json"\n{text}') == (found, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'format = "rfc5425"',
            "d.format: expected one of rfc5424, rfc3164, ewmm, json, template, raw; found "
            "'rfc5425', did you mean 'rfc5424'?",
        ),
        ('format = "template"', 'd.format: has no template; write template = "…" instead of it'),
        ("format = 1", "d.format: expected a table, found 1"),
        ("format = {}", 'd.format.name: is missing; write for example name = "rfc5424"'),
        (
            'format = { name = "template" }',
            'd.format.template: is missing; write for example "$ISODATE $MSG"',
        ),
        (
            'template = "$HOST ${MSG"',
            "d.template: at character 7: ${ is not closed; write ${NAME} or ${NAME:-default}, "
            "without braces inside",
        ),
        ("template = 1", 'd.template: expected a template, such as "$ISODATE $MSG", found 1'),
        (
            'format = "raw"\ntemplate = "$MSG"',
            "d: has both format and template; write the template alone, or format = { name = "
            '"template", template = "…" }',
        ),
        (
            'format = "raw"\nrewrite = { mode = "cee" }',
            "d: has both rewrite and format, and each of them says what is sent; remove one",
        ),
        (
            'format = { name = "raw", time_zone = "UTC" }',
            "d.format.time_zone: has no meaning for the format raw, only for rfc5424 and rfc3164 "
            "and json and template; remove it",
        ),
        (
            'format = { name = "rfc5424", scope = "sdata" }',
            "d.format.scope: has no meaning for the format rfc5424, only for json; remove it",
        ),
        (
            'format = { name = "rfc5424", frac_digits = 9 }',
            "d.format.frac_digits: RFC 5424 allows 6 digits at most, found 9",
        ),
        (
            'format = { name = "rfc3164", ts_format = "unix" }',
            "d.format.ts_format: the format rfc3164 has bsd and iso, found 'unix'",
        ),
        (
            'format = { name = "json", time_zone = "Mars/Olympus" }',
            'd.format.time_zone: expected a time zone, such as "UTC", "+01:00" or '
            "\"Europe/Berlin\", found 'Mars/Olympus'",
        ),
        (
            'format = { name = "json", time_zone = "../../etc/passwd" }',
            'd.format.time_zone: expected a time zone, such as "UTC", "+01:00" or '
            "\"Europe/Berlin\", found '../../etc/passwd'",
        ),
        (
            'format = { name = "json", scope = ["rfc5424", "nvpairs"] }',
            "d.format.scope: expected one of nv-pairs, dot-nv-pairs, all-nv-pairs, rfc3164, core, "
            "base, rfc5424, syslog-proto, selected-macros, sdata, all-macros, everything, none; "
            "found 'nvpairs', did you mean 'nv-pairs'?",
        ),
        (
            'format = { name = "json", key = 1 }',
            'd.format.key: expected a name, where * and ? are wildcards, such as ".SDATA.*", or a '
            "list of them, found 1",
        ),
        (
            'format = { name = "json", key = "a", select = [] }',
            "d.format: has select as well as key or exclude; write all of it in select",
        ),
        (
            'format = { name = "json", select = [{ key = "a", exclude = "b" }] }',
            "d.format.select[0]: has 2 keys, expected one of them; write an entry for each",
        ),
        (
            'format = { name = "json", select = [{ key = "a" }, "b"] }',
            "d.format.select[1]: expected a table, found 'b'",
        ),
        (
            'format = { name = "json", select = "a" }',
            "d.format.select: expected a list of tables, found 'a'",
        ),
        (
            'format = { name = "json", pair = "a" }',
            "d.format.pair: expected a table such as { host = \"$HOST\" }, found 'a'",
        ),
        (
            'format = { name = "json", pair = { a = "$(echo)" } }',
            "d.format.pair.a: at character 1: functions, $(…), are not supported; for JSON use the "
            "format json, which selects with the keys of format-json",
        ),
        (
            'format = { name = "json", pair = { "a b" = { type = "int" } } }',
            'd.format.pair."a b".value: is missing; write for example value = "$PID"',
        ),
        (
            'format = { name = "json", pair = { a = { type = "number", value = "1" } } }',
            "d.format.pair.a.type: expected one of string, int32, int, integer, int64, float, "
            "double, boolean, datetime, list, json, literal, null; found 'number'",
        ),
        (
            'format = { name = "json", rekey = [{ shift = 1 }] }',
            'd.format.rekey[0].match: is missing; write for example match = ".cee.*"',
        ),
        (
            'format = { name = "json", rekey = [{ match = "*" }] }',
            "d.format.rekey[0]: changes nothing; add one of shift, shift_levels, add_prefix, "
            "replace_prefix, upper, lower",
        ),
        (
            'format = { name = "json", rekey = [{ match = "*", upper = false }] }',
            "d.format.rekey[0].upper: expected true, found false; remove the key instead",
        ),
        (
            'format = { name = "json", rekey = [{ match = "*", replace_prefix = ["a"] }] }',
            'd.format.rekey[0].replace_prefix: expected two texts, such as [".", "_"], found a '
            "list of 1",
        ),
        (
            'format = { name = "json", on_error = "drop" }',
            "d.format.on_error: expected one of drop-message, drop-property, fallback-to-string, "
            "silently-drop-message, silently-drop-property, silently-fallback-to-string; found "
            "'drop'",
        ),
    ],
)
def test_problems(text: str, expected: str) -> None:
    assert read(text) == (None, [expected])


def test_all_problems_at_once() -> None:
    _, problems = read(
        'format = { name = "json", keys = "a", frac_digits = 10, pair = { a = 1, b = "$" } }'
    )
    assert [problem.partition(": ")[0] for problem in problems] == [
        *("d.format.keys", "d.format.frac_digits", "d.format.pair.a", "d.format.pair.b"),
    ]


scalars = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.booleans(),
    st.sampled_from([*FORMATS, "$HOST", "rfc5424", "HOST*", "int", "drop-message", "UTC", "iso"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["key", "exclude", "match", "shift", "upper", "type", "value", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(FORMAT)), values, max_size=5))
def test_what_is_read_without_problems_works(table: dict[str, object]) -> None:
    found, problems = read_values({"format": table})
    assert (found is None) == bool(problems)
    if found is not None:
        context = MacroContext(
            b"vm",
            lambda: 1e9,
            time_zone=found.time_zone,
            frac_digits=found.frac_digits,
            ts_format=found.ts_format,
        )
        rewrite = new_format(
            found.name, context, template=found.template, selection=found.selection
        )
        if rewrite is not None:
            assert len(rewrite(parse_all([b"<13>x", b"y"]), NETWORK)) == 2


@pytest.mark.parametrize("key", FORMAT)
def test_every_key_refuses_what_is_not_its_own(key: str) -> None:
    form, problems = read_values({"format": {"name": "json", key: object()}})
    assert form is None
    assert [problem for problem in problems if problem.startswith(f"d.format.{key}")]
