"""`syslogrelay tap` on a real relay: each stage, floods, and readers that stop or die."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_command_line import PROGRAM, run
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.pty_screen import PtyScreen
from tests.relay_process import RelayProcess, received, wait_for_lines

FLOOD = 100_000
SECONDS_MAX = 20.0


class Tap:
    """A running `tap` whose output is in a file."""

    def __init__(self, relay: RelayProcess, *arguments: str) -> None:
        self.relay = relay
        self.output = relay.folder / f"tap-{time.monotonic_ns()}"
        self.errors = self.output.with_suffix(".errors")
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [PROGRAM, "tap", "--json", *arguments, "-d", str(relay.state_dir)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    @property
    def items(self) -> list[dict[str, Any]]:
        lines = self.output.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    @property
    def payloads(self) -> list[str]:
        return [item["payload"] for item in self.items if "payload" in item]

    def end(self) -> str:
        """Ctrl-C; returns what it says then."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(SECONDS_MAX) == 0
        return self.errors.read_text()

    def wait_open(self) -> None:
        wait_until(lambda: "Ctrl-C ends" in self.errors.read_text(), "the tap is open", 30.0)


class Set:
    """A relay that writes to a file, and taps on it that end with the test."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.port = free_port()
        self.file = folder / "out.log"
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"in": {"listen": f"tcp://127.0.0.1:{self.port}"}},
            destinations={
                "out": {"connect": f"file:{self.file}", "rewrite": {"mode": "none"}},
            },
        )
        self.taps: list[Tap] = []

    def tap(self, *arguments: str) -> Tap:
        self.taps.append(Tap(self.relay, *arguments))
        return self.taps[-1]

    def flood(self, count: int = FLOOD) -> None:
        """Send `count` numbered messages, and wait until they are delivered."""
        before = len(received(self.file))
        feed_lines(self.port, numbered(count))
        lines = wait_for_lines(self.file, before + count, 60.0)
        assert [line for line in lines if b": flood " in line][-count:] == numbered(count)


def numbered(count: int) -> list[bytes]:
    return [b"<14>Oct 11 22:14:15 host app: flood %d" % number for number in range(count)]


@pytest.fixture
def one(programs: Programs, tmp_path: Path) -> Iterator[Set]:
    found = Set(programs, tmp_path)
    yield found
    for tap in found.taps:
        if tap.process.poll() is None:
            tap.process.kill()
            tap.process.wait()


STAGES: Sequence[Sequence[str]] = [
    ("in",),
    ("out",),
    ("out", "--stage", "delivered"),
]


def test_each_stage_shows_messages_that_fit(one: Set) -> None:
    taps = [one.tap(*stage, "--grep", "[37]7$", "--severity", "info..") for stage in STAGES]
    for tap in taps:
        tap.wait_open()
    feed_lines(one.port, numbered(100))
    for tap in taps:
        wait_until(lambda tap=tap: len(tap.payloads) == 2, "those that fit are shown")
        assert tap.payloads == [line.decode() for line in numbered(100)[37:78:40]]
        assert tap.end().endswith("\n2 messages shown, 0 left out\n")


def test_drops_are_shown_with_their_reason(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"in": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={
            "out": {"connect": f"file:{tmp_path / 'out.log'}", "match": {"severity": "..err"}}
        },
    )
    tap = Tap(relay, "--dropped")
    try:
        tap.wait_open()
        feed_lines(port, [b"<14>Oct 11 22:14:15 h p: not wanted", b"<11>Oct 11 22:14:15 h p: x"])
        wait_until(lambda: tap.items, "a drop is shown")
        assert [item["reason"] for item in tap.items] == ["no-destination"]
        assert tap.end().endswith("\n1 message shown, 0 left out\n")
    finally:
        tap.process.kill()
        tap.process.wait()


def test_of_a_flood_some_are_shown_and_the_others_counted(one: Set) -> None:
    tap = one.tap("in", "--rate", "50")
    tap.wait_open()
    one.flood()

    def is_told() -> bool:
        return bool(tap.items[-1]["left_out"] + len(tap.payloads) == FLOOD)

    wait_until(is_told, "what was shown and what was left out are all that there was")
    assert 50 <= len(tap.payloads) < 5000
    shown = [int(text.rpartition(" ")[2]) for text in tap.payloads]
    assert shown == sorted(set(shown))
    left_out = FLOOD - len(tap.payloads)
    assert tap.end().endswith(f"\n{len(tap.payloads):,} messages shown, {left_out:,} left out\n")


def test_stopped_readers_lose_and_delay_nothing(one: Set) -> None:
    taps = [one.tap(*stage, "--rate", "1000") for stage in STAGES]
    for tap in taps:
        tap.wait_open()
        tap.process.send_signal(signal.SIGSTOP)
    before = memory_bytes(one.relay.pid)
    one.flood()
    assert memory_bytes(one.relay.pid) - before < 64 * 1024 * 1024
    assert status_of(one.relay)["degraded"] == []
    for tap in taps:
        tap.process.send_signal(signal.SIGCONT)
        wait_until(lambda tap=tap: left_out(tap) > FLOOD // 2, "it says how many it missed")
        assert "left out" in tap.end()


def left_out(tap: Tap) -> int:
    items = tap.items
    return int(items[-1]["left_out"]) if items else 0


def status_of(relay: RelayProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("status", "--json", "-d", str(relay.state_dir))[1])
    return found


def test_a_reader_that_is_killed_makes_room_for_another(one: Set) -> None:
    tap = one.tap("in")
    tap.wait_open()
    others = [asked(one.relay) for _ in range(7)]
    assert {other.makefile().readline() for other in others} == {'{"result":null}\n'}
    status, _, errors = run("tap", "-d", str(one.relay.state_dir))
    assert (status, "8 taps are open" in errors) == (2, True)
    tap.process.kill()
    tap.process.wait()
    one.flood(1000)
    others.append(asked(one.relay))
    assert others[-1].makefile().readline() == '{"result":null}\n'
    for other in others:
        other.close()


def asked(relay: RelayProcess) -> socket.socket:
    """A connection that has asked for a tap."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(SECONDS_MAX)
    connection.connect(str(relay.state_dir / "control.sock"))
    connection.sendall(b'{"command": "tap", "arguments": {"stage": "received"}}\n')
    return connection


