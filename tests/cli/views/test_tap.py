from __future__ import annotations

import json
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main

EVIL = b"<11>Oct 11 22:14:15 h p: \x1b[31mred\x07 \xe2\x80\xaeback \xff"


def item(payload: bytes, **more: Any) -> dict[str, Any]:
    known = {"at": 1000.5, "source": "app", "payload": b64encode(payload).decode()}
    return {**known, "size": len(payload), "left_out": 0, **more}


class Relay:
    """A control socket that answers one connection after another as it is told.

    Args:
        answers: The lines for each connection; one without "end" is cut off.
    """

    def __init__(self, folder: Path, *answers: list[Any]) -> None:
        self.folder = folder
        self.requests: list[Any] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "control.sock"))
        self._listener.listen()
        self._listener.settimeout(20)

    def serve(self) -> None:
        for lines in self._answers:
            connection, _ = self._listener.accept()
            with connection:
                self.requests.append(json.loads(connection.recv(4096)))
                connection.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._listener.close()

    def tap(self, *arguments: str) -> Result:
        server = threading.Thread(target=self.serve)
        server.start()
        done = CliRunner().invoke(main, ["tap", *arguments, "-d", str(self.folder)])
        server.join()
        return done


@contextmanager
def relay(folder: Path, *items: Any, end: str = "count") -> Iterator[Relay]:
    yield Relay(folder, [{"result": None}, *({"item": each} for each in items), {"end": end}])


def test_a_line_for_each_message_with_all_that_is_known(tmp_path: Path) -> None:
    with relay(tmp_path, item(b"<13>a", peer="192.0.2.1:7"), item(b"<13>b", peer="[::1]:9")) as one:
        done = one.tap()
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "1970-01-01T00:16:40.500Z app 192.0.2.1:7 <13>a",
        "1970-01-01T00:16:40.500Z app [::1]:9 <13>b",
    ]
    assert done.stderr == (
        "syslogrelay: what is received; Ctrl-C ends\n2 messages shown, 0 left out\n"
    )
    assert one.requests[0]["arguments"]["stage"] == "received"


def test_of_a_destination_the_number_and_the_key(tmp_path: Path) -> None:
    found = item(b"<13>a", seq=7, key=b64encode(b"in\x1bdex").decode())
    found["destination"] = found.pop("source")
    with relay(tmp_path, found) as one:
        done = one.tap("--stage", "delivered")
    assert done.stdout == "1970-01-01T00:16:40.500Z app 7 [in\\x1bdex] <13>a\n"


def test_of_a_drop_the_reason(tmp_path: Path) -> None:
    with relay(tmp_path, item(b"<13>a", peer="192.0.2.1:7", reason="no-destination")) as one:
        done = one.tap("--dropped", "app")
    assert "app 192.0.2.1:7 no-destination <13>a" in done.stdout
    assert one.requests[0]["arguments"]["stage"] == "dropped"


def test_left_out_messages_are_said_where_they_are_missing(tmp_path: Path) -> None:
    items = [item(b"a"), item(b"b", left_out=1500), {"left_out": 1503}]
    with relay(tmp_path, *items) as one:
        done = one.tap()
    assert [line.split("Z app ")[-1] for line in done.stdout.splitlines()] == [
        "a",
        "… 1,500 messages left out",
        "b",
        "… 3 messages left out",
    ]
    assert done.stderr.endswith("\n2 messages shown, 1,503 left out\n")


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_no_byte_of_a_peer_reaches_the_terminal(tmp_path: Path, option: list[str]) -> None:
    with relay(tmp_path, item(EVIL, peer="\x1b]0;evil\x07")) as one:
        done = one.tap(*option)
    shown = done.stdout if not option else str(list(json.loads(done.stdout).values()))
    assert "red" in shown
    assert all(character.isprintable() for character in done.stdout.replace("\n", ""))


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    with relay(tmp_path, item(EVIL, peer="p"), {"left_out": 3}) as one:
        done = one.tap("--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {
        "at": "1970-01-01T00:16:40.500Z",
        "source": "app",
        "peer": "p",
        "payload": r"<11>Oct 11 22:14:15 h p: \x1b[31mred\x07 \u202eback \xff",
        "size": len(EVIL),
        "left_out": 0,
    }
    assert second == {"left_out": 3}


