"""A pair of sockets that keep records apart stands in for /dev/kmsg, which does so too."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.queue.admission.backpressure import Admission
from relay.transport.local.kernel_log import KernelLogReader, boot_id
from relay.transport.reception import OversizePolicy, Reception
from tests.connections import RecordingNotices

BOOT = "a913d4df-d998-4d4c-a5cc-ac0b0f3d40b1"
WALL, UP = 1_760_220_855.0, 1000.0


class Reactor:
    def __init__(self) -> None:
        self.reading: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.reading.add(reader)

    def removeReader(self, reader: object) -> None:
        self.reading.discard(reader)


class Intake:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.positions: list[bytes] = []
        self.stored: list[Deferred[None]] = []

    def accept(
        self,
        frames: list[bytes],
        origin: Origin,
        *,
        cut: Mapping[int, int],
        positions: Mapping[str, bytes],
    ) -> Deferred[None]:
        assert origin.source == "own"
        self.frames += frames
        self.positions.append(positions["own/kernel"])
        self.stored.append(Deferred())
        return self.stored[-1]

    @property
    def texts(self) -> list[bytes]:
        return [frame.rpartition(b" - ")[2] for frame in self.frames]


class Kernel:
    """The log of a kernel, and a reader that has opened it."""

    def __init__(self, *, from_beginning: bool = False, frame_bytes_max: int = 1000) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.reactor, self.intake, self.notices = Reactor(), Intake(), RecordingNotices()
        self.counters = SourceCounters()
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        parts: dict[str, Any] = {"admission": self.admission, "notices": self.notices}
        reactor: Any = self.reactor
        self.reader = KernelLogReader(
            Reception("own", self.intake, counters=self.counters, **parts),
            hostname=b"h",
            boot=BOOT,
            oversize=OversizePolicy(
                "truncate", frame_bytes_max=frame_bytes_max, counters=self.counters
            ),
            from_beginning=from_beginning,
            now=lambda: WALL,
            reactor=reactor,
            device="/dev/null",
        )
        self.reader.open()
        theirs.setblocking(False)
        os.dup2(theirs.fileno(), self.reader.fileno())
        theirs.close()
        self.reader.since_boot = lambda: UP

    def logs(self, *seqs: int, at: float = 900.0) -> None:
        for seq in seqs:
            self.ours.send(b"6,%d,%d,-;record %d\n" % (seq, at * 1e6, seq))

    def wake(self) -> None:
        assert self.reader in self.reactor.reading
        self.reader.doRead()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    made.reader.stop()
    made.ours.close()


def test_the_first_time_only_new_records_are_taken(kernel: Kernel) -> None:
    kernel.logs(*range(250))
    kernel.reader.start(None)
    assert kernel.intake.frames == []
    assert kernel.intake.positions == [f"{BOOT} 249".encode()]
    kernel.logs(250)
    kernel.wake()
    assert kernel.intake.texts == [b"record 250"]
    assert kernel.intake.positions[-1] == f"{BOOT} 250".encode()


def test_or_all_that_there_are() -> None:
    kernel = Kernel(from_beginning=True)
    kernel.logs(5, 6)
    kernel.reader.start(None)
    kernel.wake()
    assert kernel.intake.texts == [b"record 5", b"record 6"]
    assert kernel.counters.dropped == {}
    kernel.reader.stop()


def test_after_a_restart_nothing_comes_twice(kernel: Kernel) -> None:
    kernel.logs(1, 2, 3, 4)
    kernel.reader.start(f"{BOOT} 2".encode())
    kernel.wake()
    assert kernel.intake.texts == [b"record 3", b"record 4"]
    assert kernel.reader.gaps == 0


@pytest.mark.parametrize("position", [b"", b"damaged", b"0-another-b007 9"])
def test_all_records_of_another_boot_are_new(kernel: Kernel, position: bytes) -> None:
    kernel.logs(0, 1)
    kernel.reader.start(position)
    kernel.wake()
    assert kernel.intake.texts == [b"record 0", b"record 1"]
    assert kernel.counters.dropped == {}


def test_records_that_the_kernel_has_overwritten_are_counted(kernel: Kernel) -> None:
    kernel.logs(9)
    kernel.reader.start(f"{BOOT} 2".encode())
    kernel.wake()
    assert kernel.intake.texts == [b"record 9"]
    assert (kernel.counters.dropped["kernel-buffer"], kernel.reader.gaps) == (6, 1)
    assert kernel.counters.received_records == 6  # the intake counts the one that it has got
    assert "overwritten 6 records of its log" in kernel.notices.said[0][2]


def test_an_overwritten_record_does_not_end_the_reading(kernel: Kernel) -> None:
    errors = [OSError(errno.EPIPE, "Broken pipe")]

    def read(fd: int, size: int) -> bytes:
        if errors:
            raise errors.pop()
        return os.read(fd, size)

    kernel.reader.read = read
    kernel.logs(4)
    kernel.reader.start(f"{BOOT} 2".encode())
    kernel.wake()
    assert kernel.intake.texts == [b"record 4"]
    assert kernel.counters.dropped["kernel-buffer"] == 1


def test_another_error_ends_it_and_is_told(kernel: Kernel) -> None:
    def read(fd: int, size: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    kernel.reader.read = read
    kernel.reader.start(b"")
    kernel.wake()
    assert kernel.reader.trouble == "cannot read /dev/null: Input/output error; restart the relay"
    assert not kernel.reader.is_reading and not kernel.reactor.reading


def test_a_log_that_cannot_be_opened_says_why(kernel: Kernel) -> None:
    kernel.reader.stop()
    kernel.reader._device = "/dev/none"
    kernel.reader.open()
    kernel.reader.start(None)
    assert kernel.reader.trouble == "cannot read /dev/none: No such file or directory"
    assert not kernel.reactor.reading


def test_what_is_no_record_is_counted(kernel: Kernel) -> None:
    kernel.ours.send(b"garbage")
    kernel.logs(0)
    kernel.reader.start(b"")
    kernel.wake()
    assert kernel.intake.texts == [b"record 0"]
    assert kernel.counters.protocol_errors == 1


def test_stamps_follow_the_clock_of_the_kernel(kernel: Kernel) -> None:
    kernel.reader.start(b"")
    kernel.logs(0, at=UP - 55)
    kernel.wake()
    assert b" 2025-10-11T22:13:20.000000Z " in kernel.intake.frames[0]


def test_records_that_come_now_show_how_wrong_the_clock_of_the_kernel_is(kernel: Kernel) -> None:
    kernel.reader.start(b"")
    kernel.wake()
    for seq, age in enumerate((7, 500, 8, 7, 7)):  # one was held back for long
        kernel.logs(seq, at=UP - age)
        kernel.wake()
    stamps = [frame.split()[1].decode()[11:19] for frame in kernel.intake.frames]
    assert stamps == ["22:14:08", "22:05:55", "22:14:07", "22:14:15", "22:14:15"]


def test_a_long_record_is_cut() -> None:
    kernel = Kernel(frame_bytes_max=480, from_beginning=True)
    kernel.ours.send(b"6,0,1,-;" + b"x" * 900 + b"\n")
    kernel.reader.start(None)
    kernel.wake()
    assert len(kernel.intake.frames[0]) == 480
    assert kernel.counters.truncated_records == 1
    kernel.reader.stop()


def test_reading_pauses_with_admission(kernel: Kernel) -> None:
    kernel.reader.start(b"")
    kernel.reader.pause_reading()
    assert not kernel.reactor.reading
    kernel.reader.resume_reading()
    assert kernel.reactor.reading


def test_reading_pauses_while_many_batches_wait_for_their_commit(kernel: Kernel) -> None:
    kernel.reader.start(b"")
    for seq in range(64):
        kernel.logs(seq)
        kernel.wake()
    assert not kernel.reactor.reading
    for stored in kernel.intake.stored[:32]:
        stored.callback(None)
    assert kernel.reactor.reading


def test_what_is_not_stored_is_read_again(kernel: Kernel) -> None:
    kernel.reader.start(b"")
    kernel.logs(0)
    kernel.wake()
    kernel.intake.stored[0].errback(QueueError("the queue is closed"))
    assert kernel.reader.trouble.startswith("not stored, to be read again")
    assert not kernel.reactor.reading


def test_the_boot_has_an_id() -> None:
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot_id("/nowhere") == ""
