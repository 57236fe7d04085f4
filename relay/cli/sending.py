"""Send the lines of an open file, a pipe or a terminal to a relay, as they come.

Plain blocking sockets: there is one connection and nothing else to do.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from relay import __version__
from relay.transport.tls.failure import TLS_ALERT
from relay.wire.framing.lines import LineDecoder
from relay.wire.relp.client import RelpClientSession

_CHUNK_BYTES = 65536
_WINDOW_RECORDS = 1000
_SOFTWARE = b"syslogrelay-send," + __version__.encode()


class Connection(Protocol):
    """A socket, or TLS over one."""

    def fileno(self) -> int: ...

    def settimeout(self, value: float | None, /) -> None: ...

    def recv(self, size: int, /) -> bytes:
        """Octets; none when the other end has closed.  BlockingIOError: not yet."""

    def sendall(self, octets: bytes, /) -> None: ...


class LineReader:
    """Reads a descriptor and makes a message of each line that is not empty.

    Args:
        message_of: Makes the message.
        line_bytes_max: Longer lines are cut there.

    Lines are those of files: LF and CR LF end them, NUL is a byte like others, and a byte
    order mark at the beginning is no text.

    Attributes:
        count: Messages made so far.
        truncated: How many lines were cut so far.
        ended: There are no more.
    """

    def __init__(
        self, descriptor: int, message_of: Callable[[bytes], bytes], *, line_bytes_max: int
    ) -> None:
        self.descriptor = descriptor
        self.count = 0
        self.truncated = 0
        self.ended = False
        self._message_of = message_of
        self._decoder = LineDecoder(start=0, frame_bytes_max=line_bytes_max)

    def read(self) -> list[bytes]:
        """Read available data; block until there is some."""
        chunk = os.read(self.descriptor, _CHUNK_BYTES)
        found = self._decoder.feed(chunk) if chunk else self._decoder.finish()
        lines = [line for line in found.frames if line]
        self.ended = not chunk
        self.truncated += len(found.long)
        self.count += len(lines)
        return [self._message_of(line) for line in lines]


@dataclass(slots=True)
class Outcome:
    """The result of sending."""

    taken: int = 0
    """Messages that the relay has acknowledged (RELP) or the kernel has passed on to it."""
    problem: str = ""
    """Why the others were not sent or acknowledged."""
    opened: bool = False
    """Whether the relay has opened the session."""
    timed_out: bool = False
    """Whether the relay is connected, but silent."""


def send_relp(connection: Connection, lines: LineReader, *, seconds_max: float) -> Outcome:
    """Send all lines over RELP and wait for the answers.

    Args:
        seconds_max: Longest wait for an answer.
    """
    connection.settimeout(seconds_max)
    sending = _RelpSending(connection, lines, seconds_max)
    try:
        sending.run()
    except OSError as error:
        sending.outcome.problem = str(error.strerror or error)
    return sending.outcome


def send_datagrams(connection: socket.socket, lines: LineReader, *, seconds_max: float) -> Outcome:
    """Send all lines as datagrams over a connected unix socket, waiting while it is full.

    Args:
        seconds_max: Longest wait for room.
    """
    connection.settimeout(seconds_max)
    outcome = Outcome()
    while not lines.ended:
        for message in lines.read():
            try:
                connection.send(message)
            except TimeoutError:
                outcome.problem = f"no room in the socket for {seconds_max:g} s"
                return outcome
            except OSError as error:
                outcome.problem = str(error.strerror or error)
                if not isinstance(error, ConnectionError):
                    continue  # because of this message, which is too long, for example
                return outcome
            outcome.taken += 1
    return outcome


class _RelpSending:
    """One RELP session and what goes through it."""

    def __init__(self, connection: Connection, lines: LineReader, seconds_max: float) -> None:
        self.outcome = Outcome()
        self._connection = connection
        self._lines = lines
        self._seconds_max = seconds_max
        self._session = RelpClientSession(window_records=_WINDOW_RECORDS, software=_SOFTWARE)
        self._waiting: deque[bytes] = deque()  # lines that the window has no room for

    def run(self) -> None:
        session = self._session
        self._write()
        while not session.over:
            self._send_waiting()
            if self._lines.ended and not self._waiting and not session.unacknowledged:
                session.close()
                self._write()
                if session.over:
                    return
            readable = self._wait()
            if not readable:
                self.outcome.problem = f"no answer within {self._seconds_max:g} s"
                self.outcome.timed_out = True
                return
            if self._connection in readable and not self._receive():
                return
            if self._lines.descriptor in readable:
                self._waiting.extend(self._lines.read())
        if session.error is not None:
            self.outcome.problem = str(session.error)

    def _send_waiting(self) -> None:
        count = min(self._session.room, len(self._waiting))
        if count:
            self._session.send([self._waiting.popleft() for _ in range(count)])
            self._write()

    def _wait(self) -> list[int | Connection]:
        """Wait for an answer, or for a line if the window has room for it."""
        sources: list[int | Connection] = [self._connection]
        session = self._session
        if session.ready and not self._waiting and not self._lines.ended:
            sources.append(self._lines.descriptor)
        answers_due = session.unacknowledged or not session.ready or self._lines.ended
        readable, _, _ = select.select(sources, [], [], self._seconds_max if answers_due else None)
        return readable

    def _receive(self) -> bool:
        """Process answers; False if the relay has closed the connection."""
        try:
            chunk = self._connection.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return True
        if not chunk:
            if not self._is_done():
                self.outcome.problem = "the relay has closed the connection"
            return False
        if not self._session.ready and chunk.startswith(TLS_ALERT):
            self.outcome.problem = "the relay answers in TLS"
            return False
        self.outcome.taken += self._session.receive(chunk)
        self.outcome.opened |= self._session.ready
        while self._session.refusal is not None:
            self.outcome.problem = f"the relay refused a message: {self._session.refusal}"
            self.outcome.taken += self._session.skip_refused()
        self._write()
        return True

    def _is_done(self) -> bool:
        return self._lines.ended and self.outcome.taken == self._lines.count

    def _write(self) -> None:
        if octets := self._session.data_to_send():
            self._connection.sendall(octets)
