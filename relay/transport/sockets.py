"""Listening sockets: our own, bound before anything runs, and those that somebody else has bound.

A socket is bound while the process may still have the rights for it, and by
plain calls, so that a failure is an exception at start instead of a line in a log.
Of a socket that is inherited, as from systemd (sd_listen_fds(3)), address, file and permissions
are not ours: nothing here changes them.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import struct
from typing import NamedTuple

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Reactor
from relay.transport.connections import Timers

_BACKLOG = 1024
SO_PASSCRED = 16
SO_RXQ_OVFL = 40
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8
# A unit may have them on (PassSecurity=, Timestamping=), and what nobody reads beside a
# datagram takes the room of what the reader is waiting for.
_UNREAD = (29, 35)  # SO_TIMESTAMP, SO_TIMESTAMPNS
_UNREAD_LOCAL = (*_UNREAD, 34)  # SO_PASSSEC
_NAMES = {socket.SOCK_RAW: "raw", socket.SOCK_SEQPACKET: "SOCK_SEQPACKET"}
_ACCEPTS_MAX = 100  # a wake-up, so that other sockets get their turn
_PAUSE_SECONDS = 1.0  # when there are no file descriptors left
_log = Logger(namespace="relay")


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
    enlarge_receive_buffer(bound, receive_buffer_bytes)
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
            enlarge_receive_buffer(bound, receive_buffer_bytes)
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


def kernel_drops(bound: socket.socket) -> int:
    """How many datagrams the kernel has dropped at a socket since it was made, modulo 2**32.

    SO_RXQ_OVFL would tell the same beside a datagram, but as of when that one was
    queued: what is lost at the end of a burst would show when the next one comes.
    """
    try:
        answer = bound.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
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


def enlarge_receive_buffer(bound: socket.socket, size: int) -> None:
    """Ask for `size`, past the system's limit if we may; the kernel decides."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
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


class SocketKind(NamedTuple):
    is_local: bool
    """A unix socket."""
    takes_datagrams: bool


def kind_of(descriptor: int) -> SocketKind:
    """What can be received on a socket that is open.

    Raises:
        ValueError: Nothing; the text says what it is, and what to write.
    """
    try:
        probe = socket.socket(fileno=descriptor)
    except OSError as error:
        why = "is not open" if error.errno == errno.EBADF else "is not a socket"
        raise ValueError(f"descriptor {descriptor} {why}") from None
    try:
        return _kind_of(probe)
    finally:
        probe.detach()


def adopt_socket(descriptor: int, *, receive_buffer_bytes: int) -> socket.socket:
    """Take an inherited socket over, as ready for use as one of our own.

    Args:
        receive_buffer_bytes: SO_RCVBUF to ask for, if it takes datagrams.

    Raises:
        OSError: It cannot be used.
    """
    adopted = socket.socket(fileno=descriptor)
    adopted.set_inheritable(False)
    adopted.setblocking(False)
    if adopted.type == socket.SOCK_DGRAM:
        local = adopted.family == socket.AF_UNIX
        read, unread = (SO_PASSCRED, _UNREAD_LOCAL) if local else (SO_RXQ_OVFL, _UNREAD)
        adopted.setsockopt(socket.SOL_SOCKET, read, 1)
        for option in unread:
            adopted.setsockopt(socket.SOL_SOCKET, option, 0)
        # The unit may have given it more (ReceiveBuffer=).
        if adopted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * receive_buffer_bytes:
            enlarge_receive_buffer(adopted, receive_buffer_bytes)
    return adopted


def _kind_of(probe: socket.socket) -> SocketKind:
    local = probe.family == socket.AF_UNIX
    if not local and probe.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("it is a socket of another family than unix, IPv4 and IPv6")
    if probe.type == socket.SOCK_DGRAM:
        return SocketKind(local, takes_datagrams=True)
    if probe.type != socket.SOCK_STREAM:
        name = _NAMES.get(probe.type, str(probe.type))
        raise ValueError(
            f"it is a {name} socket; write ListenStream= or ListenDatagram= in the socket unit"
        )
    if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("it is one connection and does not listen; write Accept=no in the unit")
    return SocketKind(local, takes_datagrams=False)


