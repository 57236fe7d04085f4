from __future__ import annotations

import os
import re
from hashlib import sha256
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.model.origin import Origin, Transport
from relay.model.template import split_template
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.form import form_of
from relay.rewrite.forms.record_key import Keyed, split_key
from relay.transport.files.file_names import (
    CLOSED,
    COMPONENTS_MAX,
    FileNames,
    clean_value,
    is_clean,
    may_meet,
    meetings,
)
from relay.wire.parse import parse
from tests.any_messages import many_examples

ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", received_at=1_800_000_000.0)
CONTEXT = MacroContext(relay_name=b"relay", now=lambda: 0.0)
NASTY = st.one_of(
    st.binary(max_size=300),
    st.sampled_from(
        [
            *(b"", b".", b"..", b"../../etc", b"/etc/passwd", b"a\0b", b"\xff\xfe", b"x" * 5000),
            *(b"\xe2\x80\xae.", b"\xc2\x85", b"\xef\xbc\x8f", b"a.20261130T000000Z.zst", b"\n"),
        ]
    ),
)


def named(path: str, **pairs: bytes) -> tuple[bytes, bytes]:
    """The sender and the name in the record key of a message with these pairs."""
    names = FileNames.of(path)
    assert names is not None
    form = Keyed(form_of(lambda messages, origin: [b"x"] * len(messages)), names.key, CONTEXT)
    message = parse(b"<13>Oct 11 22:14:15 web su: hi")._replace(pairs=pairs)
    (record,) = form.write_messages([message], ORIGIN)
    sender, _, name = (split_key(record)[0] or b"").partition(b" ")
    return sender, name


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/srv/logs/${HOST}/$YEAR.log", "/srv/logs", "${HOST}/$YEAR.log"),
        ("/srv/logs/x-${HOST}", "/srv/logs", "x-${HOST}"),
        ("/${HOST}", "/", "${HOST}"),
        ("/a$$b/c$$d${HOST}", "/a$b", "c$$d${HOST}"),
    ],
)
def test_the_fixed_directory_ends_before_the_first_macro(path: str, root: str, below: str) -> None:
    names = FileNames.of(path)
    assert names is not None and (names.root, names.below) == (root, below)


def test_a_path_without_macros_has_no_names() -> None:
    assert FileNames.of("/srv/logs/a$$b.log") is None


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/srv/${HOST}/../x", "has the component '..' behind a macro"),
        ("/srv/${HOST}/./x", "has the component '.' behind"),
        ("/srv/${HOST}//x", "has the component '' behind"),
        ("/srv/${HOST}/", "has the component '' behind"),
        ("/srv/${HOST}/.${YEAR}", "has the component '.${…}' behind"),
        ("/srv/" + "/".join(["${HOST}"] * 17), "has 17 components from the first macro on; 16"),
        ("/srv/${HOST}" + "x" * 108, "has a component with 108 bytes of text; 107 leave room"),
        ("/srv/${HOST", "at character 6: ${ is not closed"),
    ],
)
def test_a_wrong_path_says_what_is_wrong(path: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        FileNames.of(path)


@many_examples(1000)
@given(
    values=st.lists(NASTY, min_size=1, max_size=COMPONENTS_MAX),
    before=st.sampled_from(["", "x", "a-"]),
    behind=st.sampled_from(["", ".log", "~"]),
)
@example(values=[b".", b"."], before="", behind="")
def test_no_value_leads_out_of_the_directory(values: list[bytes], before: str, behind: str) -> None:
    macros = [f"{before}${{P{index}}}{behind}" for index in range(len(values))]
    pairs = {f"P{index}": value for index, value in enumerate(values)}
    sender, name = named("/srv/logs/" + "/".join(macros), **pairs)
    assert sender == b"192.0.2.1"
    assert is_clean(name)
    components = name.split(b"/")
    assert len(components) == len(values)
    for component in components:
        assert 0 < len(component) <= 216 and component[:1] != b"."
        text = component.decode()
        assert text.isprintable()
    assert not re.fullmatch(f".*{CLOSED.pattern}", os.fsdecode(components[-1]), re.DOTALL)
    path = os.path.normpath(b"/srv/logs/" + name)
    assert path == b"/srv/logs/" + name
    assert len(sender + name) < 1024


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"web-1.example.com", b"web-1.example.com"),
        (b"", b"_"),
        (b".", b"_"),
        (b"..", b"_."),
        (b".ssh", b"_ssh"),
        (b"a/b\0c\nd", b"a_b_c_d"),
        ("käse 1".encode(), "käse 1".encode()),
        (b"\xff\xe2\x80\xaeabc", b"__abc"),
        (b"a.20261130T000000Z", b"a.20261130T000000Z_"),
        (b"x" * 300, b"x" * 206 + b"-" + sha256(b"x" * 300).hexdigest()[:8].encode()),
    ],
)
def test_what_becomes_of_a_value(value: bytes, name: bytes) -> None:
    assert named("/srv/${P}", P=value)[1] == name


