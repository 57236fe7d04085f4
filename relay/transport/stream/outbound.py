"""Plain syslog to an upstream over TCP or TLS (RFC 6587, RFC 5425).

Plain syslog has no acknowledgements.  The strongest evidence is the acknowledgement of the
upstream's TCP, so that counts as delivery here: a successful `write`, or an empty send
buffer, only means that the bytes left this process.  The connection has to live on for a moment
after that: a program that ends with unread data resets it, and then all of that moment is sent
again.  Data that the program loses later is lost nevertheless; only RELP detects that.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock, DelayedCall
from relay.transport.tls.failure import TLS_ALERT
from relay.transport.upstream import (
    TIMEOUT,
    CountingWrapper,
    DeliveringProtocol,
    Timeouts,
    UpstreamState,
)

_WINDOW_RECORDS = 8192
_WINDOW_BYTES = 1024 * 1024
_SOON_SECONDS = 3.0  # for a receiver of another protocol to close the connection
_POLL_SECONDS_MIN = 0.002
_POLL_SECONDS_MAX = 0.1

# tcpi_bytes_acked in struct tcp_info (linux/tcp.h, since Linux 4.1).
_BYTES_ACKED = struct.Struct("@Q")
_BYTES_ACKED_OFFSET = 120


def tcp_acknowledged_bytes(connected: socket.socket) -> int:
    """Bytes that the other end's TCP has acknowledged, plus one for the SYN."""
    info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (count,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_OFFSET)
    return int(count)


class SyslogStreamOutProtocol(DeliveringProtocol):
    """Sends records and reads TCP's acknowledgements from the kernel.

    A window is sent, then the kernel is asked until all of it has been
    acknowledged; that needs no idea of where a record ends in a TLS stream.

    Args:
        encode: Frames records for one write.
        acknowledged_bytes: Asks the kernel.
    """

    def __init__(
        self,
        *,
        drain: SessionDrain,
        state: UpstreamState,
        clock: Clock,
        secure: bool,
        timeouts: Timeouts,
        encode: Callable[[Sequence[bytes]], bytes],
        acknowledged_bytes: Callable[[socket.socket], int] = tcp_acknowledged_bytes,
    ) -> None:
        super().__init__(drain=drain, state=state, clock=clock, secure=secure, timeouts=timeouts)
        self._encode = encode
        self._acknowledged_bytes = acknowledged_bytes
        self._in_flight_records = 0
        self._in_flight_bytes = 0
        # Acknowledged by TCP, and when they are delivered if the connection lives on.
        self._unconfirmed: deque[tuple[float, int]] = deque()
        self._confirm_call: DelayedCall | None = None
        self._sent_at = 0.0  # when the kernel last told of progress, or the window began
        self._last_acknowledged = 0
        self._poll_call: DelayedCall | None = None
        self._poll_seconds = _POLL_SECONDS_MIN

    @property
    def room(self) -> int:
        if self.over or self._retiring or self._write_blocked:
            return 0
        if self._in_flight_bytes >= _WINDOW_BYTES:
            return 0
        return _WINDOW_RECORDS - self._in_flight_records

    def send(self, payloads: Sequence[bytes]) -> None:
        data = self._encode(payloads)
        if not self._in_flight_records:
            self._sent_at = self._clock.seconds()
            self._poll_seconds = _POLL_SECONDS_MIN
        self._in_flight_records += len(payloads)
        self._in_flight_bytes += len(data)
        self.transport.write(data)
        if self._poll_call is None:
            self._poll_call = self._clock.callLater(self._poll_seconds, self._poll)

    def connectionMade(self) -> None:
        # The wrapper that counts lies right above TCP; TLS lies between it and us.
        self._counting: CountingWrapper = (
            self.transport.transport if self._secure else self.transport
        )
        # What was acknowledged before we have written anything is not ours.
        self._acknowledged_before = self._ask_kernel()
        super().connectionMade()

    def begin(self) -> None:
        self._began_at = self._clock.seconds()
        self.transport.registerProducer(self, True)
        self.become_ready()

    def started(self) -> str:
        self._drain.attach(self)
        return (
            f"connected to {self.state.target}, delivered to its TCP, not confirmed by the receiver"
        )

    def dataReceived(self, data: bytes) -> None:
        # A receiver of plain syslog sends nothing.
        if not self._secure and data.startswith(TLS_ALERT):
            self.give_up("this port is for TLS: use tls://")
        else:
            self.state.unexpected(data)

    def remark(self) -> str:
        if not self.prepared or self._clock.seconds() - self._began_at > _SOON_SECONDS:
            return super().remark()
        other = "RELP (relp+tls://)" if self._secure else "TLS (tls://) or RELP (relp://)"
        return f" soon after it was opened: is this a port for {other}?"

    @property
    def is_idle(self) -> bool:
        return not self._in_flight_records and not self._unconfirmed

    def ended(self) -> None:
        self._drain.detach(self)
        for call in (self._poll_call, self._confirm_call):
            if call is not None:
                call.cancel()
        self._poll_call = self._confirm_call = None

    def _poll(self) -> None:
        self._poll_call = None
        if self.over:
            return
        acknowledged = self._ask_kernel() - self._acknowledged_before
        now = self._clock.seconds()
        if acknowledged > self._last_acknowledged:
            self._last_acknowledged, self._sent_at = acknowledged, now
        # TLS has handed what it was given to TCP by now: it waits for the next turn
        # of the reactor at most.
        if acknowledged >= self._counting.written_bytes:
            count, self._in_flight_records, self._in_flight_bytes = self._in_flight_records, 0, 0
            self._unconfirmed.append((now + self._timeouts.confirm_seconds, count))
            self._confirm()
            self._drain.pump()
        elif now - self._sent_at > self._timeouts.answer_seconds_max:
            seconds = self._timeouts.answer_seconds_max
            self.give_up(f"nothing acknowledged for {seconds:g} s", cause=TIMEOUT)
            return
        if self._in_flight_records and self._poll_call is None and not self.over:
            self._poll_seconds = min(2 * self._poll_seconds, _POLL_SECONDS_MAX)
            self._poll_call = self._clock.callLater(self._poll_seconds, self._poll)

    def _confirm(self) -> None:
        """Report as delivered what was acknowledged long enough ago."""
        now, count = self._clock.seconds(), 0
        while self._unconfirmed and self._unconfirmed[0][0] <= now:
            count += self._unconfirmed.popleft()[1]
        if self._unconfirmed and self._confirm_call is None:
            seconds = self._unconfirmed[0][0] - now
            self._confirm_call = self._clock.callLater(seconds, self._confirm_later)
        if count:
            self._drain.acknowledged(self, count)
        self.retire_if_idle()

    def _confirm_later(self) -> None:
        self._confirm_call = None
        self._confirm()

    def _ask_kernel(self) -> int:
        tcp: Any = self._counting.transport
        return self._acknowledged_bytes(tcp.getHandle())
