"""Random reloads while messages stream in, through two relays.

    steady ──RELP──▶            ┌──▶ all.log
    local ──unixgram──▶  edge  ─┼──RELP──▶ central ──▶ central.log
    other ──RELP──▶             └──▶ extra.log, which comes and goes

The source `steady` never changes, so its connections are never cut.  All else changes at random,
and each message arrives once in both files.

The seed is printed; set RELOAD_SEED to repeat it, and RELOADS to go on for longer.
"""

from __future__ import annotations

import copy
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli.control_client import ask
from relay.cli.main import main
from tests.crash.audit import status_of
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

RELOADS = int(os.environ.get("RELOADS", "10"))
BATCH = 20
_NUMBER = re.compile(rb"#(\w+)-(\d+)#")


class Sender(threading.Thread):
    """Sends numbered messages until it is told to finish; one that nobody answered comes again."""

    def __init__(self, name: str, send: Callable[[list[bytes]], list[bytes]]) -> None:
        super().__init__(name=name, daemon=True)
        self.count = 0
        self.failure: BaseException | None = None
        self._send = send
        self._stopping = threading.Event()

    def run(self) -> None:
        left: list[bytes] = []
        try:
            while left or not self._stopping.is_set():
                if not self._stopping.is_set():
                    new = range(self.count, self.count + BATCH)
                    left += [b"<13>%s: #%s-%d#" % (2 * (self.name.encode(),) + (n,)) for n in new]
                    self.count += BATCH
                left = self._send(left)
                self._stopping.wait(0.005)
        except BaseException as error:
            self.failure = error

    def finish(self) -> set[tuple[bytes, int]]:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive(), f"{self.name} does not end"
        assert self.failure is None, (self.name, repr(self.failure))
        return {(self.name.encode(), number) for number in range(self.count)}


class Steady:
    """One connection, which must not be cut."""

    def __init__(self, port: int) -> None:
        self._session = RelpSender(port)

    def __call__(self, messages: list[bytes]) -> list[bytes]:
        self._session.send(messages)
        self._session.wait_answered()
        return []


