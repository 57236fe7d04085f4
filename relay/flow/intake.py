"""From frames to disk: parse, authorise, route, rewrite, store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.codec import Lines, joined, tally
from relay.codec.messages import Messages
from relay.flow.authorisation import Authorise
from relay.flow.marks import NO_MARKS, Marks
from relay.flow.routing import Route, Routes
from relay.flow.sequences import SequenceCheck
from relay.model.clock import WallClock
from relay.model.counters.kept import KeptCounters
from relay.model.counters.samples import SAMPLES_MAX
from relay.model.errors import QueueError
from relay.model.message import DEFAULT_SEVERITY, SyslogMessage
from relay.model.origin import Arrival, Origin, Received
from relay.queue.transaction import Counted, Refusal
from relay.rewrite.watching import Watch
from relay.wire.hops import LoopGuard
from relay.wire.parse import read_lines
from relay.wire.parse_options import Parser
from relay.wire.parse_tags import failure_tag


class Append(Protocol):
    """Stores payloads by destination; fires when they are on disk."""

    def __call__(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
        counted: Counted | None = None,
    ) -> Deferred[None]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How the frames of a source are read, and what is checked in them."""

    parser: Parser = lambda frames, arrival: read_lines(frames)
    authorise: Authorise | None = None
    """Assigns each message to an app; None disables authorisation."""
    sequences: SequenceCheck | None = None
    """Detects gaps in numbered messages; None disables gap detection."""
    guard: LoopGuard | None = None
    """Finds messages that have been here before; None = they are taken again."""
    watch: Watch | None = None
    """Says what counts as a warning or an error; None = their severity alone."""
    default_severity: int = DEFAULT_SEVERITY
    """Of frames without PRI, for counting."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What a source sets aside; the rest of what it refuses is dropped."""

    long: bool = False
    """Truncated frames."""
    unauthorised: bool = False
    """Messages of no app."""
    bytes_max: int = 0
    """Size limit of the quarantine."""