def test_it_goes_on_with_the_next_relay(one: Set) -> None:
    tap = one.tap("in")
    tap.wait_open()
    one.relay.stop()
    wait_until(lambda: "the relay has stopped" in tap.errors.read_text(), "it says so")
    one.relay.start()
    wait_until(lambda: "the relay is back" in tap.errors.read_text(), "it says so", 30.0)
    feed_lines(one.port, numbered(1))
    wait_until(lambda: tap.items, "it shows messages")
    tap.end()


def test_it_ends_by_itself_after_a_count_and_a_time(one: Set) -> None:
    tap = one.tap("in", "-n", "2")
    tap.wait_open()
    feed_lines(one.port, numbered(5))
    assert tap.process.wait(SECONDS_MAX) == 0
    assert len(tap.payloads) == 2
    assert run("tap", "--for", "0.2s", "-d", str(one.relay.state_dir))[0] == 0


def memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_on_a_terminal_peers_have_no_colours_of_their_own(one: Set) -> None:
    refused = PtyScreen([PROGRAM, "tap", "--raw", "-d", str(one.relay.state_dir)])
    command = [PROGRAM, "tap", "-n", "1", "-d", str(one.relay.state_dir)]
    shown = PtyScreen(command, columns=120, environment={"NO_COLOR": ""})
    try:
        refused.wait_for("--raw writes the bytes of peers")
        assert refused.end() == 2
        shown.wait_for("Ctrl-C ends")
        feed_lines(one.port, [b"<11>Oct 11 22:14:15 host app: \x1b[5mblink"])
        shown.wait_for(r"app: \x1b[5mblink")
        assert shown.end() == 0
        assert b"\x1b[31m" in shown.written  # an error is red
        assert b"\x1b[5m" not in shown.written
    finally:
        refused.close()
        shown.close()