class Patient:
    """One connection after the other; what was not answered is left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session: RelpSender | None = None
        self.sessions = 0

    def __call__(self, messages: list[bytes]) -> list[bytes]:
        session = self._session
        try:
            if session is None:
                self._session = session = RelpSender(self._port)
                self.sessions += 1
            before = len(session.answered)
            session.send(messages)
            session.wait_answered()
        except OSError:
            self._session = None
            if session is None:
                return messages
            answered = Counter(session.answered[before:])
            return [message for message in messages if not answered[message]]
        return []


def to_socket(path: Path) -> Callable[[list[bytes]], list[bytes]]:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(messages: list[bytes]) -> list[bytes]:
        for number, message in enumerate(messages):
            try:
                sender.sendto(message, str(path))
            except OSError:  # not there for a moment
                return messages[number:]
        return []

    return send


class Edge:
    """The relay that is reloaded, and its configuration."""

    def __init__(self, programs: Programs, folder: Path, central_port: int) -> None:
        self.folder, self.steady, self.other = folder, free_port(), free_port()
        self.tables: dict[str, Any] = {
            "sources": {
                "steady": {"listen": f"relp://127.0.0.1:{self.steady}"},
                "local": {"listen": f"unixgram:{folder}/local"},
                "other": {"listen": f"relp://127.0.0.1:{self.other}"},
            },
            "destinations": {
                "all": {"connect": f"file:{folder}/all.log"},
                "central": {"connect": f"relp://127.0.0.1:{central_port}"},
            },
        }
        self.process = RelayProcess.started(programs, folder, name="edge", **self.tables)
        self.own = {
            "name": "edge",
            "state_dir": str(self.process.state_dir),
            "allow_volatile_state": True,
        }

    def reload(self, tables: dict[str, Any]) -> Any:
        self.tables = tables
        relay = {**self.own, **tables.pop("relay", {})}
        self.process.configure(relay=relay, **tables)
        return ask(str(self.process.state_dir), "reload", seconds_max=30.0)


def changed(tables: dict[str, Any], folder: Path, dice: random.Random) -> dict[str, Any]:
    """Another configuration, which takes the same messages."""
    tables = copy.deepcopy(tables)
    sources, destinations = tables["sources"], tables["destinations"]
    for _ in range(dice.randint(1, 3)):
        match dice.randrange(9):
            case 0:
                sources["local"]["frame_bytes_max"] = dice.randint(1000, 9000)
            case 1:
                sources["other"]["idle_seconds_max"] = dice.randint(100, 900)
            case 2:
                destinations["central"]["window_records"] = dice.randint(50, 500)
            case 3:
                destinations["central"]["order"] = dice.choice(["oldest-first", "live-first"])
            case 4:
                destinations["central"]["queue_seconds_max"] = dice.randint(3000, 9000)
                destinations["all"]["history"] = dice.choice(["1m", "2m"])
            case 5:
                destinations["all"]["format"] = {"name": dice.choice(["rfc5424", "raw"])}
            case 6:
                tables["relay"] = {"quarantine_bytes_max": dice.randint(10**6, 10**7)}
            case 7:
                tables["web"] = {"listen": "http://127.0.0.1:0", "host_names": [dice.choice("ab")]}
            case 8 if "extra" in destinations:
                del destinations["extra"]
            case _:
                extra = {"connect": f"file:{folder}/extra.log", "queue_bytes_max": "64 MiB"}
                destinations["extra"] = {**extra, "match": {"msg": str(dice.randrange(9))}}
    return tables


def numbers(lines: Iterable[bytes]) -> Counter[tuple[bytes, int]]:
    found = (_NUMBER.search(line) for line in lines)
    return Counter((each[1], int(each[2])) for each in found if each is not None)


def seed() -> int:
    return int(os.environ.get("RELOAD_SEED") or random.randrange(10**6))


@pytest.mark.slow
def test_random_reloads_under_load_lose_and_repeat_nothing(
    programs: Programs, tmp_path: Path
) -> None:
    dice = random.Random(chosen := seed())
    print(f"RELOAD_SEED={chosen}")
    port = free_port()
    central = RelayProcess.started(
        programs,
        tmp_path / "central",
        name="central",
        sources={"in": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file:{tmp_path}/central.log"}},
    )
    edge = Edge(programs, tmp_path / "edge", port)
    senders = [Sender(f"steady{number}", Steady(edge.steady)) for number in range(3)]
    senders += [Sender("local", to_socket(edge.folder / "local"))]
    senders += [Sender("other", Patient(edge.other))]
    for sender in senders:
        sender.start()
    for number in range(RELOADS):
        began = time.monotonic()
        answer = edge.reload(changed(edge.tables, edge.folder, dice))
        changes = [f"{each['table']} {each['keys']}" for each in answer["changes"]]
        print(f"{number}: {time.monotonic() - began:.2f} s, {', '.join(changes)}")
        assert (answer["problems"], answer["failures"]) == ([], []), answer
        time.sleep(dice.uniform(0.05, 0.25))
        if number == RELOADS // 2:
            edge.process.config_path.write_text("[relay\n")
            assert ask(str(edge.process.state_dir), "reload")["problems"]
    last = copy.deepcopy(edge.tables)
    last["destinations"]["extra"] = {"connect": f"file:{edge.folder}/extra.log"}
    last["destinations"]["central"]["order"] = "live-first"  # the accounts of both lanes are shown
    edge.reload(last)
    sent = set().union(*(sender.finish() for sender in senders))
    for name, path in (("edge", edge.folder / "all.log"), ("central", tmp_path / "central.log")):
        wait_until(lambda path=path: len(numbers(received(path))) >= len(sent), name, 60)
        found = numbers(received(path))
        assert (sent - found.keys(), found.keys() - sent) == (set(), set()), name
        assert [each for each, count in found.items() if count > 1] == [], name
    extra = numbers(received(edge.folder / "extra.log"))
    assert [each for each, count in extra.items() if count > 1] == []
    drained(edge.process, len(sent))
    edge.process.stop()
    central.stop()


def drained(edge: RelayProcess, count: int) -> None:
    def reports() -> dict[str, Any]:
        return {each["id"]: each for each in status_of(edge)["destinations"]}

    wait_until(lambda: not any(each["queued_records"] for each in reports().values()), "drained")
    for id in ("all", "central"):
        report = reports()[id]
        assert report["delivered_records"] == count, report
        assert report["dropped_records"] == {}, report
    status = status_of(edge)
    assert (status["orphans"], status["reload"]["failures"]) == ([], [])
    assert sum(each["received_records"] for each in status["sources"]) == count


def test_the_command_and_a_hangup_reload(programs: Programs, tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "sources": {"in": {"listen": f"unixgram:{tmp_path}/in"}},
        "destinations": {"all": {"connect": f"file:{tmp_path}/all.log"}},
    }
    relay = RelayProcess.started(programs, tmp_path / "relay", **tables)
    own = {"state_dir": str(relay.state_dir), "allow_volatile_state": True, "name": "relay"}

    def reload(*options: str) -> Result:
        return CliRunner().invoke(main, ["reload", "-c", str(relay.config_path), *options])

    more = {"new": {"connect": f"file:{tmp_path}/new.log"}}
    relay.configure(relay=own, **{**tables, "destinations": {**tables["destinations"], **more}})
    dry, done = reload("--dry-run"), reload()
    expected = "  destinations.new  added\n"
    assert dry.stdout == f"{relay.config_path}: 1 change would be applied\n{expected}"
    assert done.stdout == f"{relay.config_path}: 1 change applied\n{expected}"
    assert (dry.exit_code, done.exit_code, dry.stderr, done.stderr) == (0, 0, "", "")
    relay.config_path.write_text(relay.config_path.read_text().replace("unixgram:", "unixgrm:"))
    wrong = reload()
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    problem, summary = wrong.stderr.splitlines()
    assert problem.startswith(f"{relay.config_path}:")
    assert summary == f"{relay.config_path}: nothing is changed: 1 problem"
    relay.configure(relay=own, **tables)
    relay.signal(signal.SIGHUP)
    wait_until(lambda: len(status_of(relay)["destinations"]) == 1, "the relay has reloaded")
    relay.stop()
