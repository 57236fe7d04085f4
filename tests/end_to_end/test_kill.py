"""`kill -9` at random moments: every message that was answered arrives.

The seed of the moments is printed; set KILL_SEED to repeat a run.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

from tests.end_to_end.central import Central, numbered, numbers, without_repetition
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

ROUNDS = 75
BATCH = 100
ALIVE_SECONDS_MAX = 0.3
PAUSE_SECONDS = 0.005  # between batches: bounds the traffic, synchronises nothing


class Traffic(threading.Thread):
    """Sends numbered messages until told to stop; sends again what was not answered.

    Attributes:
        answered: Every message that was answered, in the order of the answers.
        batches: Batches answered so far.
    """

    def __init__(self, port: int, tag: str) -> None:
        super().__init__(name=f"traffic-{tag}", daemon=True)
        self.answered: list[bytes] = []
        self.batches = 0
        self.failure: BaseException | None = None
        self._port = port
        self._tag = tag
        self._next = 0
        self._waiting: list[bytes] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            while not (self._stopping.is_set() and not self._waiting):
                self._one_session()
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        """Stop as soon as everything that was sent has its answer."""
        self._stopping.set()
        self.join(60)
        assert not self.is_alive(), f"{self.name}: no answers after the relay is back"
        assert self.failure is None, repr(self.failure)

    def _one_session(self) -> None:
        try:
            sender = RelpSender(self._port)
        except OSError:  # killed, and not back yet
            self._stopping.wait(PAUSE_SECONDS)
            return
        with sender:
            try:
                while not self._stopping.is_set() or self._waiting:
                    self._one_batch(sender)
                    self._stopping.wait(PAUSE_SECONDS)
            except OSError:
                pass
            self.answered += sender.answered
            self._waiting = [*sender.unanswered.values(), *self._not_sent(sender)]

    def _one_batch(self, sender: RelpSender) -> None:
        if not self._waiting:
            self._waiting = numbered(self._tag, BATCH, start=self._next)
            self._next += BATCH
        sender.send(self._waiting)
        sender.wait_answered()
        self._waiting = []
        self.batches += 1

    def _not_sent(self, sender: RelpSender) -> list[bytes]:
        """The part of the batch that the session did not come to."""
        taken = {*sender.answered, *sender.unanswered.values()}
        return [message for message in self._waiting if message not in taken]


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


def test_everything_answered_arrives(programs: Programs, tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(2**32)))
    print(f"KILL_SEED={seed}")
    moments = random.Random(seed)
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
        victim = central if number % 3 == 2 else relay  # so 50 times the relay
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
