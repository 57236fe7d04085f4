"""Syslog to an upstream over UDP (RFC 5426): delivered when the kernel has sent it.

UDP has no acknowledgements, so this is the weakest kind of delivery, and `status` says so.
An ICMP error that is there when a batch has been sent, or comes before the end of a later one, ends
the session: the records of that batch are sent again.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock, DelayedCall
from relay.transport.notices import Notices
from relay.transport.upstream import UpstreamState

DATAGRAM_BYTES_MAX = 65507
"""Largest payload of a UDP datagram over IPv4, in bytes."""

_BATCH_RECORDS = 128
_PAUSE_SECONDS = 0.005  # when the kernel's buffer is full
_BUSY = (errno.EAGAIN, errno.ENOBUFS)


class DatagramSocket(Protocol):
    """A connected, non-blocking datagram socket, or DTLS over one."""

    def send(self, datagram: bytes, /) -> object: ...

    def getsockopt(self, level: int, option: int, /) -> int: ...

    def close(self) -> None: ...


class DatagramSession:
    """A connected datagram socket, UDP or of this host, as a session of the drain.

    Args:
        on_failure: Called once with the reason when the socket reports an error.
        bytes_max: Where payloads are cut; None = the kernel refuses those that are too long.
    """

    def __init__(
        self,
        connected: DatagramSocket,
        *,
        drain: SessionDrain,
        state: UpstreamState,
        clock: Clock,
        notices: Notices,
        on_failure: Callable[[str], None],
        bytes_max: int | None = DATAGRAM_BYTES_MAX,
    ) -> None:
        self._socket = connected
        self._drain = drain
        self._state = state
        self._clock = clock
        self._notices = notices
        self._on_failure = on_failure
        self._bytes_max = bytes_max
        self._waiting: list[bytes] = []
        self._call: DelayedCall | None = None
        self._closed = False

    @property
    def room(self) -> int:
        return 0 if self._waiting or self._closed else _BATCH_RECORDS

    def send(self, payloads: Sequence[bytes]) -> None:
        self._waiting = [self._fitting(payload) for payload in payloads]
        # Not from within the drain's loop, which would only come back here.
        self._call = self._clock.callLater(0, self._send_waiting)

    def fail(self, reason: str) -> None:
        """End the session, because nothing can be sent any more."""
        if not self._closed:
            self.close()
            self._on_failure(f"{self._state.target}: {reason}")

    def close(self) -> None:
        """Stop sending."""
        if not self._closed:
            self._closed = True
            self._drain.detach(self)
            if self._call is not None and self._call.active():
                self._call.cancel()
            self._socket.close()

    def _send_waiting(self) -> None:
        sent = 0
        error_number, reason = 0, ""
        try:
            for payload in self._waiting:
                self._socket.send(payload)
                sent += 1
            # On this host the refusal of the last datagram is there already.
            error_number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            reason = os.strerror(error_number) if error_number else ""
        except OSError as error:
            error_number, reason = error.errno or 0, error.strerror or str(error)
        if error_number == errno.EMSGSIZE:
            self._too_long(sent, reason)
        elif error_number in _BUSY:
            self._call = self._clock.callLater(_PAUSE_SECONDS, self._send_waiting)
            self._sent(sent)
        elif reason:
            self.fail(reason)
        else:
            self._sent(sent)

    def _sent(self, count: int) -> None:
        del self._waiting[:count]
        self._drain.acknowledged(self, count)
        if not self._waiting:
            self._drain.pump()

    def _too_long(self, sent: int, reason: str) -> None:
        """The record after the `sent` ones does not fit into a packet on this route."""
        self._call = self._clock.callLater(0, self._send_waiting)
        self._sent(sent)
        if self._drain.refused(self, reason):
            del self._waiting[0]
            if not self._waiting:
                self._call.cancel()
                self._drain.pump()
        else:
            self.fail(reason)

    def _fitting(self, payload: bytes) -> bytes:
        if self._bytes_max is None or len(payload) <= self._bytes_max:
            return payload
        self._state.truncated_records += 1
        self._notices.warn(
            f"destination {self._state.target}",
            "truncated",
            f"{len(payload)} bytes do not fit into a datagram: cut at {self._bytes_max}",
        )
        return payload[: self._bytes_max]