def test_long_values_that_differ_stay_different() -> None:
    one, other = (named("/srv/${P}", P=b"x" * 5000 + end)[1] for end in (b"1", b"2"))
    assert one != other


def test_a_default_is_cleaned_too_and_separators_of_the_template_stay() -> None:
    assert named("/srv/${NONE:-a/b}/x")[1] == b"a_b/x"


@given(st.binary(max_size=100))
def test_cleaning_twice_changes_nothing_more(value: bytes) -> None:
    assert clean_value(clean_value(value)) == clean_value(value)


@pytest.mark.parametrize(
    "name", [b"", b"/a", b"a/", b"a//b", b"../a", b"a/..", b".a", b"a/" * 16 + b"b", b"x" * 217]
)
def test_names_that_somebody_else_has_made_are_looked_at(name: bytes) -> None:
    assert not is_clean(name)
    assert is_clean(b"a/b.c")


def test_the_template_of_the_key_is_right() -> None:
    names = FileNames.of("/srv/${HOST}/$$x")
    assert names is not None
    assert split_template(names.key.text)[0] == ("SOURCEIP", b"")


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("/srv/$HOST.log", "/srv/$PROGRAM.log", True),
        ("/srv/$HOST.log", "/srv/web.log", True),
        ("/srv/$HOST.log", "/srv/web.txt", False),
        ("/srv/$HOST/auth.log", "/srv/$HOST/mail.log", False),
        ("/srv/$HOST/$YEAR.log", "/srv/all/${YEAR}.log", True),
        ("/srv/a-$HOST", "/srv/$HOST-b", True),
        ("/srv/a-$HOST", "/srv/b-$HOST", False),
        ("/srv/$HOST", "/srv/$HOST/x", False),
        ("/srv/${HOST}a${PID}", "/srv/aa", True),
        ("/srv/${HOST}b${PID}", "/srv/aa", False),
        ("/srv/$HOST", "/var/$HOST", False),
    ],
)
def test_whether_two_paths_may_name_the_same_file(one: str, other: str, meet: bool) -> None:
    assert may_meet(one, other) is may_meet(other, one) is meet


@pytest.mark.parametrize(
    ("below", "unit"),
    [
        ("$HOST.log", ""),
        ("$HOST$R_TZ.log", ""),
        ("$HOST/$R_YEAR.log", "year"),
        ("$HOST/$S_YEAR-$MONTH_ABBREV.log", "month"),
        ("$YEAR/$ISOWEEK.log", "week"),
        ("$HOST/${R_YEAR}-${R_MONTH}-${R_DAY}.log", "day"),
        ("$R_DAY/$HOUR12$AMPM-$HOST", "hour"),
        ("$R_YEAR$R_MIN", "minute"),
        ("$C_UNIXTIME", "minute"),
    ],
)
def test_the_date_in_a_name(below: str, unit: str) -> None:
    names = FileNames.of(f"/srv/{below}")
    assert names is not None
    assert names.unit == unit


_TEMPLATES = st.lists(st.sampled_from(["a", "b", "ab", "$HOST", "a$HOST", "${HOST}b", ""]))


@many_examples(100)
@given(st.lists(_TEMPLATES.map(lambda names: "/" + "/".join(names)), max_size=8))
def test_the_pairs_that_may_meet_are_found(paths: list[str]) -> None:
    pairs = combinations(range(len(paths)), 2)
    assert sorted(meetings(paths)) == [
        (one, other) for one, other in pairs if may_meet(paths[one], paths[other])
    ]
