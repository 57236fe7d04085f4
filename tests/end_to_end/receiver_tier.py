"""The receiver tier with everything: senders, a balancer, direct receivers, an engine and a reader.

    file ─▶ sender ─┐             ┌─▶ receiver ─┐
    file ─▶ sender ─┼─▶ HAProxy ──┼─▶ receiver ─┼─▶ engine ─▶ reader ─▶ (nobody: all stays queued)
    file ─▶ sender ─┘             └─▶ receiver ─┘

A sender reads a file, whose lines it has exactly once whatever happens to it, and sends over RELP.
The queue of the reader is compared with the files' lines at the end.
"""

from __future__ import annotations

import random
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from relay.cli.control_client import AskFailed, ask
from relay.queue.store import QueueStore
from relay.wire.hops import without_hops
from tests.interop.packages import unpacked
from tests.processes import Program, Programs, free_port, is_listening_tcp, wait_until
from tests.relay_process import RelayProcess

__all__ = ["Engine", "Files", "InLog", "Tier", "late", "repeated", "runs", "trouble"]

RECEIVERS = 3
MAP_BYTES = 2**30
DOWN_SECONDS_MAX = 1.0
CALM_SECONDS_MAX = 1.0
SHOWN_MAX = 12  # runs of numbers that a failure names
QUICK = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.3}

Message = tuple[int, int]
"""Number of the sender, and of the message in its file, from 1 on."""
_MESSAGE = re.compile(rb"sender (\d+) message (\d+)\b")


class InLog(NamedTuple):
    """A record in the engine's log."""

    where: str
    """For people: partition and offset, or sequence."""
    number: str
    """Its header: lineage, seq and prev."""
    value: bytes


class Engine(Protocol):
    """An engine and its troubles, as the tier uses it."""

    destination: Mapping[str, Any]
    source: Mapping[str, Any]

    def disturb(self, chance: random.Random) -> str:
        """Begin one trouble; return its name."""

    def calm(self) -> None:
        """End all troubles."""

    def records(self) -> list[InLog]:
        """Everything in the log, when all is calm."""


class Files(threading.Thread):
    """Writes the lines of all senders, until it is told to stop.

    Attributes:
        counts: The lines of each sender so far.
    """

    def __init__(self, folder: Path, senders: int, *, pause_seconds: float) -> None:
        super().__init__(name="files", daemon=True)
        folder.mkdir(parents=True)
        self.paths = [folder / f"{number}.log" for number in range(senders)]
        self.counts = [0] * senders
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        for path in self.paths:
            path.touch()

    def run(self) -> None:
        chance = random.Random(1)
        while not self._stopping.wait(self._pause_seconds):
            for number, path in enumerate(self.paths):
                self._write(number, path, chance.choice((1, 3, 10, 40)))

    def _write(self, sender: int, path: Path, count: int) -> None:
        first = self.counts[sender] + 1
        with path.open("ab") as file:
            for number in range(first, first + count):
                file.write(b"sender %d message %d\n" % (sender, number))
        self.counts[sender] += count

    def finish(self) -> None:
        self._stopping.set()
        self.join(20)
        assert not self.is_alive()


