"""Listening sockets, bound before anything runs.

A socket is bound while the process may still have the rights for it, and by
plain calls, so that a failure is an exception at start instead of a line in a log.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import stat
import struct
import termios
from collections.abc import Callable
from typing import Any

from twisted.protocols.policies import ProtocolWrapper

from relay.transport.connections import SocketConnection
from relay.transport.directories import make_parents

__all__ = [
    "READ_BYTES_MAX",
    "bind_datagram",
    "bind_stream",
    "bind_unix",
    "kernel_drops",
    "listen",
    "obstacle_to_socket",
    "peer_credentials",
    "plain_address",
    "read_by",
    "read_in_large_steps",
    "read_rest",
    "receive_buffer_bytes",
]

_BACKLOG = 1024
SO_PASSCRED = 16
SO_RXQ_OVFL = 40
SO_RCVBUFFORCE = 33
READ_BYTES_MAX = 512 * 1024
"""Of one connection at once; Twisted reads 64 KiB.  All that is read at once shares what a turn of
the reactor, an append and a commit cost, which is more than what its messages cost."""
SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8

_UCRED = struct.Struct("3i")
_INT = struct.Struct("i")
_FINAL_READS_MAX = 512  # while senders go on and the relay stops


def bind_stream(host: str, port: int, *, listens: bool = True) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: Address or name; empty = all addresses, IPv6 and IPv4.
        listens: False to hold the port and refuse connections until `listen`.

    Raises:
        OSError: It cannot be bound.
    """
    bound = _bind_inet(host, port, socket.SOCK_STREAM)
    if listens:
        listen(bound)
    return bound


def listen(bound: socket.socket) -> None:
    """Accept connections at a stream socket that is bound.

    Raises:
        OSError: Somebody else listens there; `bound` is closed if it did not listen before.
    """
    try:
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise


def bind_datagram(host: str, port: int, *, receive_buffer_bytes: int) -> socket.socket:
    """A UDP socket; arguments as in `bind_stream`."""
    bound = _bind_inet(host, port, socket.SOCK_DGRAM)
    _enlarge_receive_buffer(bound, receive_buffer_bytes)
    return bound


def bind_unix(
    path: str, kind: socket.SocketKind, *, mode: int, receive_buffer_bytes: int
) -> socket.socket:
    """A unix socket at `path`; the directory is made if missing.

    A socket file that no process listens on any more is replaced.  One that is in
    use, and anything that is not a socket, stays.

    Args:
        kind: SOCK_DGRAM or SOCK_STREAM.
        mode: Permissions of the socket file.

    Raises:
        OSError: It cannot be bound.
    """
    make_parents(path)
    _remove_stale(path, kind)
    bound = socket.socket(socket.AF_UNIX, kind)
    try:
        before = os.umask(0o777 & ~mode)  # no instant with more rights than `mode`
        try:
            bound.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)
        if kind == socket.SOCK_STREAM:  # whose senders are known by SO_PEERCRED
            bound.listen(_BACKLOG)
        else:
            bound.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
            _enlarge_receive_buffer(bound, receive_buffer_bytes)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def plain_address(host: str) -> str:
    """`host` in its usual notation: an IPv4-mapped IPv6 address becomes IPv4."""
    if host.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
        if mapped is not None:
            return str(mapped)
    return host


def receive_buffer_bytes(bound: socket.socket) -> int:
    """The receive buffer that the kernel granted, in the unit of SO_RCVBUF requests.

    The kernel doubles what it is asked for, to have room for its own structures.
    """
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def peer_credentials(connected: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of the peer of a unix socket."""
    octets = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(octets)
    return pid, uid, gid


def kernel_drops(bound: socket.socket) -> int:
    """How many datagrams the kernel has dropped at a socket since it was made, modulo 2**32.

    SO_RXQ_OVFL would tell the same beside a datagram, but as of when that one was
    queued: what is lost at the end of a burst would show when the next one comes.
    """
    try:
        answer = bound.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
    except OSError:  # before Linux 4.12
        return 0
    return int(_MEMINFO.unpack(answer)[_MEMINFO_DROPS])


def _bind_inet(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    if not host and socket.has_dualstack_ipv6():
        return _bind_one(socket.AF_INET6, ("::", port), kind, both_families=True)
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=kind, flags=flags)
    family, _, _, _, address = found[0]
    return _bind_one(family, address, kind)


def _bind_one(
    family: int, address: object, kind: socket.SocketKind, *, both_families: bool = False
) -> socket.socket:
    bound = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both_families)
        bound.bind(address)  # type: ignore[arg-type]  # what getaddrinfo said
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _enlarge_receive_buffer(bound: socket.socket, size: int) -> None:
    """Ask for `size`, past the system's limit if we may; the kernel decides."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def obstacle_to_socket(path: str) -> str:
    """What lies at `path` that is no socket, and what helps; empty = nothing, or a socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if not os.path.islink(path):
            return ""
        mode = os.lstat(path).st_mode
    if stat.S_ISSOCK(mode):
        return ""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "dangling link"}
    kind = kinds.get(stat.S_IFMT(mode), "device or pipe")
    return f"this path is a {kind}, not a socket: remove it, or choose another path"


def _remove_stale(path: str, kind: socket.SocketKind) -> None:
    if obstacle := obstacle_to_socket(path):
        raise FileExistsError(errno.EEXIST, obstacle)
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:  # nobody is there any more
            os.unlink(path)
        except OSError:
            return  # somebody is


def read_in_large_steps(transport: object) -> None:
    """Have the reactor read up to `READ_BYTES_MAX` at once, below TLS and what else there is."""
    _lowest(transport).bufferSize = READ_BYTES_MAX


def read_by(transport: object, reads: object) -> None:
    """Have `reads` watch the socket below `transport`, in the place of the reactor."""
    lowest = _lowest(transport)
    lowest.stopReading()
    lowest.reactor = reads
    lowest.startReading()


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
        if not goes_on() or not _unread_bytes(connection):
            break
        lowest.doRead()


def _lowest(transport: Any) -> SocketConnection:
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    found: SocketConnection = transport
    return found


def _unread_bytes(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(_INT.size))
    return int(_INT.unpack(answer)[0])