def make_parents(path: str) -> None:
    """Create missing parent directories of `path`, and log each: it may be a typo.

    Raises:
        OSError: One cannot be made.
    """
    missing = []
    directory = os.path.dirname(path) or "."
    while not os.path.isdir(directory) and directory not in ("", "/"):
        missing.append(directory)
        directory = os.path.dirname(directory) or "."
    for directory in reversed(missing):
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            what_to_do = "make it and let the relay's user write to it, or choose another path"
            if os.path.lexists(directory):
                what_to_do = "move away what lies there, or choose another path"
            text = f"cannot make the directory {directory}: {error.strerror}; {what_to_do}"
            raise OSError(error.errno, text) from error
        _log.info("made directory {directory} for {path}", directory=directory, path=path)


@implementer(IReadDescriptor)
class UnixListener:
    """Hands the connections of one listening, non-blocking unix socket to a factory.

    The reactor's own `adoptStreamPort` gives the file of every unix socket mode 0666: that opens
    a private socket to everybody, and fails once the process has given up the rights that it
    bound the socket with.

    Args:
        factory: Makes the protocol of each connection.
        inherited: The socket's file is somebody else's, and stays.
        reactor: Provides IReactorFDSet, IReactorSocket and IReactorTime.
    """

    def __init__(
        self,
        listening: socket.socket,
        factory: Factory,
        *,
        reactor: Reactor,
        inherited: bool = False,
    ) -> None:
        self._socket = listening
        self._path: str = listening.getsockname()
        self._file = _file_at(self._path)
        self._factory = factory
        self._reactor = reactor
        self._inherited = inherited
        self._timers = Timers(reactor)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return f"listener {self._path}"

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def doRead(self) -> None:
        """Accept who has come (called by the reactor)."""
        for _ in range(_ACCEPTS_MAX):
            try:
                if not self._accept():
                    return
            except OSError:
                self._reactor.removeReader(self)
                self._timers.set("accept", _PAUSE_SECONDS, self._reactor.addReader, self)
                return

    def stop(self) -> None:
        """Remove our socket file, if it is there and we may, and accept who has come until now.

        The kernel refuses further connections meanwhile, so what somebody has written
        into one that it took is not lost.  Those of an inherited socket wait in it for the
        next start.
        """
        self._reactor.removeReader(self)
        self._timers.cancel_all()
        if not self._inherited:
            with contextlib.suppress(OSError):
                if self._file == _file_at(self._path):
                    os.unlink(self._path)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)
                while self._accept():  # EINVAL is the end
                    pass
        self._socket.close()

    def release(self) -> socket.socket:
        """Stop, and leave the socket open, with its file and the connections that wait in it."""
        self._reactor.removeReader(self)
        self._timers.cancel_all()
        return self._socket

    def _accept(self) -> bool:
        """Accept one connection; False if nobody waits.

        Raises:
            OSError: There are no file descriptors left, for example.
        """
        try:
            accepted, _ = self._socket.accept()
        except BlockingIOError:
            return False
        with accepted, contextlib.suppress(OSError):  # of a peer that is gone already
            accepted.setblocking(False)
            self._reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, self._factory)
        return True


def _file_at(path: str) -> tuple[int, int] | None:
    """Device and inode of what has the name `path`; None = nothing, or it cannot be seen."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # an abstract address is no path
        return None
    return found.st_dev, found.st_ino


def bind_failure_text(bind: str, error_number: int) -> str:
    """Why nothing can be sent from the address `bind`, and what to do."""
    if error_number == errno.EADDRINUSE:
        remedy = "look at `ss -s`, and at `sysctl net.ipv4.ip_local_port_range`"
        return f"cannot send from {bind}: none of its ports is free; {remedy}"
    what = os.strerror(error_number)
    return f"cannot send from {bind}: {what}; compare bind with `ip address`"