class Tier:
    """All its programs; they run and end with the test."""

    def __init__(self, programs: Programs, folder: Path, engine: Engine, files: Files) -> None:
        self.engine = engine
        self.files = files
        ports = [free_port() for _ in range(RECEIVERS)]
        self.reader = RelayProcess(
            folder / "reader",
            name="reader",
            sources={"log": engine.source},
            destinations={"out": {"connect": f"relp://127.0.0.1:{free_port()}"}},
        )
        self.receivers = [
            RelayProcess(
                folder / f"receiver{index}",
                name=f"receiver{index}",
                sources={"net": {"listen": f"relp://127.0.0.1:{port}", "answer": "log"}},
                destinations={"log": {**QUICK, **engine.destination}},
            )
            for index, port in enumerate(ports)
        ]
        balancer = _balancer(folder, ports)
        self.senders = [
            RelayProcess(
                folder / f"sender{index}",
                name=f"sender{index}",
                sources={"file": {"listen": f"file://{path}", "tag": "app"}},
                destinations={
                    "tier": {
                        "connect": f"relp://127.0.0.1:{balancer.port}",
                        "answer_seconds_max": 10.0,
                        **QUICK,
                    }
                },
            )
            for index, path in enumerate(files.paths)
        ]
        self.relays = [self.reader, *self.receivers, *self.senders]
        for program in (balancer, *self.relays):
            programs.add(program)
            program.start(wait=False)
        for program in (balancer, *self.relays):
            program.wait_ready()

    def wait_for_all(self, seconds_max: float) -> None:
        """Wait until the reader has as many messages as were written; say where the rest is."""
        total = sum(self.files.counts)
        try:
            wait_until(lambda: self._read() >= total, f"{total} messages read", seconds_max)
        except AssertionError as error:
            print(f"{error}: {self._read()}")
            for relay in self.relays:
                print(relay.name, _brief(relay))

    def stop(self) -> None:
        """The senders first, so that everybody can finish."""
        for relay in (*self.senders, *self.receivers, self.reader):
            relay.stop(20)

    def _read(self) -> int:
        found = _status(self.reader).get("destinations") or [{}]
        return int(found[0].get("received_records", 0))

    def assert_exactly_once(self) -> None:
        """Compare what the reader has with the files.  All relays but the engine are stopped.

        A failure names numbers, and the last place where each was seen.
        """
        got = _messages(_queued(self.reader, "out"))
        expected = [
            (sender, number)
            for sender, count in enumerate(self.files.counts)
            for number in range(1, count + 1)
        ]
        seen = set(got)
        lost = [each for each in expected if each not in seen]
        twice = sorted(repeated(got))
        behind = late(got)
        log = self.engine.records()
        in_log = sum(_MESSAGE.search(record.value) is not None for record in log)
        print(
            f"{len(expected)} messages written, {in_log} records in the log, {len(got)} read: "
            f"{len(lost)} lost, {len(twice)} twice, {len(behind)} out of order"
        )
        if lost or twice or behind or len(got) != len(expected):
            print("\n".join(self._explained(lost, twice, behind, log, got)))
        assert (len(lost), len(twice), len(behind)) == (0, 0, 0), "see the account above"
        assert len(got) == len(expected)

    def _explained(
        self,
        lost: Sequence[Message],
        twice: Sequence[Message],
        behind: Sequence[Message],
        log: Sequence[InLog],
        got: Sequence[Message],
    ) -> Iterator[str]:
        places: dict[Message, list[InLog]] = defaultdict(list)
        for record in log:
            for message in _messages([record.value]):
                places[message].append(record)
        queues = {
            message for relay in self.senders for message in _messages(_queued(relay, "tier"))
        }
        for title, messages in (("lost", lost), ("twice", twice), ("out of order", behind)):
            for sender, first, last in runs(messages)[:SHOWN_MAX]:
                yield f"{title}: sender {sender}, messages {first} to {last}"
                for number in (first, last):
                    message = (sender, number)
                    waits = ", waits in the sender's queue" if message in queues else ""
                    read = [index for index, each in enumerate(got) if each == message]
                    yield f"    {number}: read at {read}{waits}; in the log:"
                    for record in places[message]:
                        yield f"        {record.where}, number {record.number}"


class _Balancer(Program):
    port: int


