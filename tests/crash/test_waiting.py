"""`kill -9` while messages wait for others: `multi_line` and `group_by`, over two hops."""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.kill import seed_from
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

KILLS = 3
ALIVE_SECONDS_MAX = 0.4
LINES = 50  # of a batch
JOINED = b"#012"

WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "multi_line": ({"multi_line": "^<", "multi_line_seconds_max": 1.0}, {}),
    "group_by": (
        {},
        {
            "rewrite": [{"group_by": "$PROGRAM", "seconds_max": 1, "records_max": 7}],
            "template": "<13>1 2026-10-11T22:14:15Z web $PROGRAM - - - $MSG",
        },
    ),
}
"""Keys of the source and of the destination of the relay that is killed."""


class Hops:
    """A relay that is killed and one that is not, and a sender that knows what was answered."""

    def __init__(self, programs: Programs, folder: Path, way: str) -> None:
        source, destination = WAYS[way]
        self.port, between = free_port(), free_port()
        self.file = folder / "received.log"
        self.receiver = RelayProcess.started(
            programs,
            folder / "receiver",
            sources={"relays": {"listen": f"relp://127.0.0.1:{between}"}},
            destinations={"file": {"connect": f"file:{self.file}", "template": "$MSG"}},
        )
        retry = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.3}
        up = {"connect": f"relp://127.0.0.1:{between}", **retry, **destination}
        self.relay = RelayProcess(
            folder / "relay",
            sources={"in": {"listen": f"relp://127.0.0.1:{self.port}", **source}},
            destinations={"up": up},
        )
        programs.add(self.relay)
        self.is_joining = way == "multi_line"
        self.answered: list[bytes] = []
        self.doubtful: set[bytes] = set()
        """Sent, and not answered when the relay was killed: they may be there twice."""
        self._waiting: list[bytes] = []
        self._next = 0

    def _lines(self) -> list[bytes]:
        """New lines: of each message a second one begins with a space."""
        start, self._next = self._next, self._next + LINES
        lines: list[bytes] = []
        for number in range(start, self._next):
            app = b"app%d" % (number % 5)
            lines.append(b"<13>1 2026-10-11T22:14:15Z web %s - - - n%d" % (app, number))
            if self.is_joining:
                lines.append(b" c%d" % number)
        return lines

    def send_until_killed(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.relay.kill)
        with RelpSender(self.port) as sender:
            timer.start()
            try:
                while True:
                    self._waiting = self._waiting or self._lines()
                    sender.send(self._waiting)
                    self._waiting = []
            except OSError:
                unanswered = [*sender.unanswered.values()]
                self.doubtful |= {*unanswered}
                known = {*sender.answered, *unanswered}
                self._waiting = unanswered + [each for each in self._waiting if each not in known]
            self.answered += sender.answered
        timer.join()

    def finish(self) -> Counter[bytes]:
        """How often each part of a message arrived, once all have."""
        with RelpSender(self.port) as sender:
            sender.send(self._waiting)
            sender.close()
            self.answered += sender.answered

        expected = set(map(_part, self.answered))
        # Not "nothing waits in status": on its way to the queue a group is in neither number.
        wait_until(lambda: expected <= self._arrived().keys(), "all that was answered")
        self.relay.stop()
        self.receiver.stop()
        return self._arrived()

    def _arrived(self) -> Counter[bytes]:
        return Counter(part for line in received(self.file) for part in line.split(JOINED))


def _part(line: bytes) -> bytes:
    """What arrives of a line."""
    return line if line.startswith(b" ") else line.rpartition(b" ")[2]


@pytest.mark.parametrize("way", WAYS)
def test_what_was_answered_arrives_once_though_it_waited(
    programs: Programs, tmp_path: Path, way: str
) -> None:
    hops = Hops(programs, tmp_path, way)
    moments = random.Random(seed_from("KILL_SEED"))
    for _ in range(KILLS):
        hops.relay.start()
        hops.send_until_killed(moments.uniform(0.05, ALIVE_SECONDS_MAX))
    hops.relay.start()
    arrived = hops.finish()
    answered = Counter(map(_part, hops.answered))
    assert len(answered) > LINES
    doubtful = {*map(_part, hops.doubtful)}
    repeated = {part: count for part, count in arrived.items() if count > 1}
    assert not repeated.keys() - doubtful
    assert max(repeated.values(), default=1) <= 1 + KILLS
    if hops.is_joining:
        whole = {line for line in received(hops.file) if line.count(JOINED) == 1}
        assert len(whole) > 0.9 * len([part for part in answered if part.startswith(b"n")])
