"""Look whether a source could listen: its port or socket is free, and the buffer is granted."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from relay.model.text import printable, size
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.probes.certificates import probe_own_certificate
from relay.service.probes.files import probe_directory
from relay.service.probes.probe import Probe
from relay.transport.sockets import (
    bind_datagram,
    bind_stream,
    obstacle_to_socket,
    receive_buffer_bytes,
)

_RECEIVING = {
    socket.SOCK_STREAM: ("/proc/net/tcp", "0A"),
    socket.SOCK_DGRAM: ("/proc/net/udp", "07"),
}
"""The kernel's table of sockets, and the state of those that receive."""


def probe_stream_port(probe: Probe, listen: Url, tls: TlsConfiguration | None) -> None:
    """TCP: bind, without accepting anything; and the certificate."""
    probe_own_certificate(probe, tls)
    try:
        bind_stream(listen.host, listen.port, listens=False).close()
    except OSError as error:
        _not_bound(probe, listen, error, socket.SOCK_STREAM)
    else:
        if held := _holders(_inet_inodes(socket.SOCK_STREAM, listen.port)):
            _held(probe, listen, held)
        else:
            probe.passed("port", f"{listen} is free")


def probe_datagram_port(probe: Probe, listen: Url, *, buffer_bytes: int) -> None:
    """UDP: bind, and ask for the receive buffer."""
    try:
        bind_datagram(listen.host, listen.port, receive_buffer_bytes=0).close()
        probe.passed("port", f"{listen} is free")
    except OSError as error:
        _not_bound(probe, listen, error, socket.SOCK_DGRAM)
    with suppress(OSError):  # which the port has told of
        with bind_datagram(listen.host, 0, receive_buffer_bytes=buffer_bytes) as bound:
            granted = receive_buffer_bytes(bound)
        _tell_of_buffer(probe, granted, buffer_bytes)


def probe_unix_socket(probe: Probe, listen: Url) -> None:
    """A unix socket: its directory, what lies there, and who holds it."""
    if obstacle := obstacle_to_socket(listen.path):
        probe.fail("port", "path-taken", f"{listen.path}: {obstacle}", "move it away")
        return
    inodes = [inode for inode, path in _unix_sockets() if path == listen.path]
    if held := _holders(inodes):
        _held(probe, listen, held)
    elif inodes:
        _held(probe, listen, {})
    else:
        probe_directory(probe, os.path.dirname(listen.path))


def _tell_of_buffer(probe: Probe, granted: int, wanted: int) -> None:
    shown = f"{size(granted)} of {size(wanted)}"
    if granted >= wanted:
        probe.passed("buffer", f"the kernel grants {shown} of receive buffer")
        return
    probe.warn(
        "buffer",
        "buffer-not-granted",
        f"the kernel grants {shown} of receive buffer to this user: bursts are lost sooner",
        f"sysctl -w net.core.rmem_max={wanted}, or give the relay CAP_NET_ADMIN",
    )


def _not_bound(probe: Probe, listen: Url, error: OSError, kind: socket.SocketKind) -> None:
    if error.errno == errno.EADDRINUSE:
        _held(probe, listen, _holders(_inet_inodes(kind, listen.port)))
    elif (
        error.errno == errno.EACCES
        and probe.relay_pid
        and (inodes := _inet_inodes(kind, listen.port))
    ):
        _held(probe, listen, _holders(inodes))
    elif error.errno == errno.EACCES:
        probe.fail(
            "port",
            "port-privileged",
            f"{listen}: this user may not bind ports below 1024",
            "give the relay CAP_NET_BIND_SERVICE, as in deploy/syslogrelay.service, take a socket "
            "of systemd://, or choose a higher port",
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        probe.fail(
            "port",
            "address-unknown",
            f"{listen}: this host has no such address",
            "compare it with `ip address`",
        )
    else:
        probe.fail("port", "port-unusable", f"{listen}: {error.strerror or error}", "change listen")


def _held(probe: Probe, listen: Url, held: dict[int, str]) -> None:
    """Tell who has the port; the relay itself may."""
    if probe.relay_pid and probe.relay_pid in held:
        probe.passed("port", f"{listen} is held by the relay itself (process {probe.relay_pid})")
        return
    if probe.relay_pid and not held:
        # A process with capabilities hides its descriptors from its own user.
        probe.warn(
            "port",
            "port-holder-hidden",
            f"{listen} is in use, and only root can see whether by the relay itself (process "
            f"{probe.relay_pid})",
            "run the same command as root",
        )
        return
    who = ", ".join(f"{name} (process {pid})" for pid, name in sorted(held.items()))
    probe.fail(
        "port",
        "port-taken",
        f"{listen} is held by {who or 'a process that only root can see'}",
        "stop that program, or listen elsewhere; `ss -lnp` as root shows all holders",
    )


def _inet_inodes(kind: socket.SocketKind, port: int) -> list[str]:
    """The sockets that receive at a port, on any address."""
    table, receiving = _RECEIVING[kind]
    found = []
    for path in (table, f"{table}6"):
        for fields in _rows(path):
            if fields[3] == receiving and fields[1].endswith(f":{port:04X}"):
                found.append(fields[9])
    return found


def _unix_sockets() -> Iterator[tuple[str, str]]:
    """Inode and path of those that have a path."""
    for fields in _rows("/proc/net/unix"):
        if len(fields) > 7:
            yield fields[6], " ".join(fields[7:])


def _rows(table: str) -> Iterator[list[str]]:
    with suppress(OSError), open(table, encoding="utf-8", errors="surrogateescape") as file:
        next(file, "")
        for line in file:
            yield line.split()


def _holders(inodes: list[str]) -> dict[int, str]:
    """The names of the processes that have one of the sockets open, by pid, as far as we see."""
    wanted, held = {f"socket:[{inode}]" for inode in inodes}, dict[int, str]()
    for folder in Path("/proc").glob("[0-9]*/fd") if wanted else ():
        with suppress(OSError):  # a process of another user, or one that has just ended
            if any(_target(descriptor.path) in wanted for descriptor in os.scandir(folder)):
                name = (folder.parent / "comm").read_text(errors="replace").strip()
                held[int(folder.parent.name)] = printable(name)
    return held


def _target(descriptor: str) -> str:
    """Where a link of /proc/PID/fd points; "" if the process has closed it since it was listed."""
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""
