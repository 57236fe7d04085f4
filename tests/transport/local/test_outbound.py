from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.transport.local.outbound import (
    LineSession,
    unread_in_pipe,
    unread_in_socket,
    whole_lines,
)
from tests.connections import RecordingDrain


class Setup:
    """A session that writes into a pipe, and the pipe's other end."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(writing, False)
        self.writing = writing
        self.start(writing, unread_in_pipe)

    def start(self, fd: int, unread: Any, **keywords: Any) -> None:
        self.clock = Clock()
        self.drain: Any = RecordingDrain()
        self.failures: list[str] = []
        self.session = LineSession(
            fd,
            unread=unread,
            drain=self.drain,
            clock=self.clock,
            on_failure=self.failures.append,
            on_close=self._closed,
            **keywords,
        )

    def _closed(self) -> None:
        self.failures.append("closed")


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    os.close(setup.reading)


def test_delivered_means_read(setup: Setup) -> None:
    setup.session.send([b"one", b"t\nwo"])
    setup.clock.advance(0)
    setup.clock.advance(1)
    assert (setup.session.room, setup.drain.acknowledged_records) == (0, 0)
    assert os.read(setup.reading, 100) == b"one\nt#012wo\n"
    setup.clock.advance(1)
    assert setup.drain.acknowledged_records == 2
    assert setup.session.room > 0
    assert setup.drain.events == ["pump"]


def test_half_of_a_batch_read_is_not_delivered(setup: Setup) -> None:
    setup.session.send([b"one", b"two"])
    setup.clock.advance(0)
    os.read(setup.reading, 4)
    setup.clock.advance(1)
    assert setup.drain.acknowledged_records == 0


def test_more_than_the_pipe_holds_waits_and_no_line_is_cut(setup: Setup) -> None:
    payloads = [b"%d " % number + b"x" * 1000 for number in range(300)]
    setup.session.send(payloads)
    read = b""
    for _ in range(1000):
        setup.clock.advance(0.1)
        try:
            read += os.read(setup.reading, 65536)
        except BlockingIOError:
            break
    assert read.splitlines() == payloads
    assert setup.drain.acknowledged_records == 300


@pytest.mark.parametrize("bytes_each", [10, 1000, 4095, 4096, 5000, 30_000])
def test_no_line_is_cut_when_the_relay_stops_before_all_was_read(
    setup: Setup, bytes_each: int
) -> None:
    payloads = [b"%04d" % number + b"x" * (bytes_each - 4) for number in range(20_000)][
        : 400_000 // bytes_each
    ]
    again = os.dup(setup.writing)
    setup.session.close()
    setup.start(os.dup(again), unread_in_pipe, end_of_write=whole_lines)
    setup.session.send(payloads)
    read = b""
    for _ in range(3):
        setup.clock.advance(0.1)
        read += os.read(setup.reading, 7000)
    setup.session.close()
    setup.start(again, unread_in_pipe, end_of_write=whole_lines)
    setup.session.send(payloads)
    for _ in range(1000):
        setup.clock.advance(0.1)
        try:
            read += os.read(setup.reading, 65536)
        except BlockingIOError:
            break
    assert set(read.splitlines()) == set(payloads)
    assert setup.drain.acknowledged_records == len(payloads)


@pytest.mark.parametrize("before", [0, 1, 30])
def test_a_line_that_the_pipe_cannot_hold_is_refused_and_the_rest_goes_on(
    setup: Setup, before: int
) -> None:
    again = os.dup(setup.writing)
    setup.session.close()
    setup.start(again, unread_in_pipe, end_of_write=whole_lines)
    setup.drain.sets_aside = True
    fits = [b"%03d" % number + b"y" * 60_000 for number in range(before)]
    setup.session.send([*fits, b"x" * 65_536, b"two", b"x" * 65_535])
    read = b""
    for _ in range(200):
        setup.clock.advance(0.1)
        with contextlib.suppress(BlockingIOError):
            read += os.read(setup.reading, 65536)
    assert read.splitlines() == [*fits, b"two", b"x" * 65_535]
    assert setup.drain.acknowledged_records == before + 2
    refusals = [event for event in setup.drain.events if event.startswith("too long")]
    assert refusals == ["too long: 65,537 bytes with the line's end, and the pipe holds 65,536"]
    assert setup.session.room > 0


def test_what_may_not_be_left_out_ends_the_session_without_a_byte_of_it(setup: Setup) -> None:
    again = os.dup(setup.writing)
    setup.session.close()
    setup.start(again, unread_in_pipe, end_of_write=whole_lines)
    setup.session.send([b"one", b"x" * 70_000])
    setup.clock.advance(0)
    assert setup.failures == []
    assert os.read(setup.reading, 100_000) == b"one\n"
    setup.clock.advance(1)
    (text,) = setup.failures
    assert text.startswith("too long: 70,001 bytes")
    assert setup.drain.acknowledged_records == 1
    assert os.read(setup.reading, 1) == b""


def test_a_reader_that_goes_away_ends_the_session(setup: Setup) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, setup.reading)  # closes the pipe's end
    os.close(nowhere)
    setup.clock.advance(1)
    assert setup.failures == ["the reader has closed it"]
    assert setup.drain.events == ["detach"]
    assert setup.session.room == 0


def test_what_was_read_before_the_reader_went_away_counts(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.clock.advance(0)
    os.read(setup.reading, 100)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, setup.reading)
    os.close(nowhere)
    setup.clock.advance(1)
    setup.clock.advance(1)
    assert setup.drain.acknowledged_records == 1
    assert setup.failures == ["the reader has closed it"]


def test_writing_to_nobody_fails_with_the_words_of_the_system(setup: Setup) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, setup.reading)
    os.close(nowhere)
    setup.session.send([b"one"])
    setup.clock.advance(0)
    assert setup.failures == ["Broken pipe"]
    assert setup.drain.acknowledged_records == 0


def test_closing_counts_what_was_read_and_nothing_after_it(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.clock.advance(0)
    os.read(setup.reading, 100)
    setup.session.close()
    assert setup.drain.acknowledged_records == 1
    assert setup.failures == ["closed"]
    setup.session.close()
    setup.session.fail("too late")
    assert setup.failures == ["closed"]
    assert not setup.clock.getDelayedCalls()


def test_a_stall_can_be_cut(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.session.cut("nothing was read for 120 s")
    assert setup.failures == ["nothing was read for 120 s"]


def test_a_unix_socket_tells_when_all_is_read() -> None:
    setup = Setup()
    setup.session.close()
    os.close(setup.reading)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        setup.start(ours.detach(), unread_in_socket)
        setup.session.send([b"one", b"two"])
        setup.clock.advance(0)
        assert theirs.recv(4) == b"one\n"
        setup.clock.advance(1)
        assert setup.drain.acknowledged_records == 0
        assert theirs.recv(100) == b"two\n"
        setup.clock.advance(1)
        assert setup.drain.acknowledged_records == 2
        setup.session.close()


def test_what_a_peer_of_a_unix_socket_never_read_does_not_count() -> None:
    setup = Setup()
    setup.session.close()
    os.close(setup.reading)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    setup.start(ours.detach(), unread_in_socket)
    setup.session.send([b"one"])
    setup.clock.advance(0)
    theirs.close()
    setup.clock.advance(1)
    assert setup.drain.acknowledged_records == 0
    assert setup.failures == ["the reader has closed it"]
