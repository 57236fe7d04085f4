from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin
from relay.model.output import ON_ERROR, SCOPES, TYPES, Pair, Pattern, Rekey, Selection
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.json.value_pairs import DEFAULT_SCOPES, Scope, ValuePairs
from relay.rewrite.macros import HARD_MACROS
from relay.wire.parse import parse
from tests.any_messages import LOCAL, NETWORK, messages, names, origins

MESSAGE = parse(b'<34>1 2026-10-11T22:14:15.5Z web app 7 - [a b="1"][c] text')._replace(
    pairs={"custom": b"x", ".cee.level": JsonText(b"3"), "empty": b""}
)


def context() -> MacroContext:
    return MacroContext(b"vm", lambda: 1795222405.5)


def select(
    selection: Selection, message: SyslogMessage = MESSAGE, origin: Origin = NETWORK
) -> dict[str, bytes] | None:
    (pairs,) = ValuePairs(selection, context()).select(Batch([message], origin, context()))
    return pairs


def selected(**options: Any) -> list[str]:
    pairs = select(Selection(**{"scopes": (), "keeps_initial_dot": True} | options))
    assert pairs is not None
    return sorted(pairs)


def takes(*globs: str) -> tuple[Pattern, ...]:
    """Patterns in their order; those that begin with ! leave out."""
    return tuple(Pattern(glob.lstrip("!"), not glob.startswith("!")) for glob in globs)


def test_the_default_selection() -> None:
    assert select(Selection()) == {
        "HOST": b"web",
        "HOST_FROM": b"192.0.2.1",
        "PROGRAM": b"app",
        "PID": b"7",
        "MESSAGE": b"text",
        "SOURCE": b"in",
        "custom": b"x",
        "empty": b"",
        "DATE": b"Oct 11 22:14:15",
        "FACILITY": b"auth",
        "PRIORITY": b"crit",
        "SEQNUM": b"1",
        "SOURCEIP": b"192.0.2.1",
        "TAGS": b".source.in",
        "_SDATA.a.b": b"1",
        "_SDATA.c": b"",
    }


def test_a_legacy_message() -> None:
    message = parse(b"<13>Oct 11 22:14:15 h su: text")
    pairs = select(Selection(("rfc3164", "nv-pairs")), message)
    assert pairs == {
        "HOST": b"h",
        "HOST_FROM": b"192.0.2.1",
        "PROGRAM": b"su",
        "MESSAGE": b"text",
        "SOURCE": b"in",
        "LEGACY_MSGHDR": b"su: ",
        "FACILITY": b"user",
        "PRIORITY": b"notice",
        "DATE": b"Oct 11 22:14:15",
    }


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (["HOST"], ["HOST"]),
        (["HOST", "!HOST"], []),
        (["!HOST", "HOST"], ["HOST"]),
        (["HOST*", "!*FROM"], ["HOST", "HOSTID"]),
        (["*.b"], [".SDATA.a.b"]),
        ([".SDATA.*"], [".SDATA.a.b", ".SDATA.c"]),
        (["S_*DATE"], ["S_DATE", "S_FULLDATE", "S_ISODATE"]),
        (["?ID"], ["PID"]),
        (["HOS[T]", "MSGID"], []),
        (["MSG", "MESSAGE", "FULLHOST"], ["FULLHOST", "MESSAGE", "MSG"]),
        (["RAWMSG"], ["RAWMSG"]),
        (["RAWMSG*"], ["RAWMSG_SIZE"]),
        (["custom", "no such"], ["custom"]),
    ],
)
def test_the_last_pattern_that_fits_decides(globs: list[str], expected: list[str]) -> None:
    assert selected(patterns=takes(*globs)) == expected


def test_scopes_are_where_patterns_begin() -> None:
    patterns = takes("!.SDATA.*", "custom")
    assert selected(scopes=("sdata",), patterns=patterns) == ["custom"]
    assert selected(scopes=None, patterns=takes("custom")) == ["custom"]
    assert "HOST" in selected(scopes=None, patterns=takes("!custom"))
    assert selected(scopes=None, pairs=(Pair("a", "b"),)) == ["a"]


def test_pairs_of_its_own_go_before_macros_and_macros_before_pairs() -> None:
    message = MESSAGE._replace(pairs={"FACILITY": b"pair", "PRI": b"pair", "custom": b"pair"})
    selection = Selection(
        ("everything",),
        takes("!custom", "!R_*"),
        (Pair("custom", "$HOST:$PID"), Pair("HOST", "mine")),
    )
    pairs = select(selection, message)
    assert pairs is not None
    found = [pairs[name] for name in ("FACILITY", "PRI", "custom", "HOST")]
    assert found == [b"auth", b"34", b"web:7", b"mine"]


