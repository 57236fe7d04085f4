from __future__ import annotations

import pytest

from relay.model.output import SCOPES
from relay.rewrite.json.value_pair_scopes import DEFAULT_SCOPES, Scope
from relay.rewrite.template.macros import HARD_MACROS

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
