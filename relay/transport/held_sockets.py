"""Bound sockets between two users: a source leaves one, the next with its address takes it.

A socket that is closed loses what waits in it: datagrams, connections that nobody has accepted, and
messages that arrive until the next one is bound.  So a source that is replaced, and all sources
when a new version of the relay takes over, leave their sockets here instead.

A name says the kind of the socket and its address as the configuration writes it, in characters
that systemd allows for a descriptor of its store (sd_pid_notify_with_fds(3), FDNAME).
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from relay.wire.framing.open_frames import DecoderState

PREFIX = "held "
"""Begins every name here, and none of a socket unit: those have no spaces."""
_NAME_CHARACTERS_MAX = 255
_TYPES = {"datagram": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}


def socket_name(kind: str, address: str) -> str:
    """The name of a socket.

    Args:
        kind: datagram or stream.
        address: A path, or host and port as written: `localhost:514`, `:514`.
    """
    name = f"{PREFIX}{kind} {quote(address, safe='/[]')}"
    if len(name) > _NAME_CHARACTERS_MAX:  # a path of 107 bytes may take three times as many
        return f"{PREFIX}{kind} {hashlib.sha256(os.fsencode(address)).hexdigest()}"
    return name


@dataclass(frozen=True, slots=True)
class HeldSocket:
    name: str
    bound: socket.socket
    """Bound, and listening if it has connections."""
    source: str = ""
    """Id of the source that has left it; empty = not known."""
    kernel_drops: int | None = None
    """How many drops of the kernel are counted already; None = not known."""
    file: tuple[int, int] | None = None
    """Device and inode of a unix socket's file; None = it has none, or it is not known."""


class LinesState(msgspec.Struct, frozen=True):
    """A message of several lines that may go on."""

    lines: tuple[bytes, ...]
    """As far as they are kept."""
    whole_bytes: int
    count: int
    hops: bytes = b""
    has_cut_line: bool = False


class StreamState(msgspec.Struct, frozen=True):
    """The state of a connection beyond that of its descriptor."""

    decoder: DecoderState | None = None
    """None = it has not begun: a PROXY header is not complete."""
    unread: bytes = b""
    """Received, and not decoded: the peer is above its rate, or its header is not complete."""
    peer: tuple[str, int] | None = None
    """Address and port of who is behind the proxy; None = the peer of the socket."""
    lines: LinesState | None = None

    @property
    def kept_bytes(self) -> int:
        """Bytes of messages that are not complete."""
        kept = len(self.unread)
        if self.decoder is not None:
            kept += self.decoder.kept_bytes
        if self.lines is not None:
            kept += sum(map(len, self.lines.lines))
        return kept


@dataclass(frozen=True, slots=True)
class HeldConnection:
    """A connection of plain syslog that is open, whatever reads it."""

    name: str
    """Of the listening socket that it came through."""
    connected: socket.socket
    state: StreamState


class Store(Protocol):
    """Keeps descriptors in case that this process ends."""

    def add(self, name: str, descriptors: Sequence[int]) -> bool: ...

    def remove(self, name: str) -> None: ...


class HeldSockets:
    """The sockets that nobody uses at the moment.

    Args:
        store: Keeps those that are in use; None = nobody does.

    Attributes:
        taken: How many have found a user.
        refused: How many connections have not, for a reason of their source.
        keeps_all: Every source is to leave its socket here when it stops.
        reads_rest: It is to take first what waits in them, for there may be no next source.
        connections_max: How many open connections it may leave; None = any number.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self.taken = self.refused = 0
        self._held: list[HeldSocket] = []
        self._connections: list[HeldConnection] = []
        self._kept: Collection[str] = ()
        self.keeps_all = False
        self.reads_rest = False
        self.connections_max: int | None = None

    def keep(self, names: Collection[str]) -> None:
        """Have the sources that stop from now on leave the sockets with these names here."""
        self._kept = names

    def keeps(self, name: str) -> bool:
        """Whether a source that stops is to leave the socket with this name here."""
        return self.keeps_all or name in self._kept

    def put(self, held: HeldSocket) -> None:
        self._held.append(held)

    def take(self, name: str, *, source: str = "") -> HeldSocket | None:
        """The socket with this name, which is the caller's from here on; None = there is none.

        Args:
            source: Of several with one name (port 0), prefer the one that it has left.
        """
        found = [each for each in self._held if each.name == name]
        found.sort(key=lambda each: each.source != source)
        for held in found:
            self._held.remove(held)
            if _is_usable(held):
                self.taken += 1
                return held
            held.bound.close()
        return None

    def note_use(self, name: str, bound: socket.socket) -> None:
        """A source uses this socket from here on."""
        if self._store is not None:
            self._store.add(name, [bound.fileno()])

    def note_end(self, name: str) -> None:
        """The socket with this name is closed, and nobody shall have it."""
        if self._store is not None:
            self._store.remove(name)

    def put_connection(self, held: HeldConnection) -> None:
        self._connections.append(held)

    def take_connections(self, name: str) -> list[HeldConnection]:
        """The connections that came through the socket with this name, now the caller's."""
        taken = [each for each in self._connections if each.name == name]
        self._connections = [each for each in self._connections if each.name != name]
        return taken

    @property
    def room(self) -> int | None:
        """How many more connections may be left here; None = any number."""
        most = self.connections_max
        return None if most is None else max(0, most - len(self._connections))

    @property
    def connections(self) -> Sequence[HeldConnection]:
        return self._connections

    def close_connections(self) -> list[HeldConnection]:
        """Close the connections that nobody has taken; return which."""
        left, self._connections = self._connections, []
        for held in left:
            held.connected.close()
        return left

    def __iter__(self) -> Iterator[HeldSocket]:
        return iter(self._held)

    def close_left(self) -> list[HeldSocket]:
        """Close the sockets that nobody has taken; return which."""
        left, self._held = self._held, []
        for held in left:
            held.bound.close()
        return left


def _is_usable(held: HeldSocket) -> bool:
    """Whether programs still reach the socket, and it is what its name says."""
    bound = held.bound
    with suppress(OSError):
        if bound.type != _TYPES.get(held.name.removeprefix(PREFIX).split(" ")[0], bound.type):
            return False
        if bound.family != socket.AF_UNIX:
            port = unquote(held.name).rpartition(":")[2]
            # One of a socket unit has another sort of name.
            return not port.isdecimal() or int(port) in (0, bound.getsockname()[1])
        path = bound.getsockname()
        if not isinstance(path, str):  # an abstract address, which has no file
            return True
        found = os.lstat(path)
        return held.file in (None, (found.st_dev, found.st_ino))
    return False
