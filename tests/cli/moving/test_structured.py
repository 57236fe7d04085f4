from __future__ import annotations

import builtins
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.moving.files import ImportRefused
from relay.cli.moving.report import Report, Verdict
from relay.cli.moving.structured import Entry, Expression, Keys, read_toml, read_yaml

READERS = pytest.mark.parametrize("read", [read_yaml, read_toml])


def test_yaml_has_lines_and_javascript() -> None:
    entry = read_yaml("a:\n  b: [1, x]\n  c: !!js/regexp /x/i\n  d: yes\n  e: ~\n", "f")
    table = entry.table["a"].table
    assert [(each.text, each.line) for each in table["b"].items] == [("1", 2), ("x", 2)]
    assert table["c"].content == Expression("regexp", "/x/i")
    assert (table["d"].content, table["e"].content, table["c"].line) == (True, None, 3)


def test_toml_has_lines() -> None:
    entry = read_toml('a = 1\n[b.c]\nd = ["x",\n"y"]\ne = true\n', "f")
    inner = entry.table["b"].table["c"]
    assert (inner.line, inner.table["d"].line, inner.table["e"].line) == (2, 3, 5)
    assert inner.table["d"].texts == ["x", "y"]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_yaml, "a: [1"),
        (read_yaml, "\t- a"),
        (read_yaml, "[" * 100 + "]" * 100),
        (
            read_yaml,
            "a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n" + "d: " + "[*c" + ",*c" * 20_000 + "]",
        ),
        (read_toml, "a = "),
        (read_toml, "a = " + "[" * 100 + "]" * 100),
    ],
)
def test_what_cannot_be_read_is_refused(read: Callable[[str, str], Entry], text: str) -> None:
    with pytest.raises(ImportRefused) as caught:
        read(text, "f")
    assert str(caught.value).startswith("f:")
    assert "\n" not in str(caught.value)


@READERS
@given(text=st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*!'\"\n =#.", max_size=80))
def test_any_text_is_read_or_refused(read: Callable[[str, str], Entry], text: str) -> None:
    try:
        read(text, "f")
    except ImportRefused as error:
        assert "\n" not in str(error)


def test_without_pyyaml_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    own = builtins.__import__

    def without(name: str, *others: object) -> object:
        if name == "yaml":
            raise ImportError
        return own(name, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportRefused, match=r"pip install 'syslogrelay\[import\]'"):
        read_yaml("a: 1", "f")


def test_every_key_is_in_the_report_and_secrets_are_not() -> None:
    report = Report()
    keys = Keys(
        read_yaml("port: 10k\ntoken: abcdef\nodd: {a: 1}\nkeep: true\n", "f"),
        report,
        "f",
        hidden=("token",),
    )
    port, token = keys.take("port"), keys.take("token")
    assert port is not None and token is not None
    assert port.whole == 10_000
    port.taken("is the port")
    token.taken("is in a file")
    keys.pass_over({"keep": "always"})
    keys.finish()
    assert [statement.verdict for statement in report.statements] == [
        *(Verdict.TAKEN, Verdict.TAKEN, Verdict.UNSUPPORTED, Verdict.TAKEN),
    ]
    assert "abcdef" not in "\n".join(report.lines())
