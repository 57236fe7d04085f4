"""Syslog over UDP (RFC 5426) and unix datagram sockets.

Twisted cuts datagrams at 8 KiB and cannot read what comes beside them (who sent
it, whether it was cut, how many were lost before it), so this reads the socket
itself: all that has come at a wake-up, up to a limit, before anything is done with it,
and hands it over as one batch, whoever sent it.  UDP has many datagrams with one call where
that is possible (`recvmmsg.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.codec import total_bytes
from relay.flow.marks import Marks
from relay.flow.shedding import indexes_let_in
from relay.model.origin import Origin, Received, TlsIdentity, Transport
from relay.model.text import counted
from relay.transport.datagram.recvmmsg import SENDERS_MAX, DatagramReceiver, Datagrams, Sender
from relay.transport.peers import PeerRates, PermittedPeers
from relay.transport.reception import OversizePolicy, Reception
from relay.transport.sockets import kernel_drops, plain_address
from relay.transport.turn_batch import Intake
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.framing.long_frame import split_frame

_DATAGRAMS_MAX = 200  # a wake-up, so that other sockets get their turn
_FINAL_READS_MAX = 500  # while senders go on and the relay stops
_SPLIT_BYTES_MAX = 2**20  # of a datagram to split; UDP cannot carry more than 64 KiB
_UCRED = struct.Struct("3i")
_DESCRIPTOR = struct.Struct("i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_UCRED.size)
_REASONS_OF_PEERS = ("not-allowed", "rate-limit")  # each peer is warned of


@implementer(IReadDescriptor)
class DatagramReader:
    """Reads one bound, non-blocking datagram socket.

    Datagrams cannot wait: while admission is closed they are read, dropped and
    counted here, so that a program that logs to a local socket is never blocked.

    Args:
        frame_bytes_max: Longest message to keep, in bytes.
        oversize: What to do with longer ones: an `OversizePolicy`'s name.
        permitted: Whose datagrams are taken; None = everybody's.
        rates: How many of each peer; None = all.
        many: Takes several at a time from a UDP socket, or decrypts them; None = one by one.
    """

    def __init__(
        self,
        bound: socket.socket,
        reception: Reception,
        *,
        transport: Transport,
        frame_bytes_max: int,
        oversize: str = "truncate",
        permitted: PermittedPeers | None = None,
        rates: PeerRates | None = None,
        many: Callable[..., DatagramReceiver] | None = None,
    ) -> None:
        self._socket = bound
        self._origin = Origin(source=reception.source, transport=transport)
        self._origin_of: Callable[[Sender], Origin] = lru_cache(SENDERS_MAX)(self._new_origin)
        self._frame_bytes_max = frame_bytes_max
        self._oversize = OversizePolicy(
            oversize, frame_bytes_max=frame_bytes_max, counters=reception.counters
        )
        # With MSG_TRUNC the kernel says how long a datagram is, however little of it is taken.
        buffer = bytearray(
            max(_SPLIT_BYTES_MAX, frame_bytes_max) if self._oversize.splits else frame_bytes_max
        )
        self._buffers = [buffer]
        self._data = memoryview(buffer)
        self._intake: Intake = reception.intake
        self._joining = reception.joining
        self._admission = reception.admission
        self._counters = reception.counters
        self._notices = reception.notices
        self._permitted = permitted or PermittedPeers()
        self._rates = rates
        self._selects = self._permitted.is_limited or (rates is not None and rates.is_limited)
        self._kernel_drops = 0
        self._is_shut = False
        self._has_more = False  # after the last read
        self._many = None
        self._is_local = bound.family == socket.AF_UNIX
        if many is not None and not self._is_local:
            self._many = many(bound, frame_bytes_max=frame_bytes_max, kept_bytes_max=len(buffer))

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return f"source {self._origin.source}"

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def forget_kernel_drops(self, before: int | None = None) -> None:
        """Count from here on: the socket is older than we are, and so is its count.

        Args:
            before: As many are counted already; None = all.
        """
        self._kernel_drops = kernel_drops(self._socket) if before is None else before

    def drain_and_close(self, *, inherited: bool = False) -> None:
        """Take everything that is still in the kernel's buffer, then close.

        Args:
            inherited: The socket outlives the relay, and keeps what comes meanwhile.
        """
        if self._is_local and not inherited:
            # From here on senders get EPIPE: nothing can come between the last read and
            # the end, and be lost without anybody knowing.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)
                self._is_shut = True
        self._read_rest()
        self._end()
        self._socket.close()

    def release(self, *, reads_rest: bool) -> int:
        """Stop reading, and leave the socket open, with the datagrams that wait in it.

        Args:
            reads_rest: Take these first, unless they would be dropped.

        Returns:
            How many drops of the kernel are counted.
        """
        # The next reader has no keys for what was encrypted for this one.
        has_sessions = self._many is not None and self._many.has_sessions
        if (reads_rest or has_sessions) and not self._admission.closed:
            self._read_rest()
        if not self._is_local:
            self._count_kernel_drops()
        self._end()
        return self._kernel_drops

    def _read_rest(self) -> None:
        for _ in range(_FINAL_READS_MAX):
            self.doRead()
            if not self._has_more:
                break

    def _end(self) -> None:
        if self._many is not None:
            self._many.close()
        if self._joining is not None:
            self._joining.stop()

    def doRead(self) -> None:
        """Take what has come, up to a limit (called by the reactor)."""
        received = self._receive_each() if self._many is None else self._many.receive()
        if received.error is not None:
            self._warn("receive", f"cannot receive: {received.error}")
        self._has_more = received.more
        selects = self._selects or received.long or self._admission.closed
        taken = []
        for sender, frames in received.batches.items():
            if selects:
                if (batch := self._selected(sender, frames, received.long.get(sender))) is not None:
                    taken.append(batch)
            else:
                frames = [frame.removeprefix(BYTE_ORDER_MARK) for frame in frames]
                taken.append(Received(frames, self._origin_of(sender)))
        if taken:
            self._intake.accept_all(taken).addErrback(self._not_stored)
        if not self._is_local:
            self._count_kernel_drops()

    def _receive_each(self) -> Datagrams:
        """Take what has come one by one, up to a limit."""
        batches: dict[Sender, list[bytes]] = {}
        long: dict[Sender, dict[int, int]] = {}
        for _ in range(_DATAGRAMS_MAX):
            try:
                size, ancillary, address = self._receive()
            except BlockingIOError:
                return Datagrams(batches, long, more=False)
            except OSError as error:  # such as an ICMP error from an earlier answer
                return Datagrams(batches, long, more=False, error=error)
            if self._is_shut and not size and not ancillary:  # the end, not a datagram
                return Datagrams(batches, long, more=False)
            sender = self._sender(address, ancillary)
            frames = batches.setdefault(sender, [])
            if size > self._frame_bytes_max:
                long.setdefault(sender, {})[len(frames)] = size
            frames.append(bytes(self._data[:size]))
        return Datagrams(batches, long, more=True)

    def _receive(self) -> tuple[int, list[tuple[int, int, bytes]], object]:
        """Bytes of the next datagram, what came beside it, and from whom."""
        if not self._is_local:  # where nothing comes beside it
            size, address = self._socket.recvfrom_into(self._buffers[0], 0, socket.MSG_TRUNC)
            return size, [], address
        size, ancillary, _, address = self._socket.recvmsg_into(
            self._buffers, _ANCILLARY_BYTES, socket.MSG_TRUNC
        )
        return size, ancillary, address

    def _sender(self, address: object, ancillary: list[tuple[int, int, bytes]]) -> Sender:
        credentials = None
        for level, kind, data in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_CREDENTIALS:
                credentials = _UCRED.unpack(data[: _UCRED.size])
            elif kind == socket.SCM_RIGHTS:  # or anybody could use up our descriptors
                whole = len(data) - len(data) % _DESCRIPTOR.size
                for (descriptor,) in _DESCRIPTOR.iter_unpack(data[:whole]):
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
                f"the kernel dropped {counted(more, 'datagram')}: its receive "
                "buffer was full (receive_buffer_bytes, sysctl net.core.rmem_max)",
            )

    def _selected(
        self, sender: Sender, frames: list[bytes], long: dict[int, int] | None
    ) -> Received | None:
        """What is to be stored of the datagrams of one sender; the others are counted."""
        host = sender[0]
        if host and self._permitted.is_limited and not self._permitted.permits(host):
            self._drop(sender, frames, "not-allowed", "not allowed by allow and deny")
            return None
        frames = [frame.removeprefix(BYTE_ORDER_MARK) for frame in frames]
        cut: Mapping[int, int] = {}
        pieces: Mapping[int, int] = {}
        if long:
            frames, cut, pieces = self._settle_long(sender, frames, long)
        if self._admission.closed:
            frames, cut, pieces = self._without_refused(sender, frames, Marks(cut, pieces))
        if host and self._rates is not None and self._rates.is_limited:
            granted = self._rates.grant(host, len(frames))
            self._drop(sender, frames[granted:], "rate-limit", "more than rate_per_peer_max")
            frames = frames[:granted]
            cut = {index: size for index, size in cut.items() if index < granted}
            pieces = {index: number for index, number in pieces.items() if index < granted}
        if not frames:
            return None
        return Received(frames, self._origin_of(sender), cut, pieces)

    def _new_origin(self, sender: Sender) -> Origin:
        host, port, vouched = sender
        origin = self._origin._replace(peer_host=host, peer_port=port)
        if isinstance(vouched, TlsIdentity):
            return origin.identified(vouched)
        pid, uid, gid = vouched or (None, None, None)
        return origin._replace(pid=pid, uid=uid, gid=gid)

    def _without_refused(
        self, sender: Sender, frames: list[bytes], marks: Marks
    ) -> tuple[list[bytes], Mapping[int, int], Mapping[int, int]]:
        """Drop what admission does not let in."""
        taken = indexes_let_in(self._admission, frames)
        let_in = set(taken)
        refused = [frame for index, frame in enumerate(frames) if index not in let_in]
        self._drop(sender, refused, "admission-closed", self._admission.reason)
        return [frames[index] for index in taken], *marks.picked(taken)

    def _settle_long(
        self, sender: Sender, frames: list[bytes], long: dict[int, int]
    ) -> tuple[list[bytes], Mapping[int, int], Mapping[int, int]]:
        """Apply the policy to those of `frames` whose indexes are in `long`."""
        pieces: dict[int, int] = {}
        if self._oversize.splits:
            frames, long, pieces = self._split(frames, long)
        settled = self._oversize.settle(frames, long, pieces, self._origin_of(sender))
        text = f"{settled.text}, the last from {_shown(sender)}"
        self._warn(settled.kind, text, peer=sender[0])
        return list(settled.frames), settled.cut, settled.pieces

    def _split(
        self, frames: list[bytes], long: dict[int, int]
    ) -> tuple[list[bytes], dict[int, int], dict[int, int]]:
        """All frames, which of them had to be cut for all that, and which are pieces."""
        limit = self._frame_bytes_max
        split: list[bytes] = []
        cut: dict[int, int] = {}
        pieces: dict[int, int] = {}
        for index, frame in enumerate(frames):
            if index not in long:
                split.append(frame)
                continue
            for number, piece in enumerate(split_frame(frame, frame_bytes_max=limit), 1):
                pieces[len(split)] = number
                split.append(piece)
            if long[index] > len(frame):
                cut[len(split) - 1] = long[index]
        return split, cut, pieces

    def _drop(self, sender: Sender, frames: list[bytes], reason: str, why: str) -> None:
        if not frames:
            return
        self._counters.received_records += len(frames)
        self._counters.received_bytes += total_bytes(frames)
        self._counters.dropped[reason] += len(frames)
        shown = _shown(sender)
        self._counters.samples.note(reason, frames, peer=shown)
        text = f"{counted(len(frames), 'datagram')} dropped, the last from {shown}: {why}"
        self._warn(reason, text, peer=sender[0] if reason in _REASONS_OF_PEERS else "")

    def _not_stored(self, failure: Failure) -> None:
        self._warn("not-stored", f"datagrams were lost: {failure.getErrorMessage()}")

    def _warn(self, kind: str, text: str, *, peer: str = "") -> None:
        subject = f"source {self._origin.source}"
        self._notices.warn(subject, kind, text, group=f"{subject}, {peer}" if peer else None)


def _shown(sender: Sender) -> str:
    host, port, vouched = sender
    pid = vouched[0] if vouched and not isinstance(vouched, TlsIdentity) else None
    return Origin("", Transport.UNIX, host, port, pid=pid).peer
