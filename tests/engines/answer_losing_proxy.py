"""A proxy before a broker of Kafka's protocol that loses answers to Produce.

The broker has stored the records then, and its client does not know: the case for which
sequences of idempotent producers, and numbers of records, exist.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.engines.tansu import Tansu
from tests.processes import Programs, free_port

__all__ = ["AnswerLosingProxy", "tansu_behind_proxy"]

_PRODUCE = 0
_FRAME_MAX = 1 << 26
_CONNECT_SECONDS_MAX = 5.0


class AnswerLosingProxy:
    """Passes requests and answers on between `port` and `target_port`.

    Attributes:
        address: As in `bootstrap.servers`.
        lost: Answers to Produce that were lost so far.
        passed: Those that were passed on.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.lost = 0
        self.passed = 0
        self._target_port = target_port
        self._lock = threading.Lock()
        self._to_lose = 0
        self._every = 0
        self._is_cutting = True
        self._connections: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True, name=f"proxy-{self.port}").start()

    def lose(self, count: int, *, cut: bool = True) -> None:
        """Lose the next `count` answers to Produce.

        Args:
            cut: End the connection in place of each answer; False = the client waits until it
                gives up by itself.
        """
        with self._lock:
            self._to_lose, self._is_cutting = count, cut

    def lose_every(self, interval: int) -> None:
        """Lose each `interval`-th answer to Produce, and cut; 0 ends it."""
        with self._lock:
            self._every, self._is_cutting = interval, True

    def cut(self) -> None:
        """End all connections now, wherever they are in a request or an answer."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def fate(self) -> str:
        """The fate of one answer to Produce: "pass", "cut" or "drop"."""
        with self._lock:
            number = self.lost + self.passed + 1
            is_lost = self._to_lose > 0 or (self._every > 0 and number % self._every == 0)
            if not is_lost:
                self.passed += 1
                return "pass"
            self._to_lose = max(0, self._to_lose - 1)
            self.lost += 1
            return "cut" if self._is_cutting else "drop"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(
                    ("127.0.0.1", self._target_port), timeout=_CONNECT_SECONDS_MAX
                )
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            connection = _Connection(near, far, self.fate, self._forget)
            with self._lock:
                self._connections.add(connection)
            connection.start()

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    """One connection, with a thread for each direction."""

    def __init__(
        self,
        near: socket.socket,
        far: socket.socket,
        fate: Callable[[], str],
        forget: Callable[[_Connection], None],
    ) -> None:
        self._near, self._far = near, far
        self._fate = fate
        self._forget = forget
        self._produced: set[int] = set()  # correlation ids of Produce without an answer yet

    def start(self) -> None:
        for run in (self._pass_requests, self._pass_answers):
            threading.Thread(target=self._run, args=(run,), daemon=True).start()

    def close(self) -> None:
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._forget(self)

    def _run(self, run: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, EOFError):
            run()
        self.close()

    def _pass_requests(self) -> None:
        while True:
            frame = _frame(self._near)
            request, _version, correlation = struct.unpack_from(">hhi", frame, 4)
            if request == _PRODUCE:
                self._produced.add(correlation)
            self._far.sendall(frame)

    def _pass_answers(self) -> None:
        while True:
            frame = _frame(self._far)
            (correlation,) = struct.unpack_from(">i", frame, 4)
            fate = "pass"
            if correlation in self._produced:
                self._produced.discard(correlation)
                fate = self._fate()
            if fate == "cut":
                return
            if fate == "pass":
                self._near.sendall(frame)


def _frame(end: socket.socket) -> bytes:
    """The next frame with its length in front.

    Raises:
        EOFError: The connection has ended.
    """
    head = _exactly(end, 4)
    (size,) = struct.unpack(">i", head)
    if not 4 <= size <= _FRAME_MAX:
        raise EOFError(f"a frame of {size} octets is none of Kafka's protocol")
    return head + _exactly(end, size)


def _exactly(end: socket.socket, size: int) -> bytes:
    read = bytearray()
    while len(read) < size:
        chunk = end.recv(min(size - len(read), 1 << 20))
        if not chunk:
            raise EOFError("closed")
        read += chunk
    return bytes(read)


def tansu_behind_proxy(
    programs: Programs, folder: Path, *, topics: Mapping[str, int]
) -> tuple[Tansu, AnswerLosingProxy]:
    """A broker that sends its clients to the proxy, whose `address` is the one to use."""
    port = free_port()
    proxy = AnswerLosingProxy(port)
    tansu = Tansu(folder, topics=topics, port=port, advertised_port=proxy.port)
    programs.add(tansu)
    tansu.start()
    return tansu, proxy
