"""What lies below connections: Twisted's transports, sockets, and file descriptors."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from relay.model.clock import Clock, DelayedCall

READ_BYTES_MAX = 512 * 1024
"""Of one connection at once; Twisted reads 64 KiB.  All that is read at once shares what a turn of
the reactor, an append and a commit cost, which is more than what its messages cost."""
_UCRED = struct.Struct("3i")
_INT = struct.Struct("i")
_KEEPALIVE_PROBES = 4
_FINAL_READS_MAX = 512  # while senders go on and the relay stops
DESCRIPTORS_RESERVED = 16
"""Reserved for the control socket's connections, files and upstreams."""


class ReadDescriptor(Protocol):
    """What a reactor reads from (Twisted's IReadDescriptor).

    Written out, like the next one, because type checkers cannot follow zope interfaces, and
    because the limits of one read and one write, and a connection's reactor, are in no interface.
    """

    def fileno(self) -> int: ...

    def doRead(self) -> Exception | None:
        """Read once.  Returns why the connection has to end; None = it goes on."""
        ...

    def connectionLost(self, reason: Failure) -> object: ...


class SocketConnection(ReadDescriptor, Protocol):
    """A connection through TCP or a unix socket, below TLS and all wrappers."""

    SEND_LIMIT: int
    """Bytes that the kernel is handed at most in one turn of the reactor."""
    bufferSize: int
    """Bytes that are read at most in one turn of the reactor."""
    reactor: object
    _shouldShutdown: bool
    """Whether its end is the end of the TCP connection, whoever else has the socket."""

    def startReading(self) -> object: ...

    def stopReading(self) -> object: ...

    def loseWriteConnection(self) -> object: ...

    def getHandle(self) -> socket.socket | None: ...


def peer_credentials(connected: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of the peer of a unix socket."""
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(data)
    return pid, uid, gid


def read_in_large_steps(transport: object) -> None:
    """Have the reactor read up to `READ_BYTES_MAX` at once, below TLS and what else there is."""
    _lowest(transport).bufferSize = READ_BYTES_MAX


def notice_silence(transport: object, *, keepalive_seconds: float, user_seconds_max: float) -> None:
    """Have the kernel end a TCP connection whose other end has gone without a word.

    Args:
        keepalive_seconds: Silence after which it asks whether the other end is there, four times
            within half as long again; 0 = never.
        user_seconds_max: For how long sent bytes may be without TCP's acknowledgement (RFC 5482).
    """
    connection = _lowest(transport).getHandle()
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive_seconds > 0)
    options = {socket.TCP_USER_TIMEOUT: user_seconds_max * 1000}
    if keepalive_seconds:
        options[socket.TCP_KEEPIDLE] = keepalive_seconds
        options[socket.TCP_KEEPINTVL] = keepalive_seconds / _KEEPALIVE_PROBES / 2
        options[socket.TCP_KEEPCNT] = _KEEPALIVE_PROBES
    for option, value in options.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, max(1, round(value)))


def read_by(transport: object, reads: object) -> None:
    """Have `reads` watch the socket below `transport`, in the place of the reactor."""
    lowest = _lowest(transport)
    lowest.stopReading()
    lowest.reactor = reads
    lowest.startReading()


def end_writing(transport: object) -> None:
    """End our side of a TCP connection behind what was written, and go on reading (no TLS)."""
    _lowest(transport).loseWriteConnection()


def release(transport: object) -> socket.socket | None:
    """Take the socket below `transport` away, open, and end the transport.

    The protocol is told that the connection is lost.

    Returns:
        None if it is closed already.
    """
    lowest = _lowest(transport)
    connection = lowest.getHandle()
    if connection is None:
        return None
    released = connection.dup()
    lowest._shouldShutdown = False
    lowest.connectionLost(Failure(ConnectionDone()))
    return released


def read_rest(transport: object, *, is_local: bool, goes_on: Callable[[], bool]) -> None:
    """Read what the kernel has received for a connection, up to 64 MiB.

    Args:
        is_local: Of a unix socket: its peer gets EPIPE from here on, so that nothing can
            come between the last read and the end, and be lost without anybody knowing.
        goes_on: False once the connection has ended.
    """
    lowest = _lowest(transport)
    connection = lowest.getHandle()
    if connection is None:
        return
    if is_local:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)
    for _ in range(_FINAL_READS_MAX):
        if not goes_on() or not unread_bytes(connection):
            break
        lowest.doRead()


def _lowest(transport: Any) -> SocketConnection:
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    found: SocketConnection = transport
    return found


def unread_bytes(connection: socket.socket) -> int:
    """The bytes that the kernel has received for a connection, and nobody has read."""
    answer = fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(_INT.size))
    return int(_INT.unpack(answer)[0])


def lack_of_descriptors(left_min: int, users: str, key: str) -> str:
    """That less than `left_min` descriptors are left, for `users`, and what helps; empty = not so.

    Args:
        key: What may be lowered in the configuration.
    """
    if (left := descriptors_left()) >= left_min:
        return ""
    return (
        f"{left} of {descriptors_limit():,} file descriptors are left, for {users}; raise "
        f"LimitNOFILE= of the unit or ulimit -n, or lower {key}"
    )


def descriptors_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptors_left() -> int:
    """An upper bound of the descriptors that can still be opened.

    The kernel gives out the lowest number that is free, so all below it are in use.
    """
    try:
        lowest_free = os.dup(0)
    except OSError:  # none is left, or standard input is closed
        try:
            lowest_free = os.open("/", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return 0
    os.close(lowest_free)
    return max(0, descriptors_limit() - lowest_free)


class Timers:
    """The timers of one connection or reader, by name; setting one again replaces it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: dict[str, DelayedCall] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._calls and self._calls[name].active()

    def set(
        self, name: str, seconds: float, call: Callable[..., object], *arguments: object
    ) -> None:
        self.cancel(name)
        self._calls[name] = self._clock.callLater(seconds, call, *arguments)

    def cancel(self, name: str) -> None:
        call = self._calls.pop(name, None)
        if call is not None and call.active():
            call.cancel()

    def cancel_all(self) -> None:
        for name in list(self._calls):
            self.cancel(name)