def test_empty_values() -> None:
    pairs = (Pair("p", "$MSGID"), Pair("number", "$MSGID", "int"))
    assert selected(scopes=("nv-pairs",), pairs=pairs) == [
        *("HOST", "HOST_FROM", "MESSAGE", "PID", "PROGRAM", "SOURCE", "custom", "empty"),
        *("number", "p"),
    ]
    assert selected(scopes=("nv-pairs", "sdata"), pairs=pairs, omits_empty=True) == [
        *(".SDATA.a.b", "HOST", "HOST_FROM", "MESSAGE", "PID", "PROGRAM", "SOURCE", "custom"),
    ]
    assert selected(patterns=takes("MSGHDR", "CONTEXT_ID", "SDATA")) == ["MSGHDR", "SDATA"]


def test_local_senders() -> None:
    pairs = select(Selection(patterns=takes(".unix.*")), MESSAGE, LOCAL)
    assert pairs == {"_unix.pid": b"1", "_unix.uid": b"2", "_unix.gid": b"3"}
    pairs = select(
        Selection(patterns=takes(".unix.pid")), MESSAGE._replace(pairs={".unix.pid": b"9"}), LOCAL
    )
    assert pairs == {"_unix.pid": b"9"}


@pytest.mark.parametrize(
    ("rekeys", "expected"),
    [
        ([Rekey("*", (("shift", 2),))], "QL.x.SRC"),
        ([Rekey("*", (("shift", 99),))], ""),
        ([Rekey("*", (("shift_levels", 2),))], "x.SRC"),
        ([Rekey("*", (("shift_levels", 9),))], ""),
        ([Rekey(".sql.*", (("add_prefix", "p."),))], ".SQL.x.SRC"),
        ([Rekey(".SQL.*", (("add_prefix", "p."),))], "p..SQL.x.SRC"),
        ([Rekey("*", (("replace_prefix", (".SQL", "db")),))], "db.x.SRC"),
        ([Rekey("*", (("replace_prefix", ("SQL", "db")),))], ".SQL.x.SRC"),
        ([Rekey("*", (("lower", True),))], ".sql.x.src"),
        ([Rekey("*", (("upper", True),))], ".SQL.X.SRC"),
        ([Rekey("*", (("shift_levels", 2), ("lower", True), ("shift", 2)))], "src"),
        ([Rekey("*", (("shift", 2), ("lower", True), ("shift_levels", 2)))], "src"),
        # The next one sees the name that the one before has left.
        ([Rekey("*", (("shift", 1),)), Rekey("SQL.*", (("shift", 4),))], "x.SRC"),
        ([Rekey("*", (("shift", 1),)), Rekey(".SQL.*", (("shift", 4),))], "SQL.x.SRC"),
    ],
)
def test_names_are_changed(rekeys: list[Rekey], expected: str) -> None:
    message = MESSAGE._replace(pairs={".SQL.x.SRC": b"1"})
    selection = Selection((), takes(".SQL.*"), rekeys=tuple(rekeys), keeps_initial_dot=True)
    assert select(selection, message) == {expected: b"1"}
    own = Selection(pairs=(Pair(".SQL.x.SRC", "1"),), rekeys=tuple(rekeys), keeps_initial_dot=True)
    assert select(own) == {expected: b"1"}


def test_an_initial_dot_becomes_an_underscore_at_the_end() -> None:
    rekeys = (Rekey(".cee.*", (("shift", 4),)),)
    assert select(Selection(patterns=takes(".cee.*"), rekeys=rekeys)) == {"_level": b"3"}


def test_values_that_do_not_fit_their_type() -> None:
    reports: list[tuple[str, int]] = []

    def with_policy(on_error: str) -> list[dict[str, bytes] | None]:
        pairs = (Pair("n", "$PID", "int"), Pair("t", "x"))
        selection = Selection(pairs=pairs, on_error=on_error)
        value_pairs = ValuePairs(selection, context(), lambda *report: reports.append(report))
        batch = [MESSAGE, MESSAGE._replace(procid=b"-1-"), MESSAGE._replace(procid=b"8")]
        return list(value_pairs.select(Batch(batch, NETWORK, context())))

    good = [{"n": b"7", "t": b"x"}, {"n": b"8", "t": b"x"}]
    assert with_policy("drop-message") == [good[0], None, good[1]]
    assert with_policy("drop-property") == [good[0], {"t": b"x"}, good[1]]
    assert with_policy("fallback-to-string") == [good[0], {"n": b"-1-", "t": b"x"}, good[1]]
    assert reports == [("n", 1)] * 3
    for on_error in ("drop-message", "drop-property", "fallback-to-string"):
        assert with_policy(f"silently-{on_error}") == with_policy(on_error)
    assert len(reports) == 6


def test_json() -> None:
    selection = Selection(
        ("sdata",), takes(".cee.*"), (Pair("pid", "$PID", "int"), Pair("a.b", "$MSG"))
    )
    value_pairs = ValuePairs(selection, context())
    assert (
        value_pairs.json(Batch([MESSAGE, MESSAGE], NETWORK, context()))
        == [b'{"_cee":{"level":3},"_SDATA":{"a":{"b":"1"},"c":""},"pid":7,"a":{"b":"text"}}'] * 2
    )
    dropping = Selection(pairs=(Pair("n", "$MSG", "int"),), on_error="drop-message")
    assert ValuePairs(dropping, context()).json(Batch([MESSAGE], NETWORK, context())) == [None]


