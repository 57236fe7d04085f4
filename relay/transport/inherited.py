"""Sockets that somebody else has bound, such as systemd (sd_listen_fds(3)).

Their address, file and permissions are not ours: nothing here changes them.
"""

from __future__ import annotations

import errno
import socket

from relay.transport.sockets import SO_PASSCRED, SO_RCVBUFFORCE, SO_RXQ_OVFL

__all__ = ["adopt_socket", "scheme_of", "takes_datagrams"]

# A unit may have them on (PassSecurity=, Timestamping=), and what nobody reads beside a
# datagram takes the room of what the reader is waiting for.
_UNREAD = (29, 35)  # SO_TIMESTAMP, SO_TIMESTAMPNS
_UNREAD_LOCAL = (*_UNREAD, 34)  # SO_PASSSEC
_NAMES = {socket.SOCK_RAW: "raw", socket.SOCK_SEQPACKET: "SOCK_SEQPACKET"}


def scheme_of(descriptor: int) -> str:
    """What can be received on a socket: udp, tcp, unixgram or unix.

    Raises:
        ValueError: It is something else; the text says what, and what to write.
    """
    try:
        probe = socket.socket(fileno=descriptor)
    except OSError as error:
        why = "is not open" if error.errno == errno.EBADF else "is not a socket"
        raise ValueError(f"descriptor {descriptor} {why}") from None
    try:
        return _scheme_of(probe)
    finally:
        probe.detach()


def takes_datagrams(descriptor: int) -> bool:
    """Whether an open socket is one for datagrams."""
    probe = socket.socket(fileno=descriptor)
    try:
        return probe.type == socket.SOCK_DGRAM
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
        _enlarge_receive_buffer(adopted, receive_buffer_bytes)
    return adopted


def _scheme_of(probe: socket.socket) -> str:
    local = probe.family == socket.AF_UNIX
    if not local and probe.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("it is a socket of another family than unix, IPv4 and IPv6")
    if probe.type == socket.SOCK_DGRAM:
        return "unixgram" if local else "udp"
    if probe.type != socket.SOCK_STREAM:
        name = _NAMES.get(probe.type, str(probe.type))
        raise ValueError(
            f"it is a {name} socket; write ListenStream= or ListenDatagram= in the socket unit"
        )
    if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("it is one connection and does not listen; write Accept=no in the unit")
    return "unix" if local else "tcp"


def _enlarge_receive_buffer(adopted: socket.socket, size: int) -> None:
    """Ask for `size` unless the unit gave it more (ReceiveBuffer=)."""
    if adopted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * size:
        return
    try:
        adopted.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        adopted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
