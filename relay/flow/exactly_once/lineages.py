"""The receiving half of exactly once: a high-water mark for each lineage.

See `relay/wire/relp/lineage.py` for what is said on the wire, and when.  Here:

1. `have` moves in the transaction that holds the messages, as a position named
   `RECEIVED` + "/" + the lineage's id.  The name contains no source, so that a
   sender is known again at another port.
2. One connection at a time has the lease of a lineage.  A new one takes it from the old one,
   which is cut, and learns `have` only when everything is committed that the old one
   had handed on.  So what comes can neither overlap nor overtake.
3. A lineage belongs to the TLS identity that it first came with; one that came
   without is given to the first identity that brings it.
4. At most `lineages_max` are kept.  The one forgotten first is that from which
   nothing has come for longest, and never one that is connected; its sender is then
   a new one, and at most what was in flight comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from relay.model.clock import Now
from relay.model.counters.source import BELIEVED_RECORDS_MAX
from relay.wire.relp.lineage import HighWaterMark, LineageOffer

RECEIVED = "/received"
"""Where the positions are; no source's id contains a slash."""
LINEAGES_MAX = 10_000
"""The usual limit."""
FORGOTTEN_AT_ONCE = 1000
"""Lineages that one commit forgets, beyond those that it makes room for."""
_NO_EPOCH = "0" * 16


class _Position(msgspec.Struct):
    """What is stored of a lineage."""

    have: int
    epoch: str
    seen: int
    """When something came last, in seconds since 1970-01-01 UTC."""
    identity: str | None = None
    """TLS identity of its sender."""


@dataclass(slots=True, eq=False)
class _Lineage:
    id: str
    position: _Position
    """As of the last commit."""
    pending: int = 0
    """Batches on their way to disk, whoever brought them."""
    holder: Lease | None = None
    missing_to: int = 0
    """What is missing before here was said and counted."""


class Lease:
    """The lease of a lineage, which one connection holds.

    Attributes:
        offer: What the client said.
        missing: Records before `offer.first` that were never received and not yet counted;
            set when the lease is granted.
        leaps: There would be implausibly many: `missing` is 0 then.
    """

    def __init__(
        self,
        lineages: Lineages,
        lineage: _Lineage,
        offer: LineageOffer,
        identity: str | None,
        granted: Callable[[Lease, HighWaterMark], None],
        lost: Callable[[], None],
    ) -> None:
        self.offer = offer
        self.missing = 0
        self.leaps = False
        self._lineages = lineages
        self._lineage = lineage
        self.identity = identity
        self._granted = granted
        self._lost = lost
        self._next_seq = 0  # of the next message; 0 = not granted yet

    def take(self, count: int) -> Mapping[str, bytes]:
        """The positions to store with the next `count` messages."""
        assert self._next_seq and self._lineage.holder is self, "messages without a lease"
        self._next_seq += count
        position = self._position()
        positions = {f"{RECEIVED}/{self._lineage.id}": msgspec.json.encode(position)}
        for id in self._lineages.make_room(self._lineage):
            positions[f"{RECEIVED}/{id}"] = b""
        return positions

    def underway(self) -> None:
        """What was taken is on its way to disk; `done` will be called."""
        self._lineage.pending += 1

    def done(self, upto: int, *, stored: bool) -> None:
        """The batch that ended at `upto` (see `next_seq`) is on disk, or will not get there."""
        if stored:
            self._lineages.stored(self._lineage, self._position(upto))
        self._lineage.pending -= 1
        self._lineages.settle(self._lineage)

    @property
    def next_seq(self) -> int:
        """Seq of the next message."""
        return self._next_seq

    def release(self) -> None:
        """The connection is over."""
        if self._lineage.holder is self:
            self._lineage.holder = None
            self._lineages.settle(self._lineage)

    def grant(self) -> None:
        """Nothing is pending: the next message has the number that both ends now know."""
        lineage = self._lineage
        have = lineage.position.have
        self._next_seq = max(self.offer.first, have + 1)
        if have:
            missing = max(0, self.offer.first - max(have + 1, lineage.missing_to))
            missing = 0 if self.offer.elsewhere else missing
            self.leaps = missing > BELIEVED_RECORDS_MAX
            self.missing = 0 if self.leaps else missing
            lineage.missing_to = max(lineage.missing_to, self.offer.first)
        if self.offer.elsewhere and have + 1 < self.offer.first:
            # Of what the client still has, nothing is here; the rest is at another receiver.
            self._granted(self, HighWaterMark(0, _NO_EPOCH))
        else:
            self._granted(self, HighWaterMark(have, lineage.position.epoch))

    def supersede(self) -> None:
        """Another connection has taken the lineage."""
        self._lost()

    @property
    def is_granted(self) -> bool:
        return bool(self._next_seq)

    def _position(self, next_seq: int | None = None) -> _Position:
        have = (self._next_seq if next_seq is None else next_seq) - 1
        identity = self.identity or self._lineage.position.identity
        return _Position(have, self.offer.epoch, int(self._lineages.now()), identity)