def test_a_template_that_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"^pair x: at character 3: \$ is followed"):
        ValuePairs(Selection(pairs=(Pair("x", "a $"),)), context())


def test_names_are_remembered_within_limits() -> None:
    value_pairs = ValuePairs(Selection(("nv-pairs",)), context())
    batch = [
        MESSAGE._replace(pairs={f"name{number}": b"", "x" * (number + 200): b""})
        for number in range(5000)
    ]
    for message, pairs in zip(
        batch, value_pairs.select(Batch(batch, NETWORK, context())), strict=True
    ):
        assert message.pairs is not None
        assert pairs is not None
        assert message.pairs.keys() <= pairs.keys()


transforms = st.one_of(
    st.tuples(st.sampled_from(["shift", "shift_levels"]), st.integers(0, 9)),
    st.tuples(st.just("add_prefix"), names),
    st.tuples(st.just("replace_prefix"), st.tuples(names, names)),
    st.tuples(st.sampled_from(["upper", "lower"]), st.just(True)),
)
globs = st.text(alphabet="*?.SDATAH[]") | st.sampled_from(["*", ".*", "HOST"])
selections = st.builds(
    Selection,
    scopes=st.none() | st.lists(st.sampled_from(SCOPES), max_size=2).map(tuple),
    patterns=st.lists(st.builds(Pattern, globs, st.booleans()), max_size=3).map(tuple),
    pairs=st.lists(
        st.builds(Pair, names, st.sampled_from(["$MSG", "$PID", "1"]), st.sampled_from(TYPES)),
        max_size=2,
    ).map(tuple),
    rekeys=st.lists(
        st.builds(Rekey, globs, st.lists(transforms, max_size=3).map(tuple)), max_size=2
    ).map(tuple),
    omits_empty=st.booleans(),
    keeps_initial_dot=st.booleans(),
    on_error=st.sampled_from(sorted(ON_ERROR)),
)


def refuse(constant: str) -> None:
    raise ValueError(constant)


def without_twins(members: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in members}) == len(members)
    return dict(members)


@given(selections, st.lists(messages, max_size=3), origins)
def test_json_is_always_valid(
    selection: Selection, batch: list[SyslogMessage], origin: Origin
) -> None:
    value_pairs = ValuePairs(selection, context())
    payloads = value_pairs.json(Batch(batch, origin, context()))
    assert len(payloads) == len(batch)
    for payload in payloads:
        if payload is None:
            assert selection.on_error.endswith("drop-message")
            continue
        assert b"\n" not in payload
        members = json.loads(
            payload.decode("utf-8"), parse_constant=refuse, object_pairs_hook=without_twins
        )
        assert isinstance(members, dict)


CANDIDATES = {
    *("FACILITY", "PRIORITY", "HOST", "PROGRAM", "PID", "MESSAGE", "DATE", "MSGID", "TAGS"),
    *("SOURCEIP", "SEQNUM", "HOST_FROM", "SOURCE", "custom", ".SDATA.a.b", ".unix.pid", "R_DATE"),
}
RFC3164 = {"FACILITY", "PRIORITY", "HOST", "PROGRAM", "PID", "MESSAGE", "DATE"}
PLAIN = {"HOST", "PROGRAM", "PID", "MESSAGE", "MSGID", "HOST_FROM", "SOURCE", "custom"}
DOTTED = {".SDATA.a.b", ".unix.pid"}
HARD = CANDIDATES & HARD_MACROS


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ((), set()),
        (("nv-pairs",), PLAIN),
        (("dot-nv-pairs",), DOTTED),
        (("all-nv-pairs",), PLAIN | DOTTED),
        *(((name,), RFC3164) for name in ("rfc3164", "core", "base")),
        *(((name,), RFC3164 | {"MSGID", ".SDATA.a.b"}) for name in ("rfc5424", "syslog-proto")),
        (("selected-macros",), RFC3164 | {"TAGS", "SOURCEIP", "SEQNUM"}),
        (("sdata",), {".SDATA.a.b"}),
        (("all-macros",), HARD),
        (("everything",), CANDIDATES),
        (("rfc3164", "none", "sdata"), {".SDATA.a.b"}),
        (("sdata", "none"), set()),
        (DEFAULT_SCOPES, RFC3164 | PLAIN | {"TAGS", "SOURCEIP", "SEQNUM", ".SDATA.a.b"}),
    ],
)
def test_scopes(scopes: tuple[str, ...], expected: set[str]) -> None:
    scope = Scope(scopes)
    assert {name for name in CANDIDATES if scope.has(name)} == expected
    assert set(scopes) <= set(SCOPES)


def test_all_macros_are_those_of_every_time() -> None:
    scope = Scope(["all-macros"])
    assert all(scope.has(name) for name in HARD_MACROS)
    assert {"S_DATE", "R_DATE", "C_DATE", "P_DATE"} <= HARD_MACROS
