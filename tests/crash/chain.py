"""Senders, the relay under test and a receiver, each a process that can be killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.kill import Kills, Messages, SenderProcess, Tally, settle
from tests.processes import Program, Programs, free_port
from tests.relay_process import RelayProcess

__all__ = ["Chain", "edge_relay"]

RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}
SENDERS = ("one", "two")


def edge_relay(folder: Path, source: int, upstream: int) -> RelayProcess:
    """syslogrelay, from RELP to RELP."""
    return RelayProcess(
        folder,
        sources={"feed": {"listen": f"relp://127.0.0.1:{source}"}},
        destinations={"central": {"connect": f"relp://127.0.0.1:{upstream}", **RETRY}},
        relay={"min_free_bytes": 0},  # the disk may be small
    )


class Chain:
    """Two senders → a relay → a receiver that writes to a file.

    Args:
        new_relay: Makes the relay under test in a folder, with its port and that of its
            upstream.
        way: How messages travel: relp, or tcp for relays that know nothing better.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        *,
        seed: int,
        new_relay: Callable[[Path, int, int], Program] = edge_relay,
        way: str = "relp",
    ) -> None:
        feed, upstream = free_port(), free_port()
        self.arrived = folder / "received.log"
        source: dict[str, Any] = {"listen": f"{way}://127.0.0.1:{upstream}"}
        self.receiver = RelayProcess(
            folder / "central",
            sources={"relays": source},
            destinations={"file": {"connect": f"file://{self.arrived}"}},
            name="central",
        )
        self.relay = new_relay(folder / "edge", feed, upstream)
        self.senders = [SenderProcess(folder, feed, tag, way=way) for tag in SENDERS]
        self.victims: dict[str, Program] = {
            "receiver": self.receiver,
            "relay": self.relay,
            **{f"sender {tag}": sender for tag, sender in zip(SENDERS, self.senders, strict=True)},
        }
        for program in self.victims.values():
            programs.add(program)
        answers = [sender.answers for sender in self.senders]
        self.kills = Kills(self.victims, sent=answers, arrived=self.arrived, seed=seed)
        self.answered = Messages(*answers)

    def start(self) -> None:
        for program in self.victims.values():
            program.start()

    def finish(self, *, seconds_max: float) -> Tally:
        """Let the senders end, everything arrive, and count."""
        for program in (self.receiver, self.relay):
            if not program.is_running:
                program.start()
        for sender in self.senders:
            sender.wait_ready()
            status = sender.stop(60.0)
            # One that has just been started may not know the signal yet.
            assert status in (0, -signal.SIGTERM), sender.log()
        return settle(self.answered, Messages(self.arrived), seconds_max=seconds_max)
