"""The origin of a batch of frames, and batches with their origins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from relay.model.hops import joined_hops

_NONE: Mapping[int, int] = MappingProxyType({})
_NO_HOPS: Mapping[int, bytes] = MappingProxyType({})


class Transport(StrEnum):
    """The protocol that carries the frames of a source."""

    NONE = ""
    """Files and the journal have none."""
    TCP = "tcp"
    UDP = "udp"
    UNIX = "unix"
    """A socket of this host, where lines do not name their host."""


class TlsIdentity(NamedTuple):
    """What the certificate of a peer says that was accepted."""

    subject: str
    names: tuple[str, ...]
    """Those that a trusted authority has vouched for."""
    fingerprints: tuple[str, ...]


class Origin(NamedTuple):
    """Where and when a batch of frames was received.

    A protocol makes one per connection; the intake puts the time of each batch into it
    (`received`).
    """

    source: str
    """Id of the source: its key in the configuration."""
    transport: Transport
    peer_host: str = ""
    """Address of the peer without port; empty for local sockets."""
    peer_port: int = 0
    tls_identity: str | None = None
    """Name in the verified certificate of the peer, if it sent one."""
    tls_names: tuple[str, ...] = ()
    """Names that a trusted authority has vouched for in the certificate of the peer."""
    tls_fingerprints: tuple[str, ...] = ()
    """Of the certificate of the peer, if it was accepted."""
    pid: int | None = None
    """Process, user and group of a local sender, as the kernel vouches for them."""
    uid: int | None = None
    gid: int | None = None
    app: str = ""
    """Id of the app whose token came with the batch, and not in its messages; empty = none."""
    hops: bytes = b""
    """Relays that the messages have passed (`relay.model.hops`)."""
    received_at: float = 0.0
    """Seconds since 1970-01-01 UTC."""
    monotonic_at: float = 0.0
    """The same moment on a clock that is never set, for rates and intervals."""

    def received(self, at: float, monotonic_at: float) -> Origin:
        """This origin with the time of a batch; five times as fast as `_replace`."""
        return tuple.__new__(Origin, (*self[:-2], at, monotonic_at))

    def identified(self, identity: TlsIdentity) -> Origin:
        """This origin with what the certificate of the peer says."""
        return self._replace(
            tls_identity=identity.subject,
            tls_names=identity.names,
            tls_fingerprints=identity.fingerprints,
        )

    @property
    def peer(self) -> str:
        """The peer as text, for logs."""
        if self.peer_host:
            host = f"[{self.peer_host}]" if ":" in self.peer_host else self.peer_host
            return f"{host}:{self.peer_port}"
        return f"local process {self.pid}" if self.pid else "a local process"


class Numbered(NamedTuple):
    """The session that frames came by, and the numbers that their sender has given them.

    Only sources whose senders are answered by a log have these.
    """

    session: object
    """A `DirectSession`."""
    seqs: Sequence[int]
    """One for each frame, ascending; empty = they have none."""

    def picked(self, indexes: Sequence[int]) -> Numbered:
        """Those of the frames at `indexes`."""
        seqs = self.seqs
        return Numbered(self.session, [seqs[index] for index in indexes]) if seqs else self


class Received(NamedTuple):
    """Frames of one origin that came together, oldest first.

    A transport marks by index what it did to messages above the size limit.
    """

    frames: Sequence[bytes]
    origin: Origin
    cut: Mapping[int, int] = _NONE
    """Frames that were cut: index to the bytes of the whole message."""
    pieces: Mapping[int, int] = _NONE
    """Frames that are pieces of a message that was split: index to the number, from 1 on."""
    hops: Mapping[int, bytes] = _NO_HOPS
    """Frames that came with hops of their own, which are before those of the origin."""
    numbered: Numbered | None = None
    """Where a log answers."""

    def by_hops(self) -> list[Received]:
        """The same frames in batches whose frames have no hops but those of their origins."""
        if not self.hops:
            return [self]
        runs = groupby(range(len(self.frames)), lambda index: self.hops.get(index, b""))
        return [self.picked(list(run), hops) for hops, run in runs]

    def picked(self, indexes: Sequence[int], hops: bytes = b"") -> Received:
        """The frames at `indexes`, which have come by `hops` beside those of the origin."""
        origin = self.origin
        if hops:
            origin = origin._replace(hops=joined_hops(hops, origin.hops))
        return Received(
            [self.frames[index] for index in indexes],
            origin,
            {new: self.cut[old] for new, old in enumerate(indexes) if old in self.cut},
            {new: self.pieces[old] for new, old in enumerate(indexes) if old in self.pieces},
            numbered=self.numbered and self.numbered.picked(indexes),
        )


class Arrival(NamedTuple):
    """Origins of the lines of a batch, and the time of receipt."""

    runs: Sequence[tuple[int, Origin]]
    """Where the lines of each origin end, and the origin; the last run ends with the batch."""
    received_at: float
    """Seconds since 1970-01-01 UTC."""
    monotonic_at: float
    """The same moment on a clock that is never set."""

    @classmethod
    def of_one(cls, count: int, origin: Origin) -> Arrival:
        """The arrival of `count` lines of one origin, which has the time."""
        return cls(((count, origin),), origin.received_at, origin.monotonic_at)

    def each(self) -> Iterator[tuple[int, int, Origin]]:
        """Where each run begins and ends, and its origin with the time."""
        start = 0
        for stop, origin in self.runs:
            yield start, stop, origin.received(self.received_at, self.monotonic_at)
            start = stop

    def chosen(self, indexes: Sequence[int] | None) -> Iterator[tuple[Sequence[int], Origin]]:
        """The lines at `indexes`, which ascend, by origin; None = all.  No origin without lines."""
        at = 0
        for start, stop, origin in self.each():
            run: Sequence[int] = range(start, stop)
            if indexes is not None:
                first = at
                while at < len(indexes) and indexes[at] < stop:
                    at += 1
                run = indexes[first:at]
            if run:
                yield run, origin
