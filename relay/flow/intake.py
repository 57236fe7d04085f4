"""From frames to disk: parse, authorise, route, rewrite, store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.flow.authorisation import Authorise
from relay.flow.routing import Route
from relay.flow.shedding import let_in, severities_let_in
from relay.model.clock import Now
from relay.model.counters import SourceCounters
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.queue.store import Refusal
from relay.wire.parse import parse_all

__all__ = ["ORIGINAL_BYTES", "TRUNCATED_TAG", "Append", "Intake"]

ORIGINAL_BYTES = ".syslogrelay.original_bytes"
"""Name of the pair that says how long a message was before it was cut, in octets."""
TRUNCATED_TAG = b"syslogrelay.truncated"


class Append(Protocol):
    """Stores payloads by destination; fires when they are on disk."""

    def __call__(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Deferred[None]: ...


class Intake:
    """Takes the frames of one source.

    Args:
        routes: Where they go; destinations are distinct.
        now: Seconds since 1970-01-01 UTC.
        counters: The source's.
        quarantines_long: Frames that were cut go to the quarantine of the source.
        quarantine_bytes_max: What that may hold.
        authorise: Says to which app each message belongs; None = nobody asks.
        quarantines_unauthorised: Messages of no app go to the quarantine of the source.
    """

    def __init__(
        self,
        *,
        routes: Sequence[Route],
        append: Append,
        now: Now,
        counters: SourceCounters,
        quarantines_long: bool = False,
        quarantine_bytes_max: int = 0,
        authorise: Authorise | None = None,
        quarantines_unauthorised: bool = False,
    ) -> None:
        # Without authorisation no message has an app.
        self._routes = [route for route in routes if authorise is not None or route.apps is None]
        self._append = append
        self._now = now
        self._counters = counters
        self._quarantines_long = quarantines_long
        self._quarantine_bytes_max = quarantine_bytes_max
        self._authorise = authorise
        self._quarantines_unauthorised = quarantines_unauthorised
        self._parses = any(route.rewrite is not None for route in routes)
        self._routes_by_app = any(route.apps is not None for route in self._routes)
        self._limited_routes = [route for route in self._routes if route.limit is not None]

    def accept(
        self,
        frames: list[bytes],
        origin: Origin,
        *,
        cut: Mapping[int, int] | None = None,
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]:
        """Store `frames`.  Fires once they are on disk for every destination.

        Fails with QueueError if they could not be stored; whoever can is then to
        make the peer send them again.

        Args:
            cut: Which of `frames` were cut to the size limit: index to the octets
                that the whole message had.
            positions: How far the source has read with these frames, by
                ``source/name``; stored with them, even if there are none.
        """
        counters = self._counters
        counters.received_records += len(frames)
        counters.received_bytes += sum(map(len, frames))
        refusals: list[Refusal] = []
        if cut and self._quarantines_long:
            refusals.append(self._refusal([frames[index] for index in cut], origin, "too-long"))
            frames = [frame for index, frame in enumerate(frames) if index not in cut]
            cut = None
        if b"" in frames:
            frames, cut = self._without_empty(frames, cut or {})
        messages: list[SyslogMessage] = []
        if frames and self._authorise is not None:
            messages, cut, unauthorised = self._authorised(frames, origin, cut or {})
            frames = [message.raw for message in messages]
            refusals += unauthorised
        if frames and not self._routes:
            counters.dropped["no-destination"] += len(frames)
            frames = []
        if not frames and not refusals and not positions:
            return succeed(None)
        aside = sum(len(refusal.frames) for refusal in refusals)
        count = len(frames)
        drops: dict[str, Mapping[str, int]] = {}
        payloads = self._payloads(frames, messages, origin, cut or {}, drops) if frames else {}
        stored = self._append(payloads, refusals, positions, drops)
        return stored.addCallbacks(
            lambda _: self._stored(count, aside),
            lambda failure: self._not_stored(failure, count + aside),
        )

    def _without_empty(
        self, frames: list[bytes], cut: Mapping[int, int]
    ) -> tuple[list[bytes], dict[int, int]]:
        taken = [index for index, frame in enumerate(frames) if frame]
        self._counters.dropped["empty"] += len(frames) - len(taken)
        new_cut = {new: cut[old] for new, old in enumerate(taken) if old in cut}
        return [frames[index] for index in taken], new_cut

    def _refusal(self, frames: list[bytes], origin: Origin, reason: str) -> Refusal:
        return Refusal(origin.source, reason, origin.peer, frames, self._quarantine_bytes_max)

    def _authorised(
        self, frames: list[bytes], origin: Origin, cut: Mapping[int, int]
    ) -> tuple[list[SyslogMessage], dict[int, int], list[Refusal]]:
        assert self._authorise is not None
        counters = self._counters
        messages, indexes, refused = self._authorise(parse_all(frames), origin)
        counters.apps.update(message.app for message in messages)
        if self._routes_by_app:
            messages, indexes = self._with_destination(messages, indexes)
        refusals = []
        for reason, rest in refused.items():
            if self._quarantines_unauthorised:
                refusals.append(self._refusal(rest, origin, reason))
            else:
                counters.dropped[reason] += len(rest)
        new_cut = {new: cut[old] for new, old in enumerate(indexes) if old in cut} if cut else {}
        return messages, new_cut, refusals

    def _with_destination(
        self, messages: list[SyslogMessage], indexes: list[int]
    ) -> tuple[list[SyslogMessage], list[int]]:
        taken = [
            (message, index)
            for message, index in zip(messages, indexes, strict=True)
            if any(route.apps is None or message.app in route.apps for route in self._routes)
        ]
        if len(taken) < len(messages):
            self._counters.dropped["no-destination"] += len(messages) - len(taken)
        return [message for message, _ in taken], [index for _, index in taken]

    def _payloads(
        self,
        frames: list[bytes],
        messages: list[SyslogMessage],
        origin: Origin,
        cut: Mapping[int, int],
        drops: dict[str, Mapping[str, int]],
    ) -> dict[str, Sequence[bytes]]:
        origin = origin._replace(received_at=self._now())
        if not messages and self._parses:
            messages = parse_all(frames)
        if messages:
            for index, original_bytes in cut.items():
                messages[index] = _marked(messages[index], original_bytes)
        if self._limited_routes and (let := severities_let_in(self._limited_routes)):
            return self._payloads_let_in(frames, messages, origin, let, drops)
        if self._routes_by_app:
            return self._payloads_by_app(messages, origin)
        return {
            route.destination: frames if route.rewrite is None else route.rewrite(messages, origin)
            for route in self._routes
        }

    def _payloads_by_app(
        self, messages: list[SyslogMessage], origin: Origin
    ) -> dict[str, Sequence[bytes]]:
        payloads: dict[str, Sequence[bytes]] = {}
        for route in self._routes:
            chosen = messages
            if route.apps is not None:
                chosen = [message for message in messages if message.app in route.apps]
            if chosen and route.rewrite is None:
                payloads[route.destination] = [message.raw for message in chosen]
            elif chosen and route.rewrite is not None:
                payloads[route.destination] = route.rewrite(chosen, origin)
        return payloads

    def _payloads_let_in(
        self,
        frames: list[bytes],
        messages: list[SyslogMessage],
        origin: Origin,
        let: Mapping[str, int],
        drops: dict[str, Mapping[str, int]],
    ) -> dict[str, Sequence[bytes]]:
        """As many as the limits of the destinations let in; the others go into `drops`."""
        payloads: dict[str, Sequence[bytes]] = {}
        messages = messages or parse_all(frames)
        for route in self._routes:
            chosen = messages
            if route.apps is not None:
                chosen = [message for message in messages if message.app in route.apps]
            if route.destination in let:
                severities = [message.severity for message in chosen]
                taken, dropped = let_in(route, severities, let[route.destination])
                chosen = [chosen[index] for index in taken]
                drops[route.destination] = dropped
            if chosen and route.rewrite is None:
                payloads[route.destination] = [message.raw for message in chosen]
            elif chosen and route.rewrite is not None:
                payloads[route.destination] = route.rewrite(chosen, origin)
        return payloads

    def _stored(self, count: int, aside: int) -> None:
        self._counters.stored_records += count
        self._counters.quarantined_records += aside

    def _not_stored(self, failure: Failure, count: int) -> Failure:
        if failure.check(QueueError) is None:
            return failure
        # A RELP client sends them again; for all others they are lost.
        self._counters.dropped["not-stored"] += count
        return failure


def _marked(message: SyslogMessage, original_bytes: int) -> SyslogMessage:
    """`message`, which was cut, with a tag and a pair that say so."""
    pairs = {**(message.pairs or {}), ORIGINAL_BYTES: b"%d" % original_bytes}
    return message._replace(pairs=pairs, tags=(*message.tags, TRUNCATED_TAG))
