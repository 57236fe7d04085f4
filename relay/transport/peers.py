"""Access and rate limits: address lists and one token bucket for each peer.

A peer is its address without the port.  Connections from peers that are not allowed are
closed before anything is read from them.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from relay.model.clock import Clock
from relay.transport.connections import READ_BYTES_MAX, Timers

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DECISIONS_MAX = 4096  # kept, the least recently used go first
_PEERS_MAX = 10_000
_MESSAGE_BYTES = 16  # of a small one
_PIECE_BYTES_MIN = 1024
DEBT_SECONDS_MAX = 30.0
"""Longest pause of a connection whose peer exceeds its rate, in seconds."""


class PermittedPeers:
    """The allow and deny lists of one source.

    Args:
        allow: Networks that may send; none = all.
        deny: Networks that may not, even if they are allowed.
    """

    def __init__(self, *, allow: Sequence[Network] = (), deny: Sequence[Network] = ()) -> None:
        self.is_limited = bool(allow or deny)
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._decided: Callable[[str], bool] = lru_cache(_DECISIONS_MAX)(self._decide)

    def permits(self, host: str) -> bool:
        """Whether `host`, an address as `plain_address` gives it, may send."""
        return not self.is_limited or self._decided(host)

    def _decide(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)


class PeerRates:
    """A token bucket for each peer address: the rate, with a burst of one second.

    A stream goes into debt (`charge`) and is not read until the debt is paid; datagrams,
    which cannot wait, get the tokens that are left (`grant`).  A bucket that has been idle
    for a second is full, so that evicting it changes nothing; the table keeps the most
    recently active peers.

    Args:
        rate_max: Messages per second and address; 0 = no limit.
        now: Seconds from any start.
    """

    def __init__(
        self, *, rate_max: int, now: Callable[[], float], peers_max: int = _PEERS_MAX
    ) -> None:
        self.is_limited = rate_max > 0
        self.piece_bytes = min(max(_PIECE_BYTES_MIN, _MESSAGE_BYTES * rate_max), READ_BYTES_MAX)
        """Of a stream that are taken at once: small messages of about a second."""
        self._rate_max = rate_max
        self._now = now
        self._peers_max = peers_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def __len__(self) -> int:
        return len(self._buckets)

    def charge(self, host: str, count: int) -> float:
        """Take `count` tokens, on credit if necessary.

        Returns:
            Seconds until the debt of `host` is paid; 0 = none.  At most 30, or a RELP
            client would consider the relay dead; debt beyond that is forgiven.
        """
        tokens = max(self._tokens(host) - count, -DEBT_SECONDS_MAX * self._rate_max)
        self._keep(host, tokens)
        return max(0.0, -tokens / self._rate_max)

    def grant(self, host: str, count: int) -> int:
        """Take up to `count` tokens; return how many there were."""
        tokens = self._tokens(host)
        granted = max(0, min(count, int(tokens)))
        self._keep(host, tokens - granted)
        return granted

    def _tokens(self, host: str) -> float:
        full = float(self._rate_max)
        tokens, then = self._buckets.get(host, (full, 0.0))
        return min(full, tokens + (self._now() - then) * self._rate_max)

    def _keep(self, host: str, tokens: float) -> None:
        self._buckets[host] = (tokens, self._now())
        self._buckets.move_to_end(host)
        if len(self._buckets) > self._peers_max:
            self._buckets.popitem(last=False)


class Pace:
    """Hands on what one connection receives, no faster than its peer may send.

    A piece is taken if the peer is in no debt, so that it exceeds its rate by the messages of one
    piece at most.  The rest of what was read waits here, and reading pauses.

    Args:
        take: Takes a piece; `charge` says how many messages were in it.
        pause, resume: Stop reading, and go on.
    """

    def __init__(
        self,
        rates: PeerRates,
        host: str,
        clock: Clock,
        take: Callable[[bytes], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._rates = rates
        self._host = host
        self._clock = clock
        self._take = take
        self._pause = pause
        self._resume = resume
        self._surplus = bytearray()
        self._timers = Timers(clock)
        self._goes_on_at: float | None = None  # whatever the rate; None = it does not wait
        self._is_over = False

    def feed(self, data: bytes) -> None:
        self._surplus += data
        self._take_on()

    def charge(self, count: int) -> None:
        """Charge the peer for `count` messages."""
        seconds = self._rates.charge(self._host, count)
        if seconds > 0 and self._goes_on_at is None and not self._is_over:
            self._goes_on_at = self._clock.seconds() + DEBT_SECONDS_MAX
            self._pause()
            self._timers.set("paid", seconds, self._paid)

    def finish(self) -> None:
        """Take all that has come and will come at once: the connection ends."""
        self.stop()
        self._take_on()

    def leave(self) -> bytes:
        """Wait no more; return what waits, for who goes on with the connection."""
        self.stop()
        waiting = bytes(self._surplus)
        self._surplus.clear()
        return waiting

    def stop(self) -> None:
        """Wait no more; drop what waits, unless `finish` or `leave` follows."""
        self._is_over, self._goes_on_at = True, None
        self._timers.cancel_all()

    def _take_on(self) -> None:
        size = len(self._surplus) if self._is_over else self._rates.piece_bytes
        while self._surplus and self._goes_on_at is None:
            piece = bytes(self._surplus[:size])
            del self._surplus[:size]
            self._take(piece)

    def _paid(self) -> None:
        # Another connection of this peer may have run up more, and another after it: this
        # one is read all the same when its time is up, or its client would give us up.
        assert self._goes_on_at is not None
        seconds = min(self._rates.charge(self._host, 0), self._goes_on_at - self._clock.seconds())
        if seconds > 0:
            self._timers.set("paid", seconds, self._paid)
            return
        self._goes_on_at = None
        self._take_on()
        if self._goes_on_at is None:
            self._resume()


class GateFactory(Factory):
    """Stands before the factory of a listener, and before its TLS.

    A connection that `admits` refuses is closed at once, before anything is read.

    Args:
        admits: Takes the peer's address; counts and logs refusals.
    """

    noisy = False

    def __init__(self, inner: Factory, *, admits: Callable[[IAddress | None], bool]) -> None:
        self._inner = inner
        self._admits = admits

    def doStart(self) -> None:
        self._inner.doStart()

    def doStop(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._inner.buildProtocol(addr) if self._admits(addr) else None
