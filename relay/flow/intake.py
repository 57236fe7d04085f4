"""From frames to disk: parse, route, rewrite, store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.flow.routing import Route
from relay.model.clock import Now
from relay.model.counters import SourceCounters
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.queue.store import Refusal
from relay.wire.parse import parse_all

__all__ = ["ORIGINAL_BYTES", "SPLIT_TAG", "TRUNCATED_TAG", "Append", "Intake"]

ORIGINAL_BYTES = ".syslogrelay.original_bytes"
"""Name of the pair that says how long a message was before it was cut, in octets."""
TRUNCATED_TAG = b"syslogrelay.truncated"
SPLIT_TAG = b"syslogrelay.split"


class Append(Protocol):
    """Stores payloads by destination; fires when they are on disk."""

    def __call__(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]: ...


class Intake:
    """Takes the frames of one source.

    Args:
        routes: Where they go; destinations are distinct.
        now: Seconds since 1970-01-01 UTC.
        counters: The source's.
        quarantines_long: Frames that were cut go to the quarantine of the source.
        quarantine_bytes_max: What that may hold.
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
    ) -> None:
        self._routes = routes
        self._append = append
        self._now = now
        self._counters = counters
        self._quarantines_long = quarantines_long
        self._quarantine_bytes_max = quarantine_bytes_max
        self._parses = any(route.rewrite is not None for route in routes)

    def accept(
        self,
        frames: list[bytes],
        origin: Origin,
        *,
        cut: Mapping[int, int] | None = None,
        pieces: Mapping[int, int] | None = None,
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]:
        """Store `frames`.  Fires once they are on disk for every destination.

        Fails with QueueError if they could not be stored; whoever can is then to
        make the peer send them again.

        Args:
            cut: Which of `frames` were cut to the size limit: index to the octets
                that the whole message had.
            pieces: Which of them are pieces of a message that was split: index to the
                number of the piece, from 1.
            positions: How far the source has read with these frames, by
                ``source/name``; stored with them, even if there are none.
        """
        counters = self._counters
        counters.received_records += len(frames)
        counters.received_bytes += sum(map(len, frames))
        refusals: list[Refusal] = []
        if cut and self._quarantines_long:
            long = [frames[index] for index in cut]
            refusals.append(self._refusal(long, origin, "too-long", list(cut.values())))
            frames = [frame for index, frame in enumerate(frames) if index not in cut]
            cut = None  # and `pieces` there are none: what is split is not cut
        if b"" in frames:
            frames, cut, pieces = self._without_empty(frames, cut or {}, pieces or {})
        if frames and not self._routes:
            counters.dropped["no-destination"] += len(frames)
            frames = []
        if not frames and not refusals and not positions:
            return succeed(None)
        aside = sum(len(refusal.frames) for refusal in refusals)
        count = len(frames)
        payloads = self._payloads(frames, origin, cut or {}, pieces or {}) if frames else {}
        stored = self._append(payloads, refusals, positions)
        return stored.addCallbacks(
            lambda _: self._stored(count, aside),
            lambda failure: self._not_stored(failure, count + aside),
        )

    def _without_empty(
        self, frames: list[bytes], cut: Mapping[int, int], pieces: Mapping[int, int]
    ) -> tuple[list[bytes], dict[int, int], dict[int, int]]:
        taken = [index for index, frame in enumerate(frames) if frame]
        self._counters.dropped["empty"] += len(frames) - len(taken)
        new_cut = {new: cut[old] for new, old in enumerate(taken) if old in cut}
        new_pieces = {new: pieces[old] for new, old in enumerate(taken) if old in pieces}
        return [frames[index] for index in taken], new_cut, new_pieces

    def _refusal(
        self,
        frames: list[bytes],
        origin: Origin,
        reason: str,
        original_bytes: Sequence[int] = (),
    ) -> Refusal:
        return Refusal(
            *(origin.source, reason, origin.peer, frames, self._quarantine_bytes_max),
            original_bytes,
        )

    def _payloads(
        self,
        frames: list[bytes],
        origin: Origin,
        cut: Mapping[int, int],
        pieces: Mapping[int, int],
    ) -> dict[str, Sequence[bytes]]:
        origin = origin._replace(received_at=self._now())
        messages = parse_all(frames) if self._parses else []
        if messages:
            for index in pieces:
                message = messages[index]
                messages[index] = message._replace(tags=(*message.tags, SPLIT_TAG))
            for index, original_bytes in cut.items():
                messages[index] = _marked(messages[index], original_bytes)
        return {
            route.destination: frames if route.rewrite is None else route.rewrite(messages, origin)
            for route in self._routes
        }

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
