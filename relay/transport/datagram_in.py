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
from relay.queue.admission import SourceAdmission
from relay.transport.inbound import Intake
from relay.transport.notices import Notices
from relay.transport.peers import PeerRates, PermittedPeers
from relay.transport.sockets import kernel_drops, plain_address

__all__ = ["DatagramReader"]

_DATAGRAMS_MAX = 200  # a wake-up, so that other sockets get their turn
_FINAL_READS_MAX = 500  # for those who go on sending while the relay stops
_DATAGRAM_BYTES_MAX = 65536  # more than UDP can carry; unix datagrams may be longer
_UCRED = struct.Struct("3i")
_DESCRIPTOR = struct.Struct("i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_UCRED.size)
_REASONS_OF_PEERS = ("not-allowed", "rate-limit", "too-long")  # each peer is warned of

_Sender = tuple[str, int, tuple[int, int, int] | None]


@implementer(IReadDescriptor)
class DatagramReader:
    """Reads one bound, non-blocking datagram socket.

    Datagrams cannot wait: while admission is closed they are read, dropped and
    counted here, so that a program that logs to a local socket is never blocked.

    Args:
        frame_bytes_max: Longer messages are cut here.
        drop_long: Drop those instead.
        permitted: Whose datagrams are taken; None = everybody's.
        rates: How many of each peer; None = all.
    """

    def __init__(
        self,
        bound: socket.socket,
        *,
        source: str,
        transport: str,
        frame_bytes_max: int,
        intake: Intake,
        admission: SourceAdmission,
        counters: SourceCounters,
        notices: Notices,
        drop_long: bool = False,
        permitted: PermittedPeers | None = None,
        rates: PeerRates | None = None,
    ) -> None:
        self._socket = bound
        self._origin = Origin(source=source, transport=transport)
        self._frame_bytes_max = frame_bytes_max
        self._read_bytes = max(_DATAGRAM_BYTES_MAX, frame_bytes_max) + 1
        self._intake = intake
        self._admission = admission
        self._counters = counters
        self._notices = notices
        self._drop_long = drop_long
        self._permitted = permitted or PermittedPeers()
        self._rates = rates
        self._kernel_drops = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return f"source {self._origin.source}"

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def doRead(self) -> None:
        """Take what has come (called by the reactor)."""
        self._read()

    def forget_kernel_drops(self) -> None:
        """Count from here on: the socket is older than we are, and so is its count."""
        self._kernel_drops = kernel_drops(self._socket)

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
                datagram, ancillary, _, address = self._socket.recvmsg(
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
            batches.setdefault(sender, []).append(datagram)
        for sender, frames in batches.items():
            self._accept(sender, frames)
        if self._origin.transport == "udp":
            self._count_kernel_drops()
        return more

    def _sender(self, address: Any, ancillary: list[tuple[int, int, bytes]]) -> _Sender:
        credentials = None
        for level, kind, octets in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_CREDENTIALS:
                credentials = _UCRED.unpack(octets[: _UCRED.size])
            elif kind == socket.SCM_RIGHTS:  # or anybody could use up our descriptors
                whole = len(octets) - len(octets) % _DESCRIPTOR.size
                for (descriptor,) in _DESCRIPTOR.iter_unpack(octets[:whole]):
                    os.close(descriptor)
        if isinstance(address, tuple):
            return plain_address(address[0]), address[1], None
        return "", 0, credentials

    def _count_kernel_drops(self) -> None:
        total = kernel_drops(self._socket)
        more = (total - self._kernel_drops) % 2**32
        self._kernel_drops = total
        if more:
            self._counters.received_records += more
            self._counters.dropped["kernel-buffer"] += more
            self._warn(
                "kernel-buffer",
                f"the kernel dropped {more} datagrams: its receive "
                "buffer was full (receive_buffer_bytes, sysctl net.core.rmem_max)",
            )

    def _accept(self, sender: _Sender, frames: list[bytes]) -> None:
        host, port, credentials = sender
        if host and not self._permitted.permits(host):
            self._drop(sender, frames, "not-allowed", "not allowed by allow and deny")
            return
        frames = self._within_size(sender, frames)
        if self._admission.closed:
            frames, refused = self._admission.divide(frames)
            self._drop(sender, refused, "admission-closed", self._admission.reason)
        if host and self._rates is not None and self._rates.is_limited:
            granted = self._rates.grant(host, len(frames))
            self._drop(sender, frames[granted:], "rate-limit", "more than rate_per_peer_max")
            frames = frames[:granted]
        if not frames:
            return
        pid, uid, gid = credentials or (None, None, None)
        origin = self._origin._replace(peer_host=host, peer_port=port, pid=pid, uid=uid, gid=gid)
        self._intake.accept(frames, origin).addErrback(self._not_stored)

    def _within_size(self, sender: _Sender, frames: list[bytes]) -> list[bytes]:
        limit = self._frame_bytes_max
        long = [frame for frame in frames if len(frame) > limit]
        if not long:
            return frames
        why = f"longer than frame_bytes_max ({limit} octets)"
        if self._drop_long:
            self._drop(sender, long, "too-long", why)
            return [frame for frame in frames if len(frame) <= limit]
        self._counters.truncated_records += len(long)
        self._warn("truncated", f"{len(long)} from {_words(sender)} {why}: cut there")
        return [frame[:limit] for frame in frames]

    def _drop(self, sender: _Sender, frames: list[bytes], reason: str, why: str) -> None:
        if not frames:
            return
        self._counters.received_records += len(frames)
        self._counters.received_bytes += sum(map(len, frames))
        self._counters.dropped[reason] += len(frames)
        text = f"{len(frames)} datagrams dropped, the last from {_words(sender)}: {why}"
        self._warn(reason, text, peer=sender[0] if reason in _REASONS_OF_PEERS else "")

    def _not_stored(self, failure: Failure) -> None:
        self._warn("not-stored", f"datagrams were lost: {failure.getErrorMessage()}")

    def _warn(self, kind: str, text: str, *, peer: str = "") -> None:
        subject = f"source {self._origin.source}"
        self._notices.warn(subject, kind, text, group=f"{subject}, {peer}" if peer else None)


def _words(sender: _Sender) -> str:
    host, port, credentials = sender
    return Origin("", "", host, port, pid=credentials[0] if credentials else None).peer