def _balancer(folder: Path, ports: Sequence[int]) -> _Balancer:
    """HAProxy, in TCP mode, with the checks that it makes by itself."""
    packages = unpacked()
    if packages is None:
        pytest.skip("no HAProxy: run python -m tests.interop.packages")
    port = free_port()
    servers = "\n".join(
        f"    server receiver{index} 127.0.0.1:{each} check inter 200ms fall 1 rise 1"
        for index, each in enumerate(ports)
    )
    path = folder / "haproxy.cfg"
    path.write_text(
        f"""
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    retries 3
    option redispatch 1

listen relp
    bind 127.0.0.1:{port}
    balance leastconn
{servers}
"""
    )
    balancer = _Balancer(
        [str(packages.haproxy), "-db", "-f", str(path)],
        folder=folder,
        name="haproxy",
        environment=packages.environment,
        is_ready=lambda: is_listening_tcp(port),
    )
    balancer.port = port
    return balancer


def trouble(tier: Tier, chance: random.Random, seconds: float) -> list[str]:
    """Kill, stop and disturb at random for a while; all run again at the end.

    Returns what happened.
    """
    happened: list[str] = []
    moments = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stopped: list[RelayProcess] = []
        if not happened or chance.random() < 0.4:  # the engine has its share in a short run, too
            happened.append(tier.engine.disturb(chance))
        for victim in chance.sample(tier.relays, chance.choice((1, 1, 2, 3))):
            if not victim.is_running:
                continue
            if chance.random() < 0.5:
                victim.kill()
                happened.append(f"kill {victim.name}")
            else:
                victim.signal(signal.SIGSTOP)
                stopped.append(victim)
                happened.append(f"stop {victim.name}")
        down, calm = chance.uniform(0, DOWN_SECONDS_MAX), chance.uniform(0, CALM_SECONDS_MAX)
        moments.wait(down)
        for relay in stopped:
            relay.signal(signal.SIGCONT)
        tier.engine.calm()
        for relay in tier.relays:
            if not relay.is_running:
                relay.start(wait=chance.random() < 0.5)
        moments.wait(calm)
    for relay in tier.relays:
        relay.wait_ready()
    return happened


def _status(relay: RelayProcess) -> dict[str, Any]:
    try:
        return ask(relay._control_dir, "status")
    except AskFailed:  # it listens before it can be asked
        return {}


def _brief(relay: RelayProcess) -> str:
    """What the status says of sources and destinations, without what is zero."""
    found = _status(relay)
    parts = [*found.get("sources", []), *found.get("destinations", [])]
    return "; ".join(
        ", ".join(
            f"{key}={value}"
            for key, value in part.items()
            if value and isinstance(value, str | int | float)
        )
        for part in parts
    )


def _queued(relay: RelayProcess, destination: str) -> list[bytes]:
    store = QueueStore.open(
        str(relay.state_dir / "queue"), destinations=[destination], map_bytes=MAP_BYTES
    )
    with closing(store):
        records = store.read(destination, start=1, records_max=10**9, bytes_max=10**12)
        return list(without_hops(records))


def _messages(values: Iterable[bytes]) -> list[Message]:
    found = (_MESSAGE.search(value) for value in values)
    return [(int(match[1]), int(match[2])) for match in found if match is not None]


def repeated(messages: Iterable[Message]) -> set[Message]:
    seen: set[Message] = set()
    return {each for each in messages if each in seen or seen.add(each)}  # type: ignore[func-returns-value]


def late(messages: Iterable[Message]) -> list[Message]:
    """Those that come after a message of the same sender with a greater number."""
    newest: dict[int, int] = defaultdict(int)
    found = []
    for sender, number in messages:
        if number < newest[sender]:
            found.append((sender, number))
        newest[sender] = max(newest[sender], number)
    return found


def runs(messages: Iterable[Message]) -> list[tuple[int, int, int]]:
    """Sender, first and last of consecutive numbers."""
    ordered = sorted(set(messages))
    found = []
    for (sender, _), group in groupby(
        enumerate(ordered), key=lambda item: (item[1][0], item[1][1] - item[0])
    ):
        numbers = [number for _, (_, number) in group]
        found.append((sender, numbers[0], numbers[-1]))
    return found
