from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.cli.queue import access
from relay.queue.transaction import Refusal, Transaction
from tests import queue_files


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["audit", *arguments, "--state-dir", str(folder)])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state directory of a stopped relay: something of each kind."""
    with queue_files.opened(tmp_path / "queue", "a", sources=["in"]) as store:
        queue_files.append(store, a=[b"%d" % number for number in range(10)])
        queue_files.remove(store, "a", 5)
        queue_files.set_aside(store, "a", 2)
        store.commit(Transaction(0.0, drops={"a": {"noise": 3}}))
        store.commit(Transaction(7.0, refusals=[Refusal("in", "no", "p", [b"x"], 10_000)]))
    return tmp_path


def test_all_adds_up(folder: Path) -> None:
    header, a, source, drops = run(folder).splitlines()
    assert header.split()[:3] == ["account", "received", "=delivered"]
    assert a.split() == ["a", "13", "4", "4", "2", "3", "yes"]
    assert source.split() == ["source/in", "1", "0", "0", "1", "0", "yes"]
    assert drops == "a: dropped 3 (noise)"
    a_row, _ = json.loads(run(folder, "--json"))
    assert a_row == {
        "id": "a",
        "received": 13,
        "delivered": 4,
        "queued": 4,
        "quarantined": 2,
        "dropped": {"noise": 3},
        "gap": 0,
        "problems": [],
    }


def forge(folder: Path, **changes: int) -> None:
    text = queue_files.put(folder / "queue", "meta", b"ledger/a", None)
    ledger = {**json.loads(text or b""), **changes}
    queue_files.put(folder / "queue", "meta", b"ledger/a", json.dumps(ledger).encode())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delivered": 3}, ["a: its ledger has 1 record less than were received"]),
        ({"delivered": 6}, ["a: its ledger has 2 records more than were received"]),
        (
            {"next_seq": 13},
            ["a: the block of record 1 has 10 records, the numbers around it leave room for 12"],
        ),
        (
            {"quarantined": 1, "delivered": 5},
            ["a: its quarantine holds 2 records, the ledger counts 1"],
        ),
        (
            {"acknowledged_seq": 12, "delivered": 9},
            ["a: the ledger counts -1 records as queued"],
        ),
    ],
)
def test_what_does_not_add_up_is_said(
    folder: Path, changes: dict[str, int], message: list[str]
) -> None:
    forge(folder, **changes)
    lines = run(folder, status=1).splitlines()
    assert lines[1].split()[-1] == "no"
    assert lines[2].split()[-1] == "yes"
    assert lines[4:] == message
    assert json.loads(run(folder, "--json", status=1))[0]["problems"] == [message[0][3:]]


def test_records_that_are_missing_are_said(folder: Path) -> None:
    queue_files.put(folder / "queue", "blocks/a", 1, None)
    assert "a: records 7 to 10 in no block" in run(folder, status=1)


def test_an_entry_that_is_missing_is_said(folder: Path) -> None:
    queue_files.put(folder / "queue", "quarantine/source/in", struct.pack(">Q", 1), None)
    assert "source/in: its quarantine holds 0 records" in run(folder, status=1)


def test_what_cannot_be_found_out_is_status_two(tmp_path: Path) -> None:
    assert "no relay is running" in run(tmp_path, status=2)


def test_a_relay_that_cannot_store_fails_the_audit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "nothing can be stored: No space left on device (since 2027-01-15T08:00:00.000Z)"
    monkeypatch.setattr(access._Stopped, "failure", message)
    lines = run(folder, status=1).splitlines()
    assert lines[1].split() == ["(queue", "file)", "0", "0", "0", "0", "0", "no"]
    assert lines[-1] == f"(queue file): {message}"
    first, *_ = json.loads(run(folder, "--json", status=1))
    assert (first["id"], first["problems"]) == ("(queue file)", [message])
