from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from relay.cli.sending import Generated, Input, Lines, Sending
from relay.service.destinations.kind import Delivery
from relay.service.prerequisite import Prerequisite
from tests.clocks import Clock


class Reactor(Clock):
    """A clock, and readers that the test drives."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)


class Pipe:
    """An input whose writer is the test."""

    def __init__(self, reactor: Reactor, *, count_max: int | None = None) -> None:
        reading, self.writing = os.pipe()
        self.lines = Lines(
            reading,
            lambda line: b"<" + line + b">",
            line_bytes_max=100,
            count_max=count_max,
            reactor=reactor,  # type: ignore[arg-type]
        )
        self._reading = reading
        self._reactor = reactor

    def write(self, data: bytes) -> None:
        os.write(self.writing, data)
        for reader in list(self._reactor.readers):
            reader.doRead()

    def end(self) -> None:
        os.close(self.writing)
        self.writing = -1
        for reader in list(self._reactor.readers):
            reader.connectionLost(None)

    def close(self) -> None:
        os.close(self._reading)
        if self.writing >= 0:
            os.close(self.writing)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def pipe(reactor: Reactor) -> Iterator[Pipe]:
    pipe = Pipe(reactor)
    yield pipe
    pipe.close()


def taken_of(lines: Input) -> list[bytes]:
    found: list[bytes] = []
    lines.start(found.extend)
    return found


def test_a_line_is_a_message_whatever_is_in_it(reactor: Reactor, pipe: Pipe) -> None:
    found = taken_of(pipe.lines)
    pipe.write(b"\xef\xbb\xbfwith \0 nul\n\r\n\0\r\nlast\0")
    pipe.end()
    assert found == [b"<with \0 nul>", b"<\0>", b"<last\0>"]
    assert (pipe.lines.ended, pipe.lines.truncated, reactor.readers) == (True, 0, [])


def test_a_long_line_is_cut(pipe: Pipe) -> None:
    found = taken_of(pipe.lines)
    pipe.write(b"x" * 101 + b"\n")
    assert (found, pipe.lines.truncated) == ([b"<" + b"x" * 100 + b">"], 1)


def test_a_count_ends_the_input(reactor: Reactor) -> None:
    pipe = Pipe(reactor, count_max=2)
    found = taken_of(pipe.lines)
    pipe.write(b"1\n")
    pipe.write(b"2\n3\n")
    assert (found, pipe.lines.ended, reactor.readers) == ([b"<1>", b"<2>"], True, [])
    pipe.close()


def test_the_end_of_a_terminal_that_is_not_at_its_end(reactor: Reactor, pipe: Pipe) -> None:
    """As when the reactor stops: there is nothing to read, and nobody waits for it."""
    found = taken_of(pipe.lines)
    pipe.lines.connectionLost(None)  # type: ignore[arg-type]
    assert (found, pipe.lines.ended) == ([], False)


def test_an_input_that_cannot_be_read_ends_with_the_reason(reactor: Reactor, pipe: Pipe) -> None:
    found: list[bytes] = []
    lines = Lines(
        pipe.writing,
        bytes,
        line_bytes_max=100,
        count_max=None,
        reactor=reactor,  # type: ignore[arg-type]
    )
    lines.start(found.extend)
    lines.doRead()
    assert (found, lines.ended, reactor.readers) == ([], True, [])
    assert lines.trouble == "cannot read the input: Bad file descriptor"


def test_generated_records_come_in_portions_and_can_be_stopped(reactor: Reactor) -> None:
    records = Generated(iter([b"x"] * 700), reactor=reactor)  # type: ignore[arg-type]
    found: list[bytes] = []

    def take(portion: Sequence[bytes]) -> None:
        found.extend(portion)
        records.stop()

    records.start(take)
    reactor.advance(0)
    assert (len(found), records.ended) == (500, False)
    reactor.advance(0)
    assert len(found) == 500
    records.start(found.extend)
    reactor.advance(0)
    assert (len(found), records.ended) == (700, True)


class Session:
    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.sent: list[bytes] = []

    def send(self, payloads: Sequence[bytes]) -> None:
        self.sent += payloads
        self.room -= len(payloads)


class Link:
    def __init__(self) -> None:
        self.events: list[str] = []

    def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")


class Setup:
    """One sending; the test is its session and its upstream."""

    def __init__(
        self,
        reactor: Reactor,
        records: Input,
        *,
        rate: float | None = None,
        write: Callable[[Sequence[bytes]], Sequence[bytes]] = lambda messages: messages,
        trouble: str = "",
    ) -> None:
        self.progress: list[int] = []
        self.sending = Sending(
            records,
            target="central:1",
            write=write,
            on_progress=self.progress.append,
            rate=rate,
            seconds_max=5,
            reactor=reactor,  # type: ignore[arg-type]
        )
        self.link: Any = Link()
        self.session = Session()
        needed = Prerequisite("it waits")
        needed.trouble = trouble
        delivery = Delivery(new_link=lambda outlet: self.link, prerequisites=(needed,))
        self.result = ensureDeferred(self.sending.run(delivery))

    @property
    def outcome(self) -> tuple[int, int, str]:
        found = self.sending.outcome
        return found.read, found.delivered, found.problem


def test_everything_is_delivered(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines)
    assert reactor.readers == []  # nothing is read before there is a session
    setup.sending.attach(setup.session)
    pipe.write(b"one\ntwo\n")
    assert setup.session.sent == [b"<one>", b"<two>"]
    setup.sending.acknowledged(setup.session, 1)
    pipe.end()
    reactor.advance(0)
    assert not setup.result.called
    setup.sending.acknowledged(setup.session, 1)
    reactor.advance(0)
    assert setup.result.called
    assert (setup.outcome, setup.progress) == ((2, 2, ""), [1, 2])
    assert setup.link.events == ["start", "stop"]
    assert reactor.getDelayedCalls() == []


def test_an_empty_input(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines)
    setup.sending.attach(setup.session)
    pipe.end()
    reactor.advance(0)
    assert (setup.result.called, setup.outcome) == (True, (0, 0, ""))


def test_no_more_is_read_than_is_waiting(reactor: Reactor) -> None:
    records = Generated(iter([b"x"] * 30_000), reactor=reactor)  # type: ignore[arg-type]
    setup = Setup(reactor, records)
    setup.session.room = 0
    setup.sending.attach(setup.session)
    for _ in range(100):
        reactor.advance(0)
    assert 10_000 <= setup.sending.outcome.read < 11_000
    for _ in range(100):
        setup.session.room = 1000
        setup.sending.pump()
        setup.sending.acknowledged(setup.session, len(setup.session.sent))
        setup.session.sent.clear()
        reactor.advance(0)
    assert setup.outcome == (30_000, 30_000, "")


def test_nobody_is_there(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines)
    setup.sending.state.failed("refused by central:1")
    reactor.advance(0)
    assert (setup.result.called, setup.outcome) == (True, (0, 0, "refused by central:1"))


def test_a_lost_session_ends_it(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines)
    setup.sending.attach(setup.session)
    pipe.write(b"one\ntwo\n")
    setup.sending.acknowledged(setup.session, 1)
    setup.sending.detach(setup.session)
    setup.sending.state.failed("the connection ended")
    reactor.advance(0)
    assert (setup.result.called, setup.outcome) == (True, (2, 1, "the connection ended"))
    assert reactor.readers == []


def test_a_refused_message_is_counted_and_the_others_go_on(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines)
    setup.sending.attach(setup.session)
    pipe.write(b"one\ntwo\n")
    assert setup.sending.refused(setup.session, "500 bad")
    pipe.end()
    setup.sending.acknowledged(setup.session, 1)
    reactor.advance(0)
    assert setup.outcome == (2, 1, "the receiver refused a message: 500 bad")


@pytest.mark.parametrize("has_session", [False, True])
def test_silence_has_an_end(reactor: Reactor, pipe: Pipe, has_session: bool) -> None:
    setup = Setup(reactor, pipe.lines)
    if has_session:
        setup.sending.attach(setup.session)
        pipe.write(b"one\n")
    reactor.advance(5)
    reactor.advance(0)
    assert (setup.result.called, setup.sending.outcome.is_silent) == (True, True)
    assert setup.outcome[2] == "no answer from central:1 within 5 s"


def test_a_quiet_input_is_no_silence(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines)
    setup.sending.attach(setup.session)
    pipe.write(b"one\n")
    setup.sending.acknowledged(setup.session, 1)
    reactor.advance(3600)
    assert not setup.result.called


def test_a_rate(reactor: Reactor) -> None:
    records = Generated(iter([b"x"] * 100), reactor=reactor)  # type: ignore[arg-type]
    setup = Setup(reactor, records, rate=10)
    setup.sending.attach(setup.session)
    sent = []
    for _ in range(90):
        setup.sending.acknowledged(setup.session, 1) if setup.session.sent else None
        reactor.advance(0.1)
        sent.append(len(setup.session.sent))
    assert all(abs(count - 1 - seconds) <= 2 for seconds, count in enumerate(sent))


def test_what_the_form_drops_is_not_delivered(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines, write=lambda messages: messages[1:])
    setup.sending.attach(setup.session)
    pipe.write(b"one\ntwo\n")
    pipe.end()
    setup.sending.acknowledged(setup.session, 1)
    reactor.advance(0)
    assert (setup.session.sent, setup.outcome) == ([b"<two>"], (2, 1, ""))


def test_missing_files(reactor: Reactor, pipe: Pipe) -> None:
    setup = Setup(reactor, pipe.lines, trouble="cannot read /ca.pem")
    assert (setup.result.called, setup.outcome) == (True, (0, 0, "cannot read /ca.pem"))
    assert setup.link.events == []