def test_raw_is_what_came(tmp_path: Path) -> None:
    with relay(tmp_path, item(EVIL), {"left_out": 3}) as one:
        done = one.tap("--raw")
    assert done.stdout_bytes == EVIL + b"\n"


def test_a_message_that_was_cut_says_how_long_it_was(tmp_path: Path) -> None:
    with relay(tmp_path, item(b"<13>beginning", size=100_000)) as one:
        done = one.tap()
    assert done.stdout.endswith("<13>beginning… (100,000 bytes)\n")


def test_filters_are_for_the_relay(tmp_path: Path) -> None:
    with relay(tmp_path) as one:
        one.tap("--grep", "x", "-iF", "--hostname", "h*", "--severity", "..err", "--for", "1m")
    (request,) = one.requests
    assert request["command"] == "tap"
    seconds = request["arguments"].pop("seconds")
    assert 55 < seconds <= 60
    assert request["arguments"] == {
        "stage": "received",
        "id": "",
        "pattern": "x",
        "ignore_case": True,
        "fixed": True,
        "hostname": "h*",
        "severity": "..err",
        "rate": 100.0,
        "count": 0,
    }


STATUS = {"result": {"sources": [{"id": "app"}, {"id": "both"}], "destinations": [{"id": "up"}]}}


@pytest.mark.parametrize(("id", "stage"), [("app", "received"), ("up", "rewritten")])
def test_the_stage_follows_from_the_id(tmp_path: Path, id: str, stage: str) -> None:
    one = Relay(tmp_path, [STATUS], [{"result": None}, {"end": "time"}])
    assert one.tap(id).exit_code == 0
    assert one.requests[1]["arguments"]["stage"] == stage


def test_an_unknown_id_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = Relay(tmp_path, [STATUS]).tap("x\x1b")
    assert done.exit_code == 2
    assert done.stderr == (
        r"syslogrelay: there is no source or destination 'x\\x1b'; sources: app, both; "
        "destinations: up\n"
    )


def test_a_restart_is_waited_for_and_the_rest_counted_on(tmp_path: Path) -> None:
    cut = [{"result": None}, {"item": item(b"a", left_out=5)}]
    again = [{"result": None}, {"item": item(b"b", left_out=2)}, {"end": "count"}]
    one = Relay(tmp_path, cut, again)
    done = one.tap("--count", "2", "app", "--stage", "received")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "syslogrelay: what is received of app; Ctrl-C ends",
        "syslogrelay: the relay has stopped; waiting for the next",
        "syslogrelay: the relay is back; Ctrl-C ends",
        "2 messages shown, 7 left out",
    ]
    assert [each["arguments"]["count"] for each in one.requests] == [2, 1]


def test_a_relay_that_refuses_ends_it(tmp_path: Path) -> None:
    done = Relay(tmp_path, [{"error": "8 taps are open, which is the limit"}]).tap()
    assert (done.exit_code, done.stderr) == (
        2,
        "syslogrelay: 8 taps are open, which is the limit\n",
    )


def test_without_a_relay_it_ends(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["tap", "-d", str(tmp_path)])
    assert done.exit_code == 2
    assert "no relay is running" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dropped", "--stage", "received"], "--dropped is a stage of its own"),
        (["--raw", "--json"], "choose one"),
        (["--stage", "dropped"], "'dropped' is not one of"),
        (["--for", "soon"], "'soon' is no length of time"),
        (["--rate", "0"], "0"),
        (["--count", "0"], "0"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, arguments: list[str], text: str) -> None:
    done = CliRunner().invoke(main, ["tap", *arguments, "-d", str(tmp_path)])
    assert done.exit_code == 2
    assert text in done.stderr