class Intake:
    """Takes the frames of one source.

    Args:
        routes: One for each destination that the source feeds.
        wall: Stamps the batches, with the time of day and with a clock that is never set.
        counters: Those of the source, and how they are kept.
        answers: Senders wait for answers.
        on_unrouted: Called with the number of unrouted messages in a batch.
    """

    def __init__(
        self,
        *,
        routes: Sequence[Route],
        append: Append,
        wall: WallClock,
        counters: KeptCounters,
        reading: Reading = Reading(),
        quarantine: Quarantine = Quarantine(),
        answers: bool = False,
        on_unrouted: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._append = append
        self._wall = wall
        self._kept, self._counters = counters, counters.counters
        self._answers = answers
        self._on_unrouted = on_unrouted
        self.use(routes, reading, quarantine)

    @property
    def reading(self) -> Reading:
        """How frames are read now."""
        return self._reading

    def use(self, routes: Sequence[Route], reading: Reading, quarantine: Quarantine) -> None:
        """Treat the frames of the next batch in this way; arguments as of the class."""
        self._routes = Routes(routes)
        self._is_routed = bool(self._routes)
        self._reading = reading
        self._needs_lines = bool(
            reading.authorise or reading.sequences or reading.watch or self._routes.need_lines
        )
        self._quarantine = quarantine

    def accept(
        self,
        frames: Sequence[bytes],
        origin: Origin,
        *,
        cut: Mapping[int, int] | None = None,
        pieces: Mapping[int, int] | None = None,
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]:
        """Store `frames`.  Fires once they are on disk for every destination.

        Fails with QueueError if they could not be stored; a transport whose peer can
        send them again has it do so.

        Args:
            cut: Which of `frames` were cut to the size limit: index to the bytes
                that the whole message had.
            pieces: Which of `frames` are pieces of messages that were split: index to
                the number of the piece, from 1 on.
            positions: How far the source has read with these frames, by
                ``source/name``; stored with them, even if there are none.
        """
        received = Received(frames, origin, cut or {}, pieces or {})
        return self.accept_all((received,), positions)

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        """Store frames of several origins as one batch, in this order.

        One transaction stores all of them, with `positions`, or none.  See `accept`.
        """
        refusals: list[Refusal] = []
        taken: list[tuple[Sequence[bytes], Origin, Marks]] = []
        came_at = self._count(batches)
        if self._counters.on_received is not None:
            self._counters.on_received(batches)
        if self._reading.guard is not None:
            batches, loops = self._reading.guard.sorted_out(batches)
            if loops:
                self._count_loops(loops)
        for frames, origin, cut, pieces, *_ in batches:
            marks = Marks(cut, pieces) if cut or pieces else NO_MARKS
            if cut and self._quarantine.long:
                frames, marks = self._without_long(frames, origin, marks, refusals)
            if b"" in frames:
                frames, marks = self._without_empty(frames, marks)
            if frames and not self._is_routed:
                self._not_routed(len(frames))
                self._keep("no-destination", frames, origin.peer)
            elif frames:
                taken.append((frames, origin, marks))
        payloads: Mapping[str, Sequence[bytes]] = {}
        drops: Mapping[str, Mapping[str, int]] = {}
        count = 0
        if taken:
            payloads, drops, count = self._routed(taken, refusals)
            if self._routes.hold_back and (held := self._routes.take_positions()):
                positions = {**(positions or {}), **held}
        if not (payloads or drops or refusals or positions):
            return succeed(None)
        aside = sum(len(refusal.frames) for refusal in refusals) if refusals else 0
        senders: Collection[Hashable] = ()
        if self._answers:
            senders = {(origin.peer_host, origin.peer_port) for _, origin, *_ in batches}
        counted = Counted(self._kept, count, aside)
        stored = self._append(payloads, refusals, positions, drops, senders, counted)
        return stored.addCallbacks(
            *(self._stored, self._not_stored),
            callbackArgs=(count, aside, came_at),
            errbackArgs=(count + aside,),
        )

    def _count(self, batches: Sequence[Received]) -> float:
        """Count `batches` by peer and severity.  Returns the time on the clock never set."""
        counters, now = self._counters, self._wall.elapsed()
        for frames, origin, *_ in batches:
            peer = counters.peers.of(origin)
            size = tally(frames, peer.severities, self._reading.default_severity)
            count = len(frames)
            peer.records += count
            peer.bytes += size
            peer.last_seen = now
            counters.received_records += count
            counters.received_bytes += size
        return now

    def _routed(
        self, batches: list[tuple[Sequence[bytes], Origin, Marks]], refusals: list[Refusal]
    ) -> tuple[Mapping[str, Sequence[bytes]], Mapping[str, Mapping[str, int]], int]:
        """Payloads and drops by destination, and how many messages they are of."""
        frames, runs, marks = _joined(batches)
        if not self._needs_lines and not any(origin.hops for _, origin in runs):
            payloads, drops, _ = self._routes.pass_on(frames)
            return payloads, drops, len(frames)
        arrival = Arrival(runs, self._wall.now(), self._wall.elapsed())
        lines = self._reading.parser(frames, arrival)
        if odd := lines.odd():
            self._note_failures(lines, odd, arrival)
        if self._reading.sequences is not None:
            self._counters.missing_records += self._reading.sequences.look(lines.messages())
        if self._reading.authorise is not None:
            lines, arrival, marks = self._authorised(lines, arrival, marks, refusals)
            if not lines:
                return {}, {}, 0
        if self._reading.watch is not None:
            self._reading.watch.look(lines, arrival)
        if marks:
            messages = list(lines.messages())
            for start, put_on in marks:
                put_on.put_on(messages, start)
            lines = Messages(messages)
        payloads, drops, unrouted = self._routes.route(lines, arrival)
        if unrouted:
            self._not_routed(len(unrouted))
            for indexes, origin in arrival.chosen(unrouted):
                lost = [lines.frames[index] for index in indexes[-SAMPLES_MAX:]]
                others = len(indexes) - len(lost)
                self._keep("no-destination", lost, origin.peer, others)
        return payloads, drops, len(lines) - len(unrouted)

    def _note_failures(self, lines: Lines, odd: Sequence[int], arrival: Arrival) -> None:
        """Count those of the `odd` lines that could not be parsed, and keep samples."""
        for indexes, origin in arrival.chosen(odd):
            for message in lines.messages(indexes):
                if tag := failure_tag(message):
                    self._counters.parse_failures += 1
                    self._keep(tag, [message.raw], origin.peer)

    def _keep(self, reason: str, frames: Sequence[bytes], peer: str, others: int = 0) -> None:
        """Keep samples of frames that are dropped or could not be parsed."""
        self._counters.samples.note(reason, frames, peer=peer, others=others)

    def _authorised(
        self,
        lines: Lines,
        arrival: Arrival,
        marks: Sequence[tuple[int, Marks]],
        refusals: list[Refusal],
    ) -> tuple[Lines, Arrival, list[tuple[int, Marks]]]:
        """The lines that belong to an app; the others join `refusals` or are counted."""
        authorise = self._reading.authorise
        assert authorise is not None
        taken: list[SyslogMessage] = []
        runs: list[tuple[int, Origin]] = []
        kept: list[tuple[int, Marks]] = []
        marks_at = dict(marks)
        for start, stop, origin in arrival.each():
            own = lines.messages(range(start, stop))
            messages, indexes, refused = authorise(own, origin)
            if start in marks_at:
                kept.append((len(taken), marks_at[start].picked(indexes)))
            taken += messages
            runs.append((len(taken), origin))
            self._refuse(refused, origin, refusals)
        self._counters.apps.update(message.app for message in taken)
        return Messages(taken), arrival._replace(runs=runs), kept

    def _count_loops(self, dropped: Mapping[str, list[bytes]]) -> None:
        for reason, frames in dropped.items():
            self._counters.dropped[reason] += len(frames)
            self._keep(reason, frames, "")

    def _not_routed(self, count: int) -> None:
        self._counters.dropped["no-destination"] += count
        self._on_unrouted(count)

    def _without_long(
        self, frames: Sequence[bytes], origin: Origin, marks: Marks, refusals: list[Refusal]
    ) -> tuple[Sequence[bytes], Marks]:
        long = [frames[index] for index in marks.cut]
        refusals.append(self._refusal(long, origin, "too-long", list(marks.cut.values())))
        return self._picked(
            frames, marks, [index for index in range(len(frames)) if index not in marks.cut]
        )

    def _without_empty(
        self, frames: Sequence[bytes], marks: Marks
    ) -> tuple[Sequence[bytes], Marks]:
        taken = [index for index, frame in enumerate(frames) if frame]
        self._counters.dropped["empty"] += len(frames) - len(taken)
        return self._picked(frames, marks, taken)

    def _picked(
        self, frames: Sequence[bytes], marks: Marks, indexes: list[int]
    ) -> tuple[Sequence[bytes], Marks]:
        return [frames[index] for index in indexes], marks.picked(indexes)

    def _refuse(
        self, refused: Mapping[str, list[bytes]], origin: Origin, refusals: list[Refusal]
    ) -> None:
        for reason, frames in refused.items():
            if self._quarantine.unauthorised:
                refusals.append(self._refusal(frames, origin, reason))
            else:
                self._counters.dropped[reason] += len(frames)
                self._keep(reason, frames, origin.peer)

    def _refusal(
        self,
        frames: Sequence[bytes],
        origin: Origin,
        reason: str,
        original_bytes: Sequence[int] = (),
    ) -> Refusal:
        return Refusal(
            *(origin.source, reason, origin.peer, frames, self._quarantine.bytes_max),
            original_bytes,
        )

    def _stored(self, _: None, count: int, aside: int, came_at: float) -> None:
        counters = self._counters
        counters.stored_records += count
        counters.quarantined_records += aside
        counters.stored_seconds.observe(self._wall.elapsed() - came_at, count + aside)

    def _not_stored(self, failure: Failure, count: int) -> Failure:
        if failure.check(QueueError) is None:
            return failure
        # A RELP client sends them again; for all others they are lost.
        self._counters.dropped["not-stored"] += count
        return failure


def _joined(
    batches: list[tuple[Sequence[bytes], Origin, Marks]],
) -> tuple[Sequence[bytes], list[tuple[int, Origin]], list[tuple[int, Marks]]]:
    """The frames of all batches, where those of each origin end, and their marks by the start of
    their batch."""
    if len(batches) == 1:
        ((frames, origin, marks),) = batches
        return frames, [(len(frames), origin)], [(0, marks)] if any(marks) else []
    runs = []
    count = 0
    known = []
    for frames, origin, marks in batches:
        if any(marks):
            known.append((count, marks))
        count += len(frames)
        runs.append((count, origin))
    return joined(frames for frames, _, _ in batches), runs, known
