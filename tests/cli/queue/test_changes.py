from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.cli.queue import changes
from relay.cli.queue.access import accounts
from relay.cli.queue.changes import check_all
from relay.queue.inspect.queries import Account, Check, Checked
from tests import queue_files


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, [*arguments, "--state-dir", str(folder)])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state directory of a stopped relay with five records for a."""
    with queue_files.opened(tmp_path / "queue", "a", "b") as store:
        queue_files.append(store, a=[b"1", b"2"], b=[b"x"])
        queue_files.append(store, a=[b"3", b"4", b"5"])
        queue_files.remove(store, "a", 2)
    return tmp_path


def test_a_whole_queue_is_said_to_be_whole(folder: Path) -> None:
    assert run(folder, "queue", "verify").splitlines() == [
        "a: whole: 4 records in 2 blocks of 59 B",
        "b: whole: 1 record in 1 block of 22 B",
    ]
    assert run(folder, "queue", "verify", "b").startswith("b: whole")


def test_a_history_is_read_as_well(folder: Path) -> None:
    with queue_files.opened(folder / "queue", histories=queue_files.kept("a")) as store:
        queue_files.remove(store, "a", 3)
        queue_files.remove(store, "a", 6)
    lines = run(folder, "queue", "verify").splitlines()
    assert lines[1] == "history of a: whole: 4 records in 2 blocks of 54 B"
    value = queue_files.put(folder / "queue", "history/a", 3, None) or b""
    queue_files.put(folder / "queue", "history/a", 3, value[:-1] + b"?")
    lines = run(folder, "queue", "verify", "a", status=1).splitlines()
    assert lines[2] == (
        "history of a: what was delivered from 3 on cannot be read: checksum mismatch"
    )
    assert "there is no queue 'c'" in run(folder, "queue", "verify", "c", status=2)


def test_damage_is_said_with_its_records(folder: Path) -> None:
    queue_files.damage(folder / "queue", "a", 3)
    lines = run(folder, "queue", "verify", status=1).splitlines()
    assert lines[0].startswith("a: damaged: ")
    assert lines[1] == "a: records 3 to 5 cannot be read: checksum mismatch"
    assert lines[2].startswith("b: whole")


@pytest.mark.parametrize(
    "arguments",
    [
        ("queue", "purge", "a", "--yes"),
        ("queue", "adopt", "a", "b"),
        ("queue", "replay", __file__, "--lines", "--to", "a"),
        ("pause", "a"),
        ("resume", "a"),
        ("connect", "a"),
        ("connect",),
    ],
)
def test_changes_need_a_relay_that_runs(folder: Path, arguments: tuple[str, ...]) -> None:
    assert "no relay is running, and only a running relay" in run(folder, *arguments, status=2)
    assert "4 records" in run(folder, "queue", "verify", "a")


def test_purging_needs_a_yes_and_something_to_purge(folder: Path) -> None:
    assert run(folder, "queue", "purge", "a", status=2) == (
        "syslogrelay: this drops all queued records of a, 4 records: add --yes\n"
    )
    for options in ([], ["--yes"]):
        assert run(folder, "queue", "purge", "nope", *options, status=2) == (
            "syslogrelay: no queue 'nope'; queues: a, b\n"
        )


def test_adopting_nothing_is_one_line(folder: Path) -> None:
    assert run(folder, "queue", "adopt", "a", "b", status=2).count("\n") == 1


def test_compacting_says_what_it_won(folder: Path) -> None:
    output = run(folder, "queue", "compact")
    assert output.startswith(f"{folder}/queue: ")
    assert output.endswith(" now\n")
    assert "whole" in run(folder, "queue", "verify")


class Compacting:
    """Answers of a relay that compacts its file, in turn."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.asked: list[Any] = []
        self._answers = list(answers)

    def __call__(self, state_dir: str, command: str, arguments: Any = None, **_: Any) -> Any:
        assert command == "queue-compact"
        self.asked.append(arguments)
        return {"number": 3, "bytes_before": 9 * 2**20, **self._answers.pop(0)}


def test_a_running_relay_is_asked_until_it_is_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Compacting({"is_over": False}, {"is_over": True, "bytes_after": 2**20})
    monkeypatch.setattr(changes, "ask", relay)
    assert run(folder, "queue", "compact").endswith(": 9 MiB before, 1 MiB now\n")
    assert relay.asked == [{"number": 0}, {"number": 3}]


def test_what_a_running_relay_has_against_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Compacting({"is_over": True, "error": "make room"})
    monkeypatch.setattr(changes, "ask", relay)
    assert "not compacted: make room" in run(folder, "queue", "compact", status=2)


def test_a_queue_that_does_not_answer_is_left_alone(folder: Path) -> None:
    with queue_files.opened(folder / "queue", "a"):
        assert "is in use by process" in run(folder, "queue", "compact", status=2)


class Pages:
    """A queue whose check takes two pages."""

    live = True
    used_bytes = 0
    failure = ""

    def __init__(self) -> None:
        self.asked: list[Check] = []

    def ask(self, command: str, kind: Any, arguments: Any = None) -> Any:
        if command == "queue-accounts":
            return [Account(id=id) for id in ("a", "source/in")]
        self.asked.append(arguments)
        return (
            Checked(1, 2, 3, ["one"], 7) if len(self.asked) == 1 else Checked(10, 20, 30, ["two"])
        )


def test_all_pages_are_checked() -> None:
    pages = Pages()
    assert check_all(pages, "a", checksums=True) == Checked(11, 22, 33, ["one", "two"])
    assert pages.asked == [Check("a", 0, True), Check("a", 7, True)]


def test_sources_have_no_queue_to_check() -> None:
    assert list(accounts(Pages())) == ["a"]
