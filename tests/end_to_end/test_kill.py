"""`kill -9` at random moments: every message that was answered arrives.

The seed of the moments is printed; set KILL_SEED to repeat a run.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

from tests.crash.kill import ALIVE_SECONDS_MAX, BATCH, Traffic, seed_from
from tests.end_to_end.central import Central, numbers, without_repetition
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

ROUNDS = int(os.environ.get("KILL_ROUNDS", "30"))


def wait_until_flowing(senders: list[Traffic], central: Central) -> None:
    """Wait until messages both come in and go out again."""
    answered, arrived = sum(sender.batches for sender in senders), size_of(central.arrived)
    wait_until(
        lambda: (
            sum(sender.batches for sender in senders) > answered
            and size_of(central.arrived) > arrived
        ),
        "messages flow",
    )


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_what_was_answered_arrives_whatever_is_killed(programs: Programs, tmp_path: Path) -> None:
    moments = random.Random(seed_from("KILL_SEED"))
    port = free_port()
    central = Central(programs, tmp_path / "central", free_port())
    relay = RelayProcess(
        tmp_path / "edge",
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={
            "central": {
                "connect": central.url,
                "retry_seconds_min": 0.05,
                "retry_seconds_max": 0.2,
            }
        },
    )
    programs.add(relay)
    central.start()
    relay.start()
    senders = [Traffic(port, tag) for tag in ("one", "two")]
    for sender in senders:
        sender.start()
    moment = threading.Event()
    for number in range(ROUNDS):
        victim = central if number % 3 == 2 else relay  # two times in three the relay
        # One time in five the victim may be hit while it starts.
        if not (victim.is_running and moments.random() < 0.2):
            wait_until_flowing(senders, central)
        moment.wait(moments.uniform(0.0, ALIVE_SECONDS_MAX))
        victim.kill()
        victim.start(wait=False)
    for sender in senders:
        sender.finish()
    lines = central.wait_for(message for sender in senders for message in sender.answered)
    for sender, tag in zip(senders, ("one", "two"), strict=True):
        assert len(sender.answered) > ROUNDS * BATCH / 10, "hardly any traffic"
        order = without_repetition(numbers(lines, tag))
        assert order == sorted(order), tag
    assert "Traceback" not in relay.log() + central.log()
