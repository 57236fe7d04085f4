from __future__ import annotations

from relay.cli.moving.report import Place, Report, Verdict


def test_a_line_for_each_thing_said_and_the_worst_counts() -> None:
    report = Report()
    one = report.statement(Place("a.conf", 3), "input(\n  type='x')")
    one.taken("sources.x")
    one.approximated("no y")
    one.approximated("no y")
    assert one.verdict == Verdict.APPROXIMATED
    assert [*report.lines()] == [
        "a.conf:3: taken over: input( type='x'): sources.x",
        "a.conf:3: approximated: input( type='x'): no y",
        "1 statement: 0 taken over, 1 approximated, 0 not supported",
    ]


def test_a_statement_about_which_nothing_is_said_is_not_supported() -> None:
    report = Report()
    assert report.verdict == Verdict.TAKEN
    report.statement(Place("a.conf", 1), "odd")
    assert report.verdict == Verdict.UNSUPPORTED
    assert next(report.lines()) == ("a.conf:1: not supported: odd: the import has no rule for this")


def test_secrets_and_control_characters_are_not_shown() -> None:
    report = Report()
    report.hide("s3cret-token")
    report.hide("x")  # would hide every x
    report.statement(Place("a", 1), "x s3cret-token \x1b[1m").unsupported("of s3cret-token")
    line = next(report.lines())
    assert line == "a:1: not supported: x **** \\x1b[1m: of ****"
