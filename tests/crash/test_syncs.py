"""An answer means "on disk": the syncs are counted, in the configurations that are measured."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

MESSAGES = 10
LOTS = 3000


class WatchedRelay(RelayProcess):
    """A relay whose writes and syncs are written down; its upstream is away."""

    def __init__(self, programs: Programs, folder: Path, rewrite: dict[str, str]) -> None:
        self.port = free_port()
        self._letters = folder / "letters"
        root = Path(__file__).parents[2]
        super().__init__(
            folder,
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={
                "central": {"connect": f"relp://127.0.0.1:{free_port()}", "rewrite": rewrite}
            },
            environment={**os.environ, "PYTHONPATH": str(root)},
        )
        watched = [sys.executable, "-m", "tests.crash.watched_relay", str(self._letters)]
        self.command = [*watched, *self.command[1:]]
        programs.add(self)
        self.start()

    def letters(self) -> str:
        """What LMDB has done until now."""
        return self._letters.read_text()


@pytest.fixture(params=["none", "cee", "ewmm"])
def relay(programs: Programs, tmp_path: Path, request: pytest.FixtureRequest) -> WatchedRelay:
    rewrite = {"mode": request.param}
    if request.param == "cee":
        token = tmp_path / "token"
        token.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
        rewrite["token_file"] = str(token)
    return WatchedRelay(programs, tmp_path / "relay", rewrite)


def test_between_a_message_and_its_answer_lies_a_sync_of_what_was_written(
    relay: WatchedRelay,
) -> None:
    with RelpSender(relay.port) as sender:
        for number in range(MESSAGES):
            before = len(relay.letters())
            sender.send([b"<13>1 2026-11-21T00:00:00Z h a p m - %d" % number])
            sender.wait_answered()
            # Pages of data, their sync, then the page that makes them count, which waits.
            assert re.search("w+s+m+", relay.letters()[before:]), relay.letters()


def test_a_commit_of_many_messages_takes_no_more_syncs_than_that_of_one(
    relay: WatchedRelay,
) -> None:
    with RelpSender(relay.port, window=LOTS) as sender:
        before = len(relay.letters())
        sender.send([b"<13>1 2026-11-21T00:00:00Z h a p m - %d" % n for n in range(LOTS)])
        sender.wait_answered()
        letters = relay.letters()[before:]
    commits = letters.count("m")
    assert 0 < commits < LOTS / 10
    assert letters.count("s") == commits
