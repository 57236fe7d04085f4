from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.cli.output import binary_output, ending_quietly, give_up, wait_while_read

PROGRAM = str(Path(sys.executable).with_name("syslogrelay"))
NO_SPACE = "syslogrelay: cannot write: No space left on device\n"


def run(*arguments: str, stdout: int | io.IOBase) -> tuple[int, str]:
    done = subprocess.run(
        [PROGRAM, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        *(["--version"], ["--help"], ["queue", "--help"], ["queue", "ls", "--help"]),
        *(["explain", "<13>hello"], ["explain", "--json", '{"frame": "<13>hello"}']),
    ],
)
def test_output_that_cannot_be_written_is_one_line_and_status_two(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        assert run(*arguments, stdout=full) == (2, NO_SPACE)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["explain", "<13>hello"]])
def test_a_closed_pipe_ends_a_command_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        assert run(*arguments, stdout=pipe) == (141, "")


def status_of(work: Callable[[], object]) -> int:
    with pytest.raises(SystemExit) as caught, ending_quietly():
        work()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_an_interruption_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert status_of(interrupted) == 130
    assert capsys.readouterr() == ("", "")


def test_another_error_of_the_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(lambda: os.stat("/nowhere/at-all")) == 2
    message = "syslogrelay: /nowhere/at-all: No such file or directory\n"
    assert capsys.readouterr().err == message


def test_each_problem_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(lambda: give_up("one\ntwo")) == 2
    assert capsys.readouterr().err == "syslogrelay: one\nsyslogrelay: two\n"


def test_a_closed_output_is_no_reason_for_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert status_of(binary_output) == 2
    assert "standard output is closed" in capsys.readouterr().err


def test_who_waits_notices_that_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        wait_while_read(0.001)  # somebody reads: it only waits
        os.close(reader)
        before = time.monotonic()
        assert status_of(lambda: wait_while_read(600)) == 141
        assert time.monotonic() - before < 300


def test_who_writes_to_a_file_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        wait_while_read(0.001)
    slept: list[float] = []
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr("relay.cli.output.time.sleep", slept.append)
    wait_while_read(7)
    assert slept == [7]
