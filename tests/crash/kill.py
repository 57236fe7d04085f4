"""`kill -9` of sender, relay and receiver at random moments, with messages flowing all the while.

A chain is sending processes, the relay under test and a receiver, see chain.py.  A sender
writes each message that was answered into a file, so whatever is killed, afterwards it is
known what was promised.  The relay under test can be another program, see comparison.py.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.central import numbered
from tests.processes import Program, wait_until
from tests.relp_sender import RelpSender

__all__ = [
    "Kills",
    "Messages",
    "SenderProcess",
    "StreamSender",
    "Tally",
    "Traffic",
    "seed_from",
    "settle",
]

BATCH = 100
ALIVE_SECONDS_MAX = 0.3
PAUSE_SECONDS = 0.005  # between batches: bounds the traffic, synchronises nothing
FLOW_SECONDS_MAX = 20.0


def seed_from(variable: str) -> int:
    """The seed in an environment variable, or a new one; printed either way."""
    seed = int(os.environ.get(variable) or random.SystemRandom().randrange(2**32))
    print(f"{variable}={seed}", flush=True)
    return seed


class StreamSender:
    """Syslog over TCP: what the other end's TCP has acknowledged counts as answered."""

    def __init__(self, port: int) -> None:
        self.answered: list[bytes] = []
        self.unanswered: dict[int, bytes] = {}
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def __enter__(self) -> StreamSender:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, messages: Iterable[bytes]) -> None:
        self.unanswered = dict(enumerate(messages))
        self._socket.sendall(b"".join(message + b"\n" for message in self.unanswered.values()))

    def wait_answered(self) -> None:
        while struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]:
            time.sleep(0.001)
            self._look()
        self._look()
        self.answered += self.unanswered.values()
        self.unanswered = {}

    def _look(self) -> None:
        """Raises OSError when the other end is gone; nothing else ever comes from it."""
        if select.select([self._socket], [], [], 0)[0]:
            raise ConnectionError("the other end has closed the connection")


