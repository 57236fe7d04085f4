from __future__ import annotations

import pytest

from relay.cli.moving.report import Place, Statement, Verdict
from relay.cli.moving.rsyslog.language.syntax import Parameters
from relay.cli.moving.rsyslog.language.values import Reader, is_on, size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("64k", 65536), ("64K", 64000), ("1g", 1 << 30), ("1,000", 1000), ("1.5m", 1572864)),
        *(("", None), ("x", None), ("1.2.3", None), ("-5", None)),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert size_of(text) == size


def test_switches() -> None:
    assert all(map(is_on, ("on", "Yes", "1")))
    assert not any(map(is_on, ("off", "no", "0", "")))


def test_what_nobody_asked_for_is_not_supported() -> None:
    said = Statement(Place("f", 1), "input(…)")
    values = {"port": ["514"], "size": ["x"], "number": ["y"], "odd": ["1"], "a": ["1"]}
    read = Reader(Parameters(values), said)
    assert read.text("port") == "514"
    assert read.text("none", "default") == "default"
    assert read.size("size") is None
    assert read.number("number") is None
    read.ignore(["a", "b"], "no need")
    read.finish()
    assert [finding.reason for finding in said.findings] == [
        "size: expected a size, found 'x'",
        "number: expected a number, found 'y'",
        "a: no need",
        "odd: the import does not know it",
    ]
    assert said.verdict == Verdict.UNSUPPORTED
