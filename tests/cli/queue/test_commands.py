from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.queue.inspect.queries import Account
from relay.queue.transaction import Transaction
from tests import queue_files

TOKEN = b"0d3f1f60-aaaa-bbbb-cccc-123456789abc"


class Queue:
    """The queue of a relay that is stopped, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "queue"
        with queue_files.opened(self.path, "a", "b") as store:
            queue_files.append(
                store,
                at=1000.0,
                a=[
                    b"<%d>Oct 11 22:14:15 host%d prog: message %d" % (8 + i, i % 2, i)
                    for i in range(6)
                ],
            )
            queue_files.append(store, at=2000.0, a=[b"<13>Oct 11 22:14:15 web %s: last" % TOKEN])
            queue_files.remove(store, "a", 2)

    def run(self, *arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(main, ["queue", *arguments, "--state-dir", str(self.folder)])
        assert done.exit_code == status, done.output
        return done.output

    def numbers(self, *arguments: str, status: int = 0) -> list[int]:
        return [int(line.split()[0]) for line in self.run(*arguments, status=status).splitlines()]


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_queues_are_listed(queue: Queue) -> None:
    header, a, empty, state, empty_too, space = queue.run("ls").splitlines()
    assert (empty, empty_too) == ("", "")
    assert space.startswith(f"{queue.path}/data.mdb takes ")
    assert space.endswith(" KiB on disk, 4 KiB are in use")
    assert header.split() == ["queue", "records", "bytes", "oldest", "quarantined"]
    assert a.split()[:2] == ["a", "6"]
    assert state == "a: the relay is stopped"  # and b never had any
    (row,) = json.loads(queue.run("ls", "--json"))
    assert (row["id"], row["records"], row["quarantined"]) == ("a", 6, 0)
    assert row["oldest_seconds"] > 10**9


def test_a_file_that_is_worth_compacting_is_said_to_be(queue: Queue) -> None:
    with (queue.path / "data.mdb").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 80 * 1024 * 1024)
    assert "80 MiB on disk" in queue.run("ls")
    assert queue.run("ls").endswith("or `queue compact` gives it back\n")


def test_a_configuration_tells_orphans_from_destinations(queue: Queue) -> None:
    config = queue.folder / "relay.toml"
    config.write_text(
        f'[relay]\nstate_dir = "{queue.folder}"\n[sources.in]\nlisten = "udp://:1514"\n'
        '[destinations.b]\nconnect = "tcp://far:1"\n'
    )
    done = CliRunner().invoke(main, ["queue", "ls", "--json", "--config", str(config)])
    (row,) = json.loads(done.output)
    assert (row["id"], row["state"]) == ("a", "orphan: no destination of the configuration")


def test_second_queues_are_those_of_their_destinations(tmp_path: Path) -> None:
    with queue_files.opened(tmp_path / "queue", "a", "lane/a", "lane/b") as store:
        store.commit(Transaction(1.0, {"lane/a": [b"<13>x"], "lane/b": [b"<13>y"]}))
    config = tmp_path / "relay.toml"
    config.write_text(
        f'[relay]\nstate_dir = "{tmp_path}"\n[sources.in]\nlisten = "udp://:1514"\n'
        '[destinations.a]\nconnect = "tcp://far:1"\n'
    )
    done = CliRunner().invoke(main, ["queue", "ls", "--json", "--config", str(config)])
    assert [(row["id"], row["state"]) for row in json.loads(done.output)] == [
        ("lane/a", "the relay is stopped"),
        ("lane/b", "orphan: no destination of the configuration"),
    ]


def test_the_oldest_and_the_newest_are_shown(queue: Queue) -> None:
    assert queue.numbers("peek", "a") == [2, 3, 4, 5, 6, 7]
    assert queue.numbers("peek", "a", "-n", "2") == [2, 3]
    assert queue.numbers("tail", "a", "-n", "2") == [6, 7]
    assert queue.numbers("tail", "a", "-n", "99") == [2, 3, 4, 5, 6, 7]
    line = queue.run("peek", "a", "-n", "1")
    assert line == "2  1970-01-01T00:16:40.000Z  <9>Oct 11 22:14:15 host1 prog: message 1\n"
    shown = json.loads(queue.run("tail", "a", "-n", "1", "--json"))
    assert shown == {
        "seq": 7,
        "at": "1970-01-01T00:33:20.000Z",
        "payload": "<13>Oct 11 22:14:15 web 0d3f…9abc: last",
    }


def test_following_needs_a_relay(queue: Queue) -> None:
    assert "no relay is running, so there are no new records" in queue.run(
        "tail", "a", "-f", status=2
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["message [12]"], [2, 3]),
        (["MESSAGE 1"], []),
        (["MESSAGE 1", "-i"], [2]),
        (["message [12]", "-F"], []),
        (["host1", "-F"], [2, 4, 6]),
        (["", "--hostname", "HOST*"], [2, 3, 4, 5, 6]),
        (["", "--hostname", "host1", "--severity", "..err"], [2, 4]),
        (["", "--severity", "warning.."], [5, 6, 7]),
        (["", "--since", "1970-01-01T00:20:00Z"], [7]),
        (["", "--since", "1970-01-01T00:33:20.001Z"], []),
    ],
)
def test_records_are_found(queue: Queue, options: list[str], found: list[int]) -> None:
    status = 0 if found else 1
    assert queue.numbers("grep", "a", *options, status=status) == found
    assert queue.numbers("grep", "a", *options, "--count", status=status) == [len(found)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["("], "not a regular expression"),
        (["x", "--since", "yesterday"], "'yesterday' is no time such as"),
        (
            ["x", "--severity", "..bad"],
            "there is no severity 'bad'; allowed are 0 to 7 and emerg, alert",
        ),
    ],
)
def test_what_cannot_be_looked_for(queue: Queue, options: list[str], message: str) -> None:
    assert message in queue.run("grep", "a", *options, status=2)


@pytest.mark.parametrize("text", ["", "8", "none", "..8", "err...info", "-1..", "err..emerg"])
def test_what_is_no_severity(queue: Queue, text: str) -> None:
    assert "--severity: " in queue.run("grep", "a", "x", f"--severity={text}", status=2)


def exported(queue: Queue, *arguments: str, status: int = 0) -> tuple[bytes, str]:
    command = ["queue", "export", *arguments, "--state-dir", str(queue.folder)]
    done: Any = CliRunner().invoke(main, command)
    assert done.exit_code == status, done.output
    return done.stdout_bytes, done.stderr


def test_an_export_has_the_octets_as_they_are(queue: Queue) -> None:
    with queue_files.opened(queue.path, "b") as store:
        queue_files.append(store, b=[b"one\ntwo", b"\xff\x00"])
    assert exported(queue, "b") == (b"7 one\ntwo2 \xff\x00", "2 records\n")
    data, message = exported(queue, "b", "--lines")
    assert data == b"one\ntwo\n\xff\x00\n"
    assert message.startswith("2 records\n1 of them with line feeds")
    assert TOKEN in exported(queue, "a")[0]


def test_only_an_orphan_is_exported_as_one(queue: Queue) -> None:
    _, message = exported(queue, "a", "--orphan", status=2)
    assert "a is no orphan, or that cannot be told" in message


def test_damage_is_said_and_the_rest_is_shown(queue: Queue) -> None:
    queue_files.damage(queue.path, "a", 1)
    data, message = exported(queue, "a", status=1)
    assert data.endswith(b": last")
    assert message == "from record 2 on: checksum mismatch\n1 record\n"
    assert queue.run("peek", "a").startswith("from record 2 on: checksum mismatch\n7 ")
    assert queue.run("grep", "a", "last", "--count").endswith("\n1\n")


# What was delivered.


@pytest.fixture
def delivered(tmp_path: Path) -> Queue:
    """Records 1 to 4 were delivered at 5,000 s, and 5 to 7 at 6,000."""
    queue = Queue(tmp_path)
    with queue_files.opened(queue.path, histories=queue_files.kept("a")) as store:
        queue_files.remove(store, "a", 5, at=5000.0)
        queue_files.remove(store, "a", 8, at=6000.0)
    return queue


def test_histories_are_listed_where_there_are_any(delivered: Queue) -> None:
    header, a, *_, space = delivered.run("ls").splitlines()
    assert header.split()[-2:] == ["history", "since"]
    assert " 4KiB  " in a
    assert space.endswith(" KiB on disk, 4 KiB are in use")
    (row,) = json.loads(delivered.run("ls", "--json"))
    assert (row["records"], row["history_bytes"]) == (0, 4096)
    assert row["history_seconds"] > 10**9


def test_what_was_delivered_is_shown_with_both_times(delivered: Queue) -> None:
    assert delivered.numbers("peek", "a") == []
    assert delivered.numbers("peek", "a", "--history") == [2, 3, 4, 5, 6, 7]
    assert delivered.numbers("tail", "a", "--history", "-n", "2") == [6, 7]
    line = delivered.run("peek", "a", "--history", "-n", "1")
    assert line.startswith("2  1970-01-01T00:16:40.000Z  1970-01-01T01:23:20.000Z  <9>Oct 11")
    shown = json.loads(delivered.run("tail", "a", "--history", "-n", "1", "--json"))
    assert shown == {
        "seq": 7,
        "at": "1970-01-01T00:33:20.000Z",
        "payload": "<13>Oct 11 22:14:15 web 0d3f…9abc: last",
        "delivered_at": "1970-01-01T01:40:00.000Z",
    }
    assert "there is no history of 'b'; there is: a" in delivered.run(
        "peek", "b", "--history", status=2
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["message [12]"], [2, 3]),
        (["", "--since", "1970-01-01T01:30:00Z"], [5, 6, 7]),
        (["", "--until", "1970-01-01T01:30:00Z"], [2, 3, 4]),
        (["", "--since", "1970-01-01T00:20:00Z", "--received"], [7]),
        (["", "--until", "1970-01-01T00:20:00Z", "--received"], [2, 3, 4, 5, 6]),
        (["", "--hostname", "host1", "--severity", "..err"], [2, 4]),
        (["", "--since", "1h"], []),
    ],
)
def test_what_was_delivered_is_found(
    delivered: Queue, options: list[str], found: list[int]
) -> None:
    status = 0 if found else 1
    assert delivered.numbers("grep", "a", "--history", *options, status=status) == found


def test_what_was_delivered_is_exported(delivered: Queue) -> None:
    options = ("--history", "--until", "1970-01-01T01:30:00Z", "--lines")
    *lines, count = delivered.run("export", "a", *options).splitlines()
    assert (len(lines), count) == (3, "3 records")
    assert delivered.run("export", "a", "--lines") == "0 records\n"


def test_what_waits_is_chosen_by_when_it_came_in(queue: Queue) -> None:
    before = ("--until", "1970-01-01T00:20:00Z")
    assert queue.numbers("peek", "a", *before) == [2, 3, 4, 5, 6]
    assert queue.numbers("peek", "a", "--since", "1970-01-01T00:20:00Z") == [7]
    assert queue.run("export", "a", "--lines", *before).endswith("5 records\n")


@pytest.mark.parametrize(
    ("backlog", "live", "message"),
    [
        ("idle", "connecting to up", {"a": "connecting to up", "lane/a": "idle"}),
        ("connected", "refused", {"a": "live: refused", "lane/a": "backlog: connected"}),
    ],
)
def test_both_lanes_are_listed_in_the_words_of_status(
    backlog: str,
    live: str,
    message: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    class Running:
        live, used_bytes = True, 0

        def ask(self, query: str, answer: Any) -> list[Account]:
            return [Account(id=id) for id in ("a", "lane/a", "lane/b")]

    lanes = {
        "backlog": {"queue": "lane/a", "state": backlog},
        "live": {"queue": "a", "state": live},
    }
    document = {"destinations": [{"id": "a", "state": "whole", "lanes": lanes}]}
    monkeypatch.setattr("relay.cli.queue.commands.opened", lambda _: nullcontext(Running()))
    monkeypatch.setattr("relay.cli.queue.commands.ask", lambda *_: document)
    arguments = ["queue", "ls", "--state-dir", str(tmp_path)]
    listed = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert {row["id"]: row["state"] for row in listed} == message
    lines = CliRunner().invoke(main, arguments).output.splitlines()
    assert {f"{id}: {state}" for id, state in message.items()} <= set(lines)


def test_keys_are_shown_apart(queue: Queue) -> None:
    with queue_files.opened(queue.path, "a", "b") as store:
        queue_files.append(
            store, at=2000.0, b=[b"\0KEY web/1.log\0<13>Oct 11 22:14:15 web su: one"]
        )
    (line,) = queue.run("peek", "b").splitlines()
    assert line.endswith("Z  [web/1.log] <13>Oct 11 22:14:15 web su: one")
    shown = json.loads(queue.run("peek", "b", "--json"))
    assert (shown["key"], shown["payload"]) == ("web/1.log", "<13>Oct 11 22:14:15 web su: one")
    assert queue.run("grep", "b", "su", "--hostname", "web", "--count") == "1\n"
    assert queue.run("grep", "b", "1.log", "--count", status=1) == "0\n"
    assert queue.run("export", "b", "--lines").startswith("<13>Oct 11 22:14:15 web su: one\n")
    assert queue.run("export", "b").startswith("46 \0KEY web/1.log\0<13>")