class Traffic(threading.Thread):
    """Sends numbered messages over RELP until told to stop; sends again what was not answered.

    Args:
        port: Of the relay.
        tag: APP-NAME of the messages.
        write_down: Gets the messages that were answered, in the order of the answers.
        new: Opens a session.

    Attributes:
        answered: Every message that was answered, in the order of the answers.
        batches: Batches answered so far.
    """

    def __init__(
        self,
        port: int,
        tag: str,
        *,
        write_down: Callable[[Sequence[bytes]], None] = lambda messages: None,
        new: Callable[[int], RelpSender | StreamSender] = RelpSender,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        super().__init__(name=f"traffic-{tag}", daemon=True)
        self.answered: list[bytes] = []
        self.batches = 0
        self.failure: BaseException | None = None
        self._port = port
        self._tag = tag
        self._next = 0
        self._new = new
        self._pause_seconds = pause_seconds
        self._write_down = write_down
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
            sender = self._new(self._port)
        except OSError:  # killed, and not back yet
            self._stopping.wait(self._pause_seconds)
            return
        with sender:
            try:
                while not self._stopping.is_set() or self._waiting:
                    self._one_batch(sender)
                    self._stopping.wait(self._pause_seconds)
            except OSError:
                pass
            self._note(sender)
            self._waiting = [*sender.unanswered.values(), *self._not_sent(sender)]

    def _one_batch(self, sender: RelpSender | StreamSender) -> None:
        if not self._waiting:
            self._waiting = numbered(self._tag, BATCH, start=self._next)
            self._next += BATCH
        sender.send(self._waiting)
        sender.wait_answered()
        self._waiting = []
        self._note(sender)
        self.batches += 1

    def _note(self, sender: RelpSender | StreamSender) -> None:
        new, sender.answered = sender.answered, []
        self._write_down(new)
        self.answered += new

    def _not_sent(self, sender: RelpSender | StreamSender) -> list[bytes]:
        """The part of the batch that the session did not come to."""
        taken = {*self.answered[-BATCH:], *sender.unanswered.values()}
        return [message for message in self._waiting if message not in taken]


class SenderProcess(Program):
    """`Traffic` in a process that can be killed; what was answered is in a file.

    Each life has a tag of its own: what a killed sender has on its way may still arrive,
    and nothing says that it does so before what the next one sends.
    """

    def __init__(self, folder: Path, port: int, tag: str, *, way: str = "relp") -> None:
        self.answers = folder / f"answered-{tag}"
        self._tag, self._port, self._way = tag, port, way
        self._lives = 0
        super().__init__([], folder=folder, name=f"sender-{tag}")

    def start(self, *, wait: bool = True) -> None:
        tag = f"{self._tag}{self._lives}"
        self._lives += 1
        arguments = [str(self._port), tag, str(self.answers), self._way]
        self.command[:] = [sys.executable, "-m", "tests.crash.kill", *arguments]
        super().start(wait=wait)


class Messages:
    """The numbered messages in a file that grows, as they come.

    Attributes:
        numbers: How often each number came, by tag.
        out_of_order: First arrivals after a later message of the same tag.
    """

    def __init__(self, *paths: Path) -> None:
        self.numbers: dict[bytes, Counter[int]] = {}
        self.out_of_order = 0
        self._offsets = dict.fromkeys(paths, 0)
        self._highest: Counter[bytes] = Counter()

    def update(self) -> None:
        """Read what has come since."""
        for path, offset in self._offsets.items():
            if path.exists():
                with path.open("rb") as file:
                    file.seek(offset)
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self._offsets[path] += len(whole)
                self._take(whole.split(b"\n")[:-1])

    def count(self) -> int:
        """Different messages."""
        return sum(map(len, self.numbers.values()))

    def repeated(self) -> int:
        return sum(counter.total() for counter in self.numbers.values()) - self.count()

    def missing(self, arrived: Messages) -> list[str]:
        """Those of these that have not `arrived`."""
        return [
            f"{tag.decode()} {number}"
            for tag, counter in self.numbers.items()
            for number in counter.keys() - arrived.numbers.get(tag, Counter()).keys()
        ]

    def _take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            fields = line.split(b" ")
            tag, number = fields[3], int(fields[-1])
            counter = self.numbers.setdefault(tag, Counter())
            if number not in counter:
                self.out_of_order += number < self._highest[tag]
                self._highest[tag] = max(self._highest[tag], number)
            counter[number] += 1


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of one run."""

    answered: int
    delivered: int
    lost: int
    repeated: int
    out_of_order: int

    def __str__(self) -> str:
        return (
            f"answered {self.answered}, delivered {self.delivered}, lost {self.lost}, "
            f"repeated {self.repeated}, out of order {self.out_of_order}"
        )


def settle(answered: Messages, arrived: Messages, *, seconds_max: float) -> Tally:
    """Wait until everything that was answered has arrived, or nothing comes any more."""
    deadline = time.monotonic() + seconds_max
    answered.update()
    while arrived.update() or (missing := answered.missing(arrived)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return Tally(
        answered=answered.count(),
        delivered=arrived.count(),
        lost=len(missing),
        repeated=arrived.repeated(),
        out_of_order=arrived.out_of_order,
    )


class Kills:
    """Kills programs of a chain at random moments and starts them again at once.

    Args:
        programs: Those that may be killed, by name.
        sent: Files that grow while answers come in.
        arrived: The file of the receiver.
        seed: Of the moments.
    """

    def __init__(
        self, programs: dict[str, Program], *, sent: Sequence[Path], arrived: Path, seed: int
    ) -> None:
        self._programs = programs
        self._sent = sent
        self._arrived = arrived
        self._moments = random.Random(seed)
        self._moment = threading.Event()

    def round(self, victims: Iterable[str]) -> None:
        """Kill `victims` together, in any order, and start them again."""
        names = list(victims)
        self._moments.shuffle(names)
        # One time in five they may be hit while they start.
        if self._moments.random() >= 0.2:
            self.wait_until_flowing()
        self._moment.wait(self._moments.uniform(0.0, ALIVE_SECONDS_MAX))
        for name in names:
            self._programs[name].kill()
        for name in names:
            self._programs[name].start(wait=False)

    def wait_until_flowing(self) -> None:
        """Wait until messages both come in and go out again."""
        sent, arrived = self._sent_bytes(), _size_of(self._arrived)
        wait_until(
            lambda: self._sent_bytes() > sent and _size_of(self._arrived) > arrived,
            "messages flow",
            FLOW_SECONDS_MAX,
        )

    def _sent_bytes(self) -> int:
        return sum(map(_size_of, self._sent))


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main(port: str, tag: str, answers: str, way: str) -> None:
    """Send until SIGTERM; every answered message is in the file before the next is sent."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with open(answers, "ab", buffering=0) as file:

        def write_down(messages: Sequence[bytes]) -> None:
            if messages:
                file.write(b"".join(message + b"\n" for message in messages))

        new = RelpSender if way == "relp" else StreamSender
        traffic = Traffic(int(port), tag, write_down=write_down, new=new, pause_seconds=0.03)
        traffic.start()
        while not stopping.is_set() and traffic.is_alive():
            time.sleep(0.02)
        traffic.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
