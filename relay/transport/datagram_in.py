"""Syslog over UDP (RFC 5426) and unix datagram sockets.

Twisted cuts datagrams at 8 KiB and cannot read what comes beside them (who sent
it, whether it was cut, how many were lost before it), so this reads the socket
itself: several datagrams a wake-up, one batch for each sender among them.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.counters import SourceCounters
from relay.model.origin import Origin
from relay.queue.admission import Admission
from relay.transport.inbound import Intake
from relay.transport.notices import Notices
from relay.transport.sockets import SO_RXQ_OVFL, plain_address

__all__ = ["DatagramReader"]

_DATAGRAMS_MAX = 200  # a wake-up, so that other sockets get their turn
_FINAL_READS_MAX = 500  # for those who go on sending while the relay stops
_DATAGRAM_BYTES_MAX = 65536  # more than UDP can carry; unix datagrams may be longer
_UCRED = struct.Struct("3i")
_OVERFLOW = struct.Struct("I")
_DESCRIPTOR = struct.Struct("i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_UCRED.size) + socket.CMSG_SPACE(_OVERFLOW.size)

_Sender = tuple[str, int, tuple[int, int, int] | None]


@implementer(IReadDescriptor)
class DatagramReader:
    """Reads one bound, non-blocking datagram socket.

    Datagrams cannot wait: while admission is closed they are read, dropped and
    counted here, and only here, so that a program that logs to a local socket
    is never blocked.

    Args:
        frame_bytes_max: Longer messages are cut here.
    """

    def __init__(
        self,
        bound: socket.socket,
        *,
        source: str,
        transport: str,
        frame_bytes_max: int,
        intake: Intake,
        admission: Admission,
        counters: SourceCounters,
        notices: Notices,
    ) -> None:
        self._socket = bound
        self._origin = Origin(source=source, transport=transport)
        self._frame_bytes_max = frame_bytes_max
        self._read_bytes = max(_DATAGRAM_BYTES_MAX, frame_bytes_max)
        self._intake = intake
        self._admission = admission
        self._counters = counters
        self._notices = notices
        self._overflow = 0  # the kernel's count of what did not fit its buffer

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return f"source {self._origin.source}"

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def doRead(self) -> None:
        """Take what has come (called by the reactor)."""
        self._read()

    def drain_and_close(self) -> None:
        """Take everything that is still in the kernel's buffer, then close."""
        for _ in range(_FINAL_READS_MAX):
            if not self._read():
                break
        self._socket.close()

    def _read(self) -> bool:
        """Take what has come, up to a limit; whether there may be more."""
        batches: dict[_Sender, list[bytes]] = {}
        more = True
        for _ in range(_DATAGRAMS_MAX):
            try:
                datagram, ancillary, flags, address = self._socket.recvmsg(
                    self._read_bytes, _ANCILLARY_BYTES
                )
            except BlockingIOError:
                more = False
                break
            except OSError as error:  # such as an ICMP error from an earlier answer
                self._warn("receive", f"cannot receive: {error}")
                more = False
                break
            sender = self._sender(address, ancillary)
            if flags & socket.MSG_TRUNC or len(datagram) > self._frame_bytes_max:
                datagram = datagram[: self._frame_bytes_max]
                self._counters.truncated_records += 1
                self._warn(
                    "truncated",
                    f"from {_words(sender)}: longer than frame_bytes_max "
                    f"({self._frame_bytes_max} octets): cut there",
                )
            batches.setdefault(sender, []).append(datagram)
        for sender, frames in batches.items():
            self._accept(sender, frames)
        return more

    def _sender(self, address: Any, ancillary: list[tuple[int, int, bytes]]) -> _Sender:
        credentials = None
        for level, kind, octets in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_CREDENTIALS:
                credentials = _UCRED.unpack(octets[: _UCRED.size])
            elif kind == SO_RXQ_OVFL:
                self._count_overflow(_OVERFLOW.unpack(octets[: _OVERFLOW.size])[0])
            elif kind == socket.SCM_RIGHTS:  # or anybody could use up our descriptors
                whole = len(octets) - len(octets) % _DESCRIPTOR.size
                for (descriptor,) in _DESCRIPTOR.iter_unpack(octets[:whole]):
                    os.close(descriptor)
        if isinstance(address, tuple):
            return plain_address(address[0]), address[1], None
        return "", 0, credentials

    def _count_overflow(self, total: int) -> None:
        more = (total - self._overflow) % 2**32
        self._overflow = total
        if more:
            self._counters.received_records += more
            self._counters.dropped["kernel-buffer"] += more
            self._warn(
                "kernel-buffer",
                f"the kernel dropped {more} datagrams: its receive "
                "buffer was full (receive_buffer_bytes, sysctl net.core.rmem_max)",
            )

    def _accept(self, sender: _Sender, frames: list[bytes]) -> None:
        if self._admission.closed:
            self._counters.received_records += len(frames)
            self._counters.received_bytes += sum(map(len, frames))
            self._counters.dropped["admission-closed"] += len(frames)
            self._warn(
                "admission-closed",
                f"{len(frames)} datagrams dropped, the last from "
                f"{_words(sender)}: {self._admission.reason}",
            )
            return
        host, port, credentials = sender
        pid, uid, gid = credentials or (None, None, None)
        origin = self._origin._replace(peer_host=host, peer_port=port, pid=pid, uid=uid, gid=gid)
        self._intake.accept(frames, origin).addErrback(self._not_stored)

    def _not_stored(self, failure: Failure) -> None:
        self._warn("not-stored", f"datagrams were lost: {failure.getErrorMessage()}")

    def _warn(self, kind: str, text: str) -> None:
        self._notices.warn(f"source {self._origin.source}", kind, text)


def _words(sender: _Sender) -> str:
    host, port, credentials = sender
    return Origin("", "", host, port, pid=credentials[0] if credentials else None).peer
