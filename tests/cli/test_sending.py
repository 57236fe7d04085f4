from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from relay.cli.sending import LineReader, send_datagrams, send_relp
from relay.wire.relp.server import RelpServerSession


@contextmanager
def lines(octets: bytes, *, line_bytes_max: int = 1000) -> Iterator[LineReader]:
    """The lines of a pipe that holds `octets`."""
    reading, writing = os.pipe()

    def fill() -> None:
        # The reader may leave before everything is written, or even read.
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
            pipe.write(octets)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield LineReader(reading, lambda line: b"<" + line + b">", line_bytes_max=line_bytes_max)
    finally:
        os.close(reading)
        thread.join()


class Relay:
    """A RELP server at the other end of a pair of sockets, in a thread.

    Args:
        answer: Called after each chunk; says what the server has to say.
    """

    def __init__(self, answer: Callable[[RelpServerSession, int], None]) -> None:
        self.here, self._there = socket.socketpair()
        self.messages: list[bytes] = []
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.here.close()
        self._thread.join()

    def _serve(self) -> None:
        session = RelpServerSession(data_bytes_max=100_000, software=b"test,1")
        with self._there as there:
            while not session.finished and (chunk := there.recv(65536)):
                messages = session.receive(chunk)
                self.messages += messages
                self._answer(session, len(messages))
                there.sendall(session.data_to_send())


def answer_all(session: RelpServerSession, count: int) -> None:
    session.answer(count)


def test_a_line_is_a_message_whatever_is_in_it() -> None:
    with lines(b"\xef\xbb\xbfwith \0 nul\n\r\n\0\r\nlast\0") as reader:
        assert reader.read() == [b"<with \0 nul>", b"<\0>"]
        assert reader.read() == [b"<last\0>"]
        assert (reader.count, reader.truncated, reader.ended) == (3, 0, True)


def test_every_line_is_a_message_and_is_answered() -> None:
    with Relay(answer_all) as relay, lines(b"one\n\ntwo\r\nthree") as reader:
        outcome = send_relp(relay.here, reader, seconds_max=5)
    assert (outcome.taken, outcome.problem, reader.count) == (3, "", 3)
    assert relay.messages == [b"<one>", b"<two>", b"<three>"]


def test_more_lines_than_the_window_has_room_for() -> None:
    expected = [b"<%d>" % number for number in range(25_000)]
    with (
        Relay(answer_all) as relay,
        lines(b"".join(b"%d\n" % number for number in range(25_000))) as reader,
    ):
        outcome = send_relp(relay.here, reader, seconds_max=20)
    assert (outcome.taken, outcome.problem) == (25_000, "")
    assert relay.messages == expected


def test_no_lines_at_all() -> None:
    with Relay(answer_all) as relay, lines(b"") as reader:
        outcome = send_relp(relay.here, reader, seconds_max=5)
    assert (outcome.taken, outcome.problem, reader.count) == (0, "", 0)


def test_a_server_that_speaks_tls() -> None:
    here, there = socket.socketpair()
    with here, there, lines(b"one\n") as reader:
        there.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
        outcome = send_relp(here, reader, seconds_max=5)
    assert (outcome.opened, reader.count) == (False, 0)
    assert outcome.problem == "the relay answers in TLS"


def test_a_relay_that_does_not_answer() -> None:
    with Relay(lambda session, count: None) as relay, lines(b"one\ntwo\n") as reader:
        outcome = send_relp(relay.here, reader, seconds_max=0.1)
    assert (outcome.taken, reader.count) == (0, 2)
    assert (outcome.opened, outcome.timed_out) == (True, True)
    assert outcome.problem == "no answer within 0.1 s"


def test_a_relay_that_ends_the_session() -> None:
    def answer_one(session: RelpServerSession, count: int) -> None:
        if count:
            session.answer(1)
            session.abandon()

    with Relay(answer_one) as relay, lines(b"one\ntwo\n") as reader:
        outcome = send_relp(relay.here, reader, seconds_max=5)
    assert (outcome.taken, reader.count) == (1, 2)
    assert outcome.problem


class Script:
    """A server that says the same whatever it hears."""

    def __init__(self, *answers: bytes) -> None:
        self.here, self._there = socket.socketpair()
        self._answers = answers
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Script:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.here.close()
        self._thread.join()

    def _serve(self) -> None:
        with self._there as there:
            for answer in self._answers:
                there.recv(65536)
                there.sendall(answer)


def test_a_refused_message_is_counted_and_the_others_go_on() -> None:
    opened = b"200 OK\nrelp_version=0\ncommands=syslog"
    script = Script(
        b"1 rsp %d %s\n" % (len(opened), opened),
        b"2 rsp 6 200 OK\n3 rsp 7 500 bad\n4 rsp 6 200 OK\n",
        b"5 rsp 0\n0 serverclose 0\n",
    )
    with script, lines(b"one\ntwo\nthree\n") as reader:
        outcome = send_relp(script.here, reader, seconds_max=5)
    assert (outcome.taken, reader.count) == (2, 3)
    assert outcome.problem == "the relay refused a message: 500 bad"


def test_a_server_that_refuses_the_session_or_is_none() -> None:
    for answer, words in ((b"1 rsp 3 500\n", "refused the session"), (b"SSH-2.0\r\n", "RELP")):
        with Script(answer) as script, lines(b"one\n") as reader:
            outcome = send_relp(script.here, reader, seconds_max=5)
        assert outcome.taken == 0
        assert words in outcome.problem


def test_a_relay_that_is_gone() -> None:
    with Script() as script, lines(b"one\n") as reader:
        script._thread.join()
        outcome = send_relp(script.here, reader, seconds_max=5)
    assert outcome.taken == 0
    assert outcome.problem in ("Broken pipe", "the relay has closed the connection")


def test_a_long_line_is_cut_once() -> None:
    with (
        Relay(answer_all) as relay,
        lines(b"x" * 5000 + b"\nnext\n", line_bytes_max=100) as reader,
    ):
        outcome = send_relp(relay.here, reader, seconds_max=5)
    assert (outcome.taken, reader.truncated) == (2, 1)
    assert relay.messages == [b"<" + b"x" * 100 + b">", b"<next>"]


# Datagrams.


def test_datagrams_wait_for_room(tmp_path: Path) -> None:
    """The kernel queues a few; a sender that did not wait would lose the others."""
    path = str(tmp_path / "log")
    got: list[bytes] = []
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        lines(b"".join(b"%d\n" % number for number in range(5000))) as reader,
    ):
        bound.bind(path)
        sender.connect(path)
        thread = threading.Thread(target=lambda: got.extend(bound.recv(100) for _ in range(5000)))
        thread.start()
        outcome = send_datagrams(sender, reader, seconds_max=20)
        thread.join()
    assert (outcome.taken, outcome.problem) == (5000, "")
    assert got == [b"<%d>" % number for number in range(5000)]


def test_a_datagram_that_is_too_long_is_counted() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    text = b"one\n" + b"x" * 100_000 + b"\ntwo\n"
    with here, there, lines(text, line_bytes_max=200_000) as reader:
        outcome = send_datagrams(here, reader, seconds_max=5)
    assert (outcome.taken, reader.count) == (2, 3)
    assert outcome.problem == "Message too long"


@pytest.mark.parametrize("gone", [False, True])
def test_nobody_takes_datagrams(gone: bool) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    if gone:
        there.close()
    with here, there, lines(b"x\n" * 5000) as reader:
        outcome = send_datagrams(here, reader, seconds_max=0.1)
    assert outcome.taken < 5000
    assert outcome.problem == ("Connection refused" if gone else "no room in the socket for 0.1 s")
