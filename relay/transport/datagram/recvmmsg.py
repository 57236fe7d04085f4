"""Batched reads from a UDP socket: recvmmsg(2), by ctypes.

Python's own calls take one datagram each, and each gives the interpreter's lock away and
waits for it, which at a hundred thousand a second, with a thread that commits, costs more
than the datagrams.  Where the C library has no recvmmsg there is no `ManyDatagrams`, and
`DatagramReader` takes them one by one.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from functools import lru_cache
from typing import ClassVar, NamedTuple, Protocol

from relay.codec import cut_slots
from relay.model.origin import TlsIdentity
from relay.transport.sockets import plain_address

DATAGRAMS_MAX = 128
"""Of one call."""
CALLS_MAX = 8
"""Of one wake-up, after which other sockets get their turn."""
BYTES_MAX = 1024 * 1024
"""Of one wake-up, about: no further call when so many have come."""
SENDERS_MAX = 4096
"""Size of the LRU table of sender addresses in text form."""
_UDP_BYTES_MAX = 65_535
_NAME_BYTES = 28  # of struct sockaddr_in6, the longest that comes
_INET = struct.Struct("!2xH4s")
_INET6 = struct.Struct("!2xH4x16s")

Sender = tuple[str, int, tuple[int, int, int] | TlsIdentity | None]
"""Host, port, and pid, uid and gid if the kernel vouches for them, or an accepted certificate."""


class Datagrams(NamedTuple):
    """The datagrams of one wake-up."""

    batches: dict[Sender, list[bytes]]
    long: dict[Sender, dict[int, int]]
    """Which of them were too long and are cut: index to the bytes of the whole."""
    more: bool
    """More may be waiting."""
    error: OSError | None = None
    """The error that ended the read."""


class DatagramReceiver(Protocol):
    """Receives from one bound, non-blocking UDP socket."""

    has_sessions: ClassVar[bool]
    """Whether a datagram can only be read by the receiver that the session is with."""

    def receive(self) -> Datagrams:
        """Receive waiting datagrams, up to a limit."""
        ...

    def close(self) -> None:
        """No more is received; the socket is still open."""
        ...


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of the C library."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_bytes", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_bytes", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Received(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("received_bytes", ctypes.c_uint32))


class ManyDatagrams:
    """Receives from one bound, non-blocking UDP socket.

    Args:
        frame_bytes_max: Longer datagrams are reported as `Datagrams.long`.
        kept_bytes_max: Bytes to keep of each, at least as many.
    """

    has_sessions: ClassVar[bool] = False
    available = hasattr(ctypes.CDLL(None), "recvmmsg")
    """Whether the C library has it."""

    def __init__(self, bound: socket.socket, *, frame_bytes_max: int, kept_bytes_max: int) -> None:
        self._socket = bound
        self._frame_bytes_max = frame_bytes_max
        self._slot_bytes = min(kept_bytes_max, _UDP_BYTES_MAX)
        # Pages that no datagram has touched take no memory; ctypes would write zeros to all, 8 MiB.
        pages = mmap.mmap(-1, self._slot_bytes * DATAGRAMS_MAX, mmap.MAP_PRIVATE)
        self._data = (ctypes.c_char * len(pages)).from_buffer(pages)
        self._names = (ctypes.c_char * (_NAME_BYTES * DATAGRAMS_MAX))()
        self._vectors = (_Vector * DATAGRAMS_MAX)()
        self._headers = (_Received * DATAGRAMS_MAX)()
        for index, vector in enumerate(self._vectors):
            header = self._headers[index].header
            vector.base = ctypes.addressof(self._data) + index * self._slot_bytes
            vector.length = self._slot_bytes
            header.name = ctypes.addressof(self._names) + index * _NAME_BYTES
            header.name_bytes = _NAME_BYTES
            header.vectors = ctypes.addressof(vector)
            header.vector_count = 1
        self._all_data = memoryview(self._data).cast("B")
        self._all_names = memoryview(self._names).cast("B")
        words = memoryview(self._headers).cast("B").cast("I")
        first, step = _Received.received_bytes.offset // 4, ctypes.sizeof(_Received) // 4
        self._sizes = words[first::step]
        self._call = ctypes.CDLL(None, use_errno=True).recvmmsg

    def receive(self) -> Datagrams:
        """Receive waiting datagrams, up to a limit."""
        received = Datagrams({}, {}, more=False)
        size = 0
        for _ in range(CALLS_MAX):
            # With MSG_TRUNC the kernel says how long a datagram is, however little is taken.
            count = self._call(
                self._socket.fileno(), self._headers, DATAGRAMS_MAX, socket.MSG_TRUNC, None
            )
            if count < 0:
                number = ctypes.get_errno()
                again = number in (errno.EAGAIN, errno.EINTR)
                return received._replace(
                    error=None if again else OSError(number, os.strerror(number))
                )
            sizes = self._sizes[:count].tolist()
            names = bytes(self._all_names[: count * _NAME_BYTES])
            first = names[:_NAME_BYTES]
            if max(sizes) <= self._frame_bytes_max and names == first * count:  # of one sender
                frames = cut_slots(self._all_data, self._slot_bytes, sizes)
                received.batches.setdefault(_sender(first), []).extend(frames)
            else:
                self._sort(sizes, names, received.batches, received.long)
            if count < DATAGRAMS_MAX:
                return received
            size += sum(sizes)
            if size >= BYTES_MAX:
                break
        return received._replace(more=True)

    def close(self) -> None:
        """Nobody has to be told."""

    def _sort(
        self,
        sizes: list[int],
        names: bytes,
        batches: dict[Sender, list[bytes]],
        long: dict[Sender, dict[int, int]],
    ) -> None:
        """Add the datagrams of one call by sender, and note those that are too long."""
        limit, slot = self._frame_bytes_max, self._slot_bytes
        frames = cut_slots(self._all_data, slot, [min(size, slot) for size in sizes])
        of_name: dict[bytes, list[bytes]] = {}
        starts = range(0, len(names), _NAME_BYTES)
        for frame, size, start in zip(frames, sizes, starts, strict=True):
            name = names[start : start + _NAME_BYTES]
            batch = of_name.get(name)
            if batch is None:  # two names may stand for one sender: an IPv6 one has a flow label
                batch = of_name[name] = batches.setdefault(_sender(name), [])
            if size > limit:
                long.setdefault(_sender(name), {})[len(batch)] = size
            batch.append(frame)


@lru_cache(SENDERS_MAX)
def _sender(name: bytes) -> Sender:
    return *host_and_port(name), None


def host_and_port(name: bytes) -> tuple[str, int]:
    """What a struct sockaddr says; nothing of a unix socket."""
    (family,) = struct.unpack_from("=H", name)
    if family == socket.AF_INET:
        port, address = _INET.unpack_from(name)
        return socket.inet_ntop(socket.AF_INET, address), port
    if family == socket.AF_INET6:
        port, address = _INET6.unpack_from(name)
        return plain_address(socket.inet_ntop(socket.AF_INET6, address)), port
    return "", 0
