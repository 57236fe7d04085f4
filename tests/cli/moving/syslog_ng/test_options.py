from __future__ import annotations

from relay.cli.moving.report import Report, Verdict
from relay.cli.moving.syslog_ng.options import Option, Options, source_text
from relay.cli.moving.syslog_ng.scanner import ConfigurationText
from relay.cli.moving.syslog_ng.tree import Call, Included, parse


def call_of(text: str) -> Call:
    node = parse(ConfigurationText(f"{text};", "x"), lambda *_: Included()).items[0][0]
    assert isinstance(node, Call)
    return node


def test_every_option_is_in_the_report() -> None:
    report = Report()
    options = Options(call_of('tcp("h" port(1) keep_alive(yes) odd(2) port(3))'), report)
    port = options.take_own("port")
    assert port is not None and port.whole == 3
    port.taken("is the port")
    options.pass_over({"keep_alive": "not needed"})
    options.finish()
    assert [(each.text, each.verdict) for each in report.statements] == [
        ("port(1)", Verdict.TAKEN),
        ("keep_alive(yes)", Verdict.TAKEN),
        ("odd(2)", Verdict.UNSUPPORTED),
        ("port(3)", Verdict.TAKEN),
    ]


def test_hyphens_are_underscores() -> None:
    options = Options(call_of("f(keep-alive(yes))"), Report())
    assert options.take_own("keep_alive") is not None


def test_defaults_count_where_there_is_no_option() -> None:
    report = Report()
    call = call_of("perm(0640)")
    default = Option(report.statement(call.place, "perm"), call)
    options = Options(call_of("file(a)"), report, {"perm": default})
    assert options.take("perm") is default
    assert options.take_own("perm") is None


def test_numbers_have_units() -> None:
    for text, number in (("10", 10), ("1k", 1000), ("2KiB", 2048), ("3Mb", 3_000_000)):
        call = call_of(f"x({text})")
        assert Option(Report().statement(call.place, ""), call).whole == number
    for text in ("", "x", "-1", "9" * 40):
        call = call_of(f'x("{text}")')
        assert Option(Report().statement(call.place, ""), call).whole is None


def test_flags_are_three_valued() -> None:
    for text, flag in (("yes", True), ("OFF", False), ("1", True), ("maybe", None)):
        call = call_of(f"x({text})")
        assert Option(Report().statement(call.place, ""), call).flag is flag


def test_the_text_of_a_node_is_bounded() -> None:
    assert source_text(call_of("a(b(1) 'c d')")) == 'a(b(1) "c d")'
    assert len(source_text(call_of(f"a({'x ' * 5000})"))) <= 160