class Leases(Protocol):
    """Gives connections the leases of lineages; see `Lineages.lease`."""

    def lease(
        self,
        offer: LineageOffer,
        identity: str | None,
        *,
        granted: Callable[[Lease, HighWaterMark], None],
        lost: Callable[[], None],
    ) -> Lease | None: ...


@dataclass(frozen=True, slots=True)
class LeasesOfOneOfSeveral:
    """Leases at one of several receivers, which a balancer has chosen: another one may have what is
    not here, as if the client had said so."""

    leases: Leases

    def lease(
        self,
        offer: LineageOffer,
        identity: str | None,
        *,
        granted: Callable[[Lease, HighWaterMark], None],
        lost: Callable[[], None],
    ) -> Lease | None:
        offer = offer._replace(elsewhere=True)
        return self.leases.lease(offer, identity, granted=granted, lost=lost)


class Lineages:
    """All lineages that a relay receives, by any of its sources.

    Args:
        load: The positions below `RECEIVED`; called once, when the first client asks.
        now: Seconds since 1970-01-01 UTC.
        lineages_max: Can be changed at any time.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Mapping[str, bytes]],
        now: Now,
        lineages_max: int = LINEAGES_MAX,
    ) -> None:
        self.now = now
        self._load = load
        self.lineages_max = lineages_max
        self._lineages: dict[str, _Lineage] | None = None  # the one seen last at the end

    def lease(
        self,
        offer: LineageOffer,
        identity: str | None,
        *,
        granted: Callable[[Lease, HighWaterMark], None],
        lost: Callable[[], None],
    ) -> Lease | None:
        """Give a connection the lease of the lineage that it offers.

        Args:
            identity: The verified TLS identity of the client, if it has one.
            granted: Called with how far the lineage has been stored, at once or when
                what came by another connection is stored; not if that is `lost` before.
            lost: Called when another connection takes the lineage.

        Returns:
            None if the lineage belongs to another identity.
        """
        lineages = self._known()
        lineage = lineages.get(offer.id)
        if lineage is None:
            lineage = lineages[offer.id] = _Lineage(offer.id, _Position(0, _NO_EPOCH, 0))
        before = lineage.holder
        owner = lineage.position.identity or (before.identity if before is not None else None)
        if owner is not None and owner != identity:
            return None
        lease = Lease(self, lineage, offer, identity, granted, lost)
        lineage.holder = lease
        if before is not None:
            before.supersede()
        self.settle(lineage)
        return lease

    def stored(self, lineage: _Lineage, position: _Position) -> None:
        """`position` is on disk."""
        lineages = self._known()
        lineage.position = position
        lineages[lineage.id] = lineages.pop(lineage.id, lineage)  # to the end

    def settle(self, lineage: _Lineage) -> None:
        """Go on with what waits for `lineage` to have nothing pending."""
        if lineage.pending:
            return
        if lineage.holder is None:
            if not lineage.position.have:  # nothing was ever stored of it
                self._known().pop(lineage.id, None)
        elif not lineage.holder.is_granted:
            lineage.holder.grant()

    def make_room(self, newest: _Lineage) -> list[str]:
        """Forget those beyond the limit because `newest` is being stored; return their ids."""
        lineages = self._known()
        more = min(len(lineages) - self.lineages_max, FORGOTTEN_AT_ONCE)
        if more <= 0 or newest.position.have:
            return []
        unused = (id for id, one in lineages.items() if one.holder is None and not one.pending)
        forgotten = [id for id, _ in zip(unused, range(more), strict=False)]
        for id in forgotten:
            del lineages[id]
        return forgotten

    def _known(self) -> dict[str, _Lineage]:
        if self._lineages is None:
            loaded = [(id, _decoded(data)) for id, data in self._load().items()]
            known = sorted(
                ((id, position) for id, position in loaded if position is not None),
                key=lambda item: item[1].seen,
            )
            self._lineages = {id: _Lineage(id, position) for id, position in known}
        return self._lineages


def _decoded(data: bytes) -> _Position | None:
    try:
        return msgspec.json.decode(data, type=_Position)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # as if it had been forgotten
