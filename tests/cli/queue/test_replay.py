from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.queue.inspect.commands import Replayed, ReplayHistory, ReplayQuarantined, TakenOut
from relay.queue.inspect.queries import Account
from relay.service.destinations.commands import SomeDestination
from relay.service.queue.commands import AppendTo
from tests import queue_files


class Relay:
    """A relay that gives the answers it is told, and notes what it was asked."""

    live = True
    used_bytes = 0
    failure = ""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[tuple[str, Any]] = []
        self.slept: list[float] = []

    def ask(self, command: str, kind: Any, arguments: Any = None) -> Any:
        if command == "queue-accounts":
            lanes = [Account(id="lane/b", next_seq=9, history_bytes=4096), Account(id="lane/a")]
            return [Account(id="a", next_seq=9, quarantined=2), *lanes]
        self.asked.append((command, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    relay = Relay()

    @contextmanager
    def opened(where: Any) -> Iterator[Relay]:
        yield relay

    monkeypatch.setattr("relay.cli.queue.replay.opened", opened)
    monkeypatch.setattr("relay.cli.queue.replay.time.sleep", relay.slept.append)
    return relay


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["queue", *arguments])
    assert done.exit_code == status, done.output
    return done.output


SINCE = ("--since", "1970-01-01T00:01:40Z")


def test_what_was_delivered_is_replayed_step_by_step(relay: Relay) -> None:
    relay.answers = [
        Replayed(records=3000, begins_at=50.0, next_seq=7, upto=20),
        Replayed(records=5, begins_at=60.0, next_seq=0, upto=20),
    ]
    assert run("replay", "a", *SINCE) == "3,005 messages are in the queue of a again\n"
    (first, second) = [arguments for _, arguments in relay.asked]
    assert isinstance(first, ReplayHistory)
    assert (first.queue, first.to, first.start, first.upto) == ("a", "a", 0, 0)
    assert (first.period.since, first.period.to, first.period.by_receipt) == (100.0, 0.0, False)
    assert (second.start, second.upto) == (7, 20)


def test_a_period_of_another_destination_by_receipt(relay: Relay) -> None:
    relay.answers = [Replayed(begins_at=50.0, upto=2)]
    until = ("--until", "1970-01-01T00:02:00Z")
    run("replay", "a", *SINCE, *until, "--from", "old", "--received")
    ((_, asked),) = relay.asked
    assert (asked.queue, asked.to) == ("old", "a")
    assert (asked.period.to, asked.period.by_receipt) == (120.0, True)


def test_of_two_lanes_both_histories_are_replayed(relay: Relay) -> None:
    relay.answers = [
        Replayed(records=3, begins_at=50.0, upto=20),
        Replayed(records=4, begins_at=50.0, upto=9),
    ]
    assert run("replay", "b", *SINCE) == "7 messages are in the queue of b again\n"
    assert [(asked.queue, asked.to, asked.upto) for _, asked in relay.asked] == [
        *(("b", "b", 0), ("lane/b", "b", 0))
    ]


def test_it_waits_for_room(relay: Relay) -> None:
    full = {"waits": "the queue takes nothing now: it is full", "upto": 20}
    relay.answers = [
        Replayed(**full),
        Replayed(records=1, begins_at=50.0, next_seq=7, **full),
        Replayed(next_seq=7, **full),
        Replayed(records=1, begins_at=200.0, upto=20),
    ]
    lines = run("replay", "a", *SINCE).splitlines()
    assert lines == [
        "the queue takes nothing now: it is full: waiting; 0 so far",
        "2 messages are in the queue of a again",
    ]
    assert relay.slept == [1.0, 1.0, 1.0]
    assert [(asked.start, asked.upto) for _, asked in relay.asked] == [
        *((0, 0), (0, 20), (7, 20), (7, 20))
    ]


def test_what_is_not_among_them_is_said(relay: Relay) -> None:
    relay.answers = [Replayed(records=1, damaged=2, gone=3000, begins_at=150.0, upto=20)]
    assert run("replay", "a", *SINCE, status=1).splitlines() == [
        "the history of a begins with 1970-01-01T00:02:30.000Z",
        "1 message is in the queue of a again",
        "2 cannot be read and are not among them",
        "up to 3,000 are not among them: they left the history meanwhile, to make room "
        "for new records",
    ]
    relay.answers = [Replayed(upto=20)]
    assert "the history of a is empty\n0 messages" in run("replay", "a", *SINCE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a"], "add --since TIME for delivered messages of DESTINATION, or --to DESTINATION"),
        (["a", "--since", "x"], "--since: 'x' is no time such as"),
        (["a", "--since", "1h", "--until", "b"], "--until: 'b' is no time such as"),
        (["a", "--since", "1h", "--to", "b"], "--to and --lines are for files"),
        (["a", "--to", "b", "--until", "1h"], "add --since"),
        (["a", "--since", "1h", "--lines"], "--to and --lines are for files"),
        (["a", "--to", "b", "--from", "c"], "add --since"),
        (["a", "--to", "b", "--received"], "add --since"),
        (["/nowhere/at all", "--to", "b"], "/nowhere/at all: No such file or directory"),
    ],
)
def test_what_makes_no_sense(relay: Relay, arguments: list[str], text: str) -> None:
    assert text in run("replay", *arguments, status=2)
    assert relay.asked == []


def test_a_file_is_replayed(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"3 one3 two")
    relay.answers = [2]
    output = run("replay", str(tmp_path / "file"), "--to", "a")
    assert output == "2 messages went into the queue of a\n"
    assert relay.asked == [("queue-append", AppendTo("a", [b"one", b"two"]))]


def test_a_file_of_something_else_says_how_far_it_got(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"3 oneand so on")
    relay.answers = [1]
    output = run("replay", str(tmp_path / "file"), "--to", "a", status=2)
    assert output.startswith("1 message went into the queue of a\n")
    assert output.endswith("; is it one message a line (--lines)?\n")
    relay.answers = [1]
    assert "1 message went" in run("replay", str(tmp_path / "file"), "--to", "a", "--lines")


def test_the_quarantine_and_what_is_in_flight_are_requeued(relay: Relay) -> None:
    relay.answers = [1200, TakenOut(3, 1, next_seq=5), TakenOut(1)]
    assert run("requeue", "a").splitlines() == [
        "4 records moved from the quarantine to a",
        "not moved, because they cannot be read: 1 damaged block",
        "1,200 records in flight: sent again",
    ]
    assert relay.asked == [
        ("requeue", SomeDestination("a")),
        ("quarantine-replay", ReplayQuarantined("a", "a", (), 0, 9)),
        ("quarantine-replay", ReplayQuarantined("a", "a", (), 5, 9)),
    ]


def test_some_of_the_quarantine_is_requeued_and_nothing_else(relay: Relay) -> None:
    relay.answers = [TakenOut(2)]
    assert run("requeue", "a", "3", "4") == "2 records moved from the quarantine to a\n"
    assert relay.asked == [("quarantine-replay", ReplayQuarantined("a", "a", (3, 4)))]


@pytest.mark.parametrize("arguments", [["replay", "a", "--since", "1h"], ["requeue", "a"]])
def test_both_need_a_relay_that_runs(tmp_path: Path, arguments: list[str]) -> None:
    with queue_files.opened(tmp_path / "queue"):
        pass
    output = run(*arguments, "--state-dir", str(tmp_path), status=2)
    assert "no relay is running, and only a running relay can do that" in output
