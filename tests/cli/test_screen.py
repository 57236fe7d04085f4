from __future__ import annotations

import io
import os
import pty
import sys
from contextlib import redirect_stdout

import pytest

from relay.cli.screen import SEVERE, STRONG, Screen, Table

LONG_ID = "central-frankfurt-rack-7-relay-2.example"


def queues(*ids: str) -> Table:
    table = Table("queue", "records", "bytes", "oldest", "quarantined")
    for id in ids:
        table.add(id, "18,211", "61.2 KiB", "1 m 4 s", "0")
    return table


def printed(table: Table, width: int | None) -> list[str]:
    output = io.StringIO()
    with redirect_stdout(output):
        Screen(width).show(table)
    return output.getvalue().splitlines()


def said(text: str, width: int | None, about: str = "") -> list[str]:
    output = io.StringIO()
    with redirect_stdout(output):
        Screen(width).say(text, about=about)
    return output.getvalue().splitlines()


def test_a_table_that_fits() -> None:
    assert printed(queues("central"), 50) == [
        "queue    records    bytes  oldest  quarantined",
        "central   18,211  61.2KiB    1m4s            0",
    ]


def test_one_that_is_too_wide_has_its_numbers_below() -> None:
    assert printed(queues("central", LONG_ID), 50) == [
        "queue",
        "  records    bytes  oldest  quarantined",
        "central",
        "   18,211  61.2KiB    1m4s            0",
        LONG_ID,
        "   18,211  61.2KiB    1m4s            0",
    ]


def test_texts_that_do_not_fit_beside_each_other_have_lines_of_their_own() -> None:
    table = Table("source", "address", "received", texts=2)
    table.add("net", "tcp://:514", "1")
    table.add(LONG_ID, "unixgram:///run/syslogrelay/log", "2")
    assert printed(table, 45) == [
        *("source  address", "  received", "net  tcp://:514", "         1"),
        *(LONG_ID, "  unixgram:///run/syslogrelay/log", "         2"),
    ]


def test_one_that_is_far_too_wide_has_a_line_for_each_number() -> None:
    assert printed(queues("a", "b"), 30) == [
        *("a", "  records      18,211", "  bytes        61.2KiB"),
        *("  oldest       1m4s", "  quarantined  0", ""),
        *("b", "  records      18,211", "  bytes        61.2KiB"),
        *("  oldest       1m4s", "  quarantined  0"),
    ]
    table = Table("source", "address", "received", texts=2)
    table.add("net", "unixgram:///run/log", "1")
    assert printed(table, 9) == [
        *("net", "  address", "  unixgram:///run/log", "  received", "  1"),
    ]


@pytest.mark.parametrize("width", [None, 200, 80, 50, 20])
def test_nothing_is_cut_broken_or_padded(width: int | None) -> None:
    lines = printed(queues(LONG_ID, "central"), width)
    assert not [line for line in lines if line != line.rstrip()]
    cells = " ".join(lines).split()
    for word in (LONG_ID, "central", "18,211", "61.2KiB", "1m4s", "quarantined"):
        assert word in cells


def test_for_a_program_a_record_is_a_line_and_a_number_a_field() -> None:
    lines = printed(queues(LONG_ID * 5, "central"), None)
    assert [len(line.split()) for line in lines] == [5, 5, 5]


def test_a_text_is_wrapped_between_words_for_a_terminal_only() -> None:
    text = "refused by 10.0.0.5:20514-and-a-long-name, next try in 4 s"
    assert said(text, None, "central") == [f"central: {text}"]
    assert said(text, 50, "central") == [
        "central: refused by",
        "  10.0.0.5:20514-and-a-long-name, next try in 4 s",
    ]
    assert said("words", 10, LONG_ID) == [f"{LONG_ID}:", "  words"]
    assert said("", 80) == [""]


def test_what_others_say_cannot_move_the_cursor() -> None:
    assert said("500 \x1b[31mno\r", None) == [r"500 \x1b[31mno\r"]


@pytest.mark.parametrize(
    ("environment", "is_red"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_and_not_for_those_who_want_none(
    environment: dict[str, str], is_red: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        Screen.of_output().say("down", SEVERE, about="central")
        stdout.flush()
        shown = os.read(controller, 1000)
    os.close(controller)
    assert (b"\x1b[31m" in shown) == is_red


def test_there_is_no_colour_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = io.StringIO()
    with redirect_stdout(output):
        Screen.of_output().say("down", SEVERE, about="central")
    assert output.getvalue() == "central: down\n"


def test_a_line_is_as_long_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    parts = (("app", STRONG), ("\x1b[2J" + "x" * 100, SEVERE), ("plain", None))
    Screen(20).line(*parts)
    assert capsys.readouterr().out == rf"app \x1b[2J{'x' * 100} plain" + "\n"
