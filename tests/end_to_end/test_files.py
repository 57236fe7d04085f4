"""Files that grow and are rotated while the relay is killed: every line once, in order."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from relay.wire.parse import parse
from tests.end_to_end.central import Central
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received

KILLS = 5
LINES_PER_FILE = 400
PAUSE_SECONDS = 0.002


class Writer(threading.Thread):
    """A program that logs, and rotates its file by renaming it."""

    def __init__(self, path: Path) -> None:
        super().__init__(name=f"writer-{path.stem}", daemon=True)
        self.path = path
        self.lines = 0
        self.rotations = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            with self.path.open("ab", buffering=0) as file:
                self._fill(file)
            if not self._stopping.is_set():
                self.rotations += 1
                self.path.rename(f"{self.path}.{self.rotations}")

    def _fill(self, file: object) -> None:
        for _ in range(LINES_PER_FILE):
            line = b"%s %d\n" % (self.path.stem.encode(), self.lines)
            half = len(line) // 2
            file.write(line[:half])  # type: ignore[attr-defined]
            file.write(line[half:])  # type: ignore[attr-defined]
            self.lines += 1
            if self._stopping.wait(PAUSE_SECONDS):
                return

    def finish(self) -> list[bytes]:
        """Stop; return every line."""
        self._stopping.set()
        self.join(20)
        assert not self.is_alive()
        return [b"%s %d" % (self.path.stem.encode(), number) for number in range(self.lines)]


def test_every_line_once_through_rotations_and_kills(programs: Programs, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    central = Central(programs, tmp_path / "central", free_port())
    relay = RelayProcess(
        tmp_path / "edge",
        # Rotated files match as well: several rotations may happen while the relay is down.
        sources={"app": {"listen": f"file://{logs}/*.log*", "tag": "app"}},
        # The central relay is away until the kills are over: what arrives twice
        # was read twice.
        destinations={
            "central": {
                "connect": central.url,
                "retry_seconds_min": 0.05,
                "retry_seconds_max": 0.2,
            }
        },
    )
    programs.add(relay)
    relay.start()
    writers = [Writer(logs / name) for name in ("a.log", "b.log")]
    for writer in writers:
        writer.start()
    moments, moment = random.Random(), threading.Event()
    for _ in range(KILLS):
        begun = [writer.lines for writer in writers]
        wait_until(
            lambda begun=begun: all(
                writer.lines > lines + LINES_PER_FILE // 2
                for writer, lines in zip(writers, begun, strict=True)
            ),
            "more lines",
        )
        moment.wait(moments.uniform(0.5, 2.0))
        relay.kill()
        relay.start(wait=False)
    expected = [writer.finish() for writer in writers]
    assert all(writer.rotations >= 2 for writer in writers)
    central.start()
    total = sum(map(len, expected))
    wait_until(lambda: len(received(central.arrived)) >= total, f"{total} lines", 60)
    relay.stop()
    central.stop()
    messages = [parse(line) for line in received(central.arrived)]
    for lines, writer in zip(expected, writers, strict=True):
        name = writer.path.stem.encode() + b" "
        mine = [message.msg for message in messages if message.msg.startswith(name)]
        assert sorted(mine) == sorted(lines)  # every one, and once
        for start in range(0, len(lines), LINES_PER_FILE):  # of each file in order
            of_file = set(lines[start : start + LINES_PER_FILE])
            in_order = [line for line in lines if line in of_file]
            assert [line for line in mine if line in of_file] == in_order
    assert {message.app_name for message in messages} == {b"app"}


def test_a_file_that_is_copied_and_truncated(programs: Programs, tmp_path: Path) -> None:
    log, arrived = tmp_path / "app.log", tmp_path / "arrived.log"
    log.write_bytes(b"one\ntwo\n")
    RelayProcess.started(
        programs,
        tmp_path / "relay",
        sources={"app": {"listen": f"file://{tmp_path}/app.log"}},
        destinations={"out": {"connect": f"file://{arrived}"}},
    )
    wait_until(lambda: len(received(arrived)) == 2, "two lines")
    log.write_bytes(b"three\n")  # truncates
    wait_until(lambda: len(received(arrived)) == 3, "the third line")
    assert [parse(line).msg for line in received(arrived)] == [b"one", b"two", b"three"]
