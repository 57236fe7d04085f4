"""Thousands of RELP clients in one thread, on non-blocking sockets."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator

from relay.codec import encode_syslog
from relay.wire.relp.frame import encode_answers, encode_frame

__all__ = ["MESSAGES_EACH", "Swarm"]

MESSAGES_EACH = 2
# The kernel gives each local address some 28,000 ports, some of them still waiting.
PER_ADDRESS = 5000
BATCH = 500  # less than the backlog of the listener
OPEN = encode_frame(1, b"open", b"relp_version=0\nrelp_software=swarm,1,x\ncommands=syslog")
CLOSE_TXNR = 2 + MESSAGES_EACH
ANSWERS = encode_answers(2, MESSAGES_EACH)
FAREWELL = encode_frame(CLOSE_TXNR, b"rsp", b"") + b"0 serverclose 0\n"


class _Client:
    """One connection, and what it has still to hear."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.heard = b""
        self.done = False
        self.closed = False

    def messages(self) -> list[bytes]:
        return [
            b"<13>1 - web-1 swarm - - - %d of %d" % (message, self.number)
            for message in range(MESSAGES_EACH)
        ]


class Swarm:
    """Clients that connect, send their messages, wait for the answers, and close.

    Attributes:
        answered: Clients that have all their answers.
    """

    def __init__(self, port: int, count: int, *, seconds_max: float) -> None:
        self.answered = 0
        self._port = port
        self._clients = [_Client(number) for number in range(count)]
        self._selector = selectors.DefaultSelector()
        self._deadline = time.monotonic() + seconds_max

    def __enter__(self) -> Swarm:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for client in self._clients:
            client.socket.close()

    def messages(self) -> Iterator[bytes]:
        for client in self._clients:
            yield from client.messages()

    def open_all(self) -> None:
        """Connect in batches; each client sends at once and stays until it is answered."""
        for start in range(0, len(self._clients), BATCH):
            batch = self._clients[start : start + BATCH]
            for client in batch:
                client.socket.bind((f"127.0.0.{1 + client.number // PER_ADDRESS}", 0))
                client.socket.connect_ex(("127.0.0.1", self._port))
                self._selector.register(client.socket, selectors.EVENT_WRITE, client)
            while not all(client.done for client in batch):
                self._poll(self._opening)
        self.answered = sum(client.done for client in self._clients)

    def close_all(self) -> None:
        """Say ``close`` on every connection; wait for the farewell and the end of each."""
        for client in self._clients:
            client.heard = b""
            client.socket.send(encode_frame(CLOSE_TXNR, b"close", b""))
        while not all(client.closed for client in self._clients):
            self._poll(self._closing)

    def _poll(self, take: Callable[[_Client, int], None]) -> None:
        assert time.monotonic() < self._deadline, "not all clients were served in time"
        for key, events in self._selector.select(1.0):
            take(key.data, events)

    def _opening(self, client: _Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            error = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert error == 0, f"client {client.number}: connect failed with {error}"
            client.socket.send(OPEN + encode_syslog(2, client.messages()))
            self._selector.modify(client.socket, selectors.EVENT_READ, client)
            return
        octets = client.socket.recv(4096)
        assert octets, f"client {client.number}: closed after {client.heard!r}"
        client.heard += octets
        client.done = client.heard.startswith(b"1 rsp ") and client.heard.endswith(b"\n" + ANSWERS)

    def _closing(self, client: _Client, events: int) -> None:
        octets = client.socket.recv(4096)
        client.heard += octets
        if not octets:
            assert client.heard == FAREWELL, f"client {client.number}: {client.heard!r}"
            client.closed = True
            self._selector.unregister(client.socket)
            client.socket.close()
