from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.model.seq import SeqRange
from relay.queue.transaction import Refusal, SetAside, Transaction
from tests import queue_files

TOKEN = b"0d3f1f60-aaaa-bbbb-cccc-123456789abc"


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    command = ["quarantine", *arguments, "--state-dir", str(folder)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state directory of a stopped relay: entries of a destination and of a source."""
    with queue_files.opened(tmp_path / "queue", "a", sources=["in"]) as store:
        long = b"<13>1 - - %s - - - \x1b[31m" % TOKEN + b"x" * 500
        queue_files.append(store, a=[long, b"two", b"left"])
        queue_files.set_aside(store, "a", 2, reason="refused 5 times: 500 \x07no")
        refusal = Refusal("in", "unauthorised", "192.0.2.1:5", [b"who am I"], 10_000, [5000])
        store.commit(Transaction(7.0, refusals=[refusal]))
    return tmp_path


def test_quarantines_are_listed(folder: Path) -> None:
    header, a, source, empty, *reasons = run(folder, "ls").splitlines()
    assert header.split() == ["quarantine", "oldest", "records", "bytes"]
    assert a.split() == ["a", "1970-01-01T00:00:09.000Z", "2", "731B"]
    assert source.split() == ["source/in", "1970-01-01T00:00:07.000Z", "1", "118B"]
    assert empty == ""
    assert reasons == [
        r"a: its oldest: refused 5 times: 500 \x07no",
        "source/in: its oldest: unauthorised",
    ]
    assert [row["records"] for row in json.loads(run(folder, "ls", "--json"))] == [2, 1]


def test_an_empty_one_is_said_to_be_empty(tmp_path: Path) -> None:
    with queue_files.opened(tmp_path / "queue", "a"):
        pass
    assert run(tmp_path, "ls") == "nothing is in quarantine\n"


def test_entries_are_listed_with_their_beginning(folder: Path) -> None:
    lines = run(folder, "ls", "a").splitlines()
    assert lines[0] == r"1  1970-01-01T00:00:09.000Z  record: refused 5 times: 500 \x07no"
    assert lines[1].startswith(r"    <13>1 - - 0d3f…9abc - - - \x1b[31mxxx")
    assert lines[1].endswith("xxx…")
    assert lines[3] == "    two"
    (line,) = run(folder, "ls", "source/in", "--json").splitlines()
    entry = json.loads(line)
    assert (entry["peer"], entry["payload"], entry["kind"]) == ("192.0.2.1:5", "who am I", "frame")


def test_one_entry_is_shown_whole(folder: Path) -> None:
    lines = run(folder, "show", "a", "1").splitlines()
    assert lines[0] == "      seq  1"
    assert lines[2] == r"   reason  refused 5 times: 500 \x07no"
    assert lines[-1] == r"<13>1 - - 0d3f…9abc - - - \x1b[31m" + "x" * 500
    assert json.loads(run(folder, "show", "a", "1", "--json"))["size"] == 558
    assert "    bytes  8, cut from 5,000" in run(folder, "show", "source/in", "1").splitlines()
    raw = run(folder, "show", "a", "1", "--raw")
    assert raw == f"<13>1 - - {TOKEN.decode()} - - - \x1b[31m" + "x" * 500


def test_a_damaged_block_is_said_to_be_one(tmp_path: Path) -> None:
    with queue_files.opened(tmp_path / "queue", "a") as store:
        queue_files.append(store, a=[b"1", b"2"])
    queue_files.damage(tmp_path / "queue", "a", 1)
    with queue_files.opened(tmp_path / "queue", "a") as store:
        queue_files.remove(store, "a", 3, SetAside(SeqRange(1, 3), "checksum mismatch"))
    (line,) = run(tmp_path, "ls", "a").splitlines()
    assert line.endswith("damaged block of 2 records: checksum mismatch")


@pytest.mark.parametrize("seq", ["3", "0"])
def test_an_entry_that_is_not_there(folder: Path, seq: str) -> None:
    assert f"quarantine of a: there is no {seq}" in run(folder, "show", "a", seq, status=2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["replay", "a"], "name the entries"),
        (["replay", "a", "1", "--all"], "name the entries"),
        (["replay", "source/in", "1"], "add --to"),
        (["replay", "a", "1"], "only a running relay can do that"),
        (["purge", "a", "1"], "which holds 2 records: add --yes"),
        (["purge", "nope", "--all"], "there is no quarantine 'nope'; there is: a, source/in"),
        (["purge", "a", "--yes"], "name the entries"),
        (["purge", "a", "1", "--yes"], "only a running relay can do that"),
        (["ls", "none"], "there is no quarantine 'none'; there is: a, source/in"),
    ],
)
def test_what_cannot_be_done(folder: Path, arguments: list[str], text: str) -> None:
    assert text in run(folder, *arguments, status=2)


def test_the_key_of_a_record_is_shown_apart(tmp_path: Path) -> None:
    with queue_files.opened(tmp_path / "queue", "a") as store:
        queue_files.append(store, a=[b"\0KEY 10.0.0.1 web.log\0<13>text"])
        queue_files.set_aside(store, "a", 1, reason="refused")
    lines = run(tmp_path, "show", "a", "1").splitlines()
    assert "      key  10.0.0.1 web.log" in lines
    assert lines[-1] == "<13>text"
    shown = json.loads(run(tmp_path, "show", "a", "1", "--json"))
    assert (shown["key"], shown["payload"]) == ("10.0.0.1 web.log", "<13>text")
    assert run(tmp_path, "show", "a", "1", "--raw") == "<13>text"
    assert run(tmp_path, "ls", "a").splitlines()[1] == "    <13>text"
