"""Live messages, shown to those who ask while they pass through the relay.

    received     frames of a source, before anything is done with them
    rewritten    payloads for a destination, as they were stored
    delivered    payloads that a destination has acknowledged
    dropped      frames that a source has dropped or could not parse, or that were dropped on the
                 way into a queue, as `Samples` has them

While nobody reads, each of these places tests one attribute per batch and does nothing else.  A
reader never holds anything up: it has a rate, a buffer and, with a filter, a number of messages
that are looked at per second.  Messages beyond these are left out, evenly, and counted.  One whose
buffer is full costs an addition per batch, whatever its client does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from relay.codec import total_bytes
from relay.flow.drain import Drain, Watch
from relay.model.clock import Clock, DelayedCall, Now
from relay.model.counters.samples import Samples
from relay.model.counters.source import SourceCounters
from relay.model.errors import RelayError
from relay.model.origin import Received
from relay.model.seq import SeqRange
from relay.model.text import Document
from relay.model.token import SECRET_BYTES_MAX
from relay.rewrite.forms.record_key import split_key
from relay.rewrite.forms.token import fill_slots, redacted

RECEIVED, REWRITTEN, DELIVERED, DROPPED = "received", "rewritten", "delivered", "dropped"
STAGES = {RECEIVED: "source", REWRITTEN: "destination", DELIVERED: "destination", DROPPED: "source"}
"""Where messages can be seen, and whether that is at a source or at a destination."""
READERS_MAX = 8
_DESTINATION = "destination "  # before the ids of those whose drops are seen; no id has a space
RATE_MAX = 1000.0
"""Messages per second that one reader may be shown."""
MESSAGE_BYTES_MAX = 16 * 1024
"""What is shown of a message."""
BUFFER_RECORDS_MAX = 1000
BUFFER_BYTES_MAX = 1024 * 1024
"""Together the most that waits for one reader."""
LOOKS_PER_SECOND_MAX = 5000.0
"""Messages per second that are compared with the filter of one reader; a long one counts more."""

_LOOK_BYTES = 2048  # that one look is good for
_IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024  # of one queue, kept while somebody waits for its delivery
_TAKE_RECORDS = 100
_SAY_SECONDS = 1.0  # between two statements of how many were left out


class Tapped(NamedTuple):
    """One message on its way."""

    at: float
    """When it was there, in seconds since 1970-01-01 UTC."""
    id: str
    """Of the source or destination."""
    start: bytes
    """The first `MESSAGE_BYTES_MAX` bytes, as they were; tokens are not masked yet."""
    size: int
    """Bytes of the whole message."""
    left_out: int
    """Messages that this reader had missed by then."""
    peer: str = ""
    """Of a source: who sent it."""
    reason: str = ""
    """Of what was dropped."""
    seq: int = 0
    """Of a destination: its number in the queue."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants to see.

    Attributes:
        stage: One of `STAGES`.
        id: Of one source or destination; empty = all.
        fits: Tests messages, without what stands before them in a queue; None = all.
        rate: Messages per second, 1 to `RATE_MAX`.
        count: The reader ends after so many; 0 = never.
        seconds: The reader ends after that time; 0 = never.
    """

    stage: str
    id: str = ""
    fits: Callable[[bytes], bool] | None = None
    rate: float = 100.0
    count: int = 0
    seconds: float = 0.0


class Taps:
    """All readers of one relay.

    Args:
        sources: Counters by id.
        drains: Returns the senders of a destination by its id.
        destinations: Ids of the destinations.
        shed: Samples of what was dropped on the way into a queue, by destination.
        secrets: Returns the known tokens, which are masked.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, SourceCounters],
        destinations: Collection[str],
        drains: Callable[[str], Iterable[Drain]],
        secrets: Callable[[], Collection[bytes]],
        now: Now,
        clock: Clock,
        shed: Mapping[str, Samples] | None = None,
    ) -> None:
        self._shed: Mapping[str, Samples] = {} if shed is None else shed
        self._sources = sources
        self._destinations = destinations
        self._drains = drains
        self._secrets = secrets
        self._now = now
        self._clock = clock
        self._readers: list[TapReader] = []

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def _samples(self) -> dict[str, Samples]:
        samples = {id: each.samples for id, each in self._sources.items()}
        return samples | {_DESTINATION + id: each for id, each in self._shed.items()}

    def follow(self) -> None:
        """Have those who read see sources and destinations that came since, or are others now."""
        for reader in self._readers:
            if not reader.wanted.id:
                reader.ids = list(self._known(reader.wanted.stage))
        for stage in {reader.wanted.stage for reader in self._readers}:
            self._hook(stage, list(self._known(stage)))

    def _known(self, stage: str) -> Collection[str]:
        if stage == DROPPED:
            return self._samples
        return self._sources if STAGES[stage] == "source" else self._destinations

    def open(self, wanted: Wanted, on_ready: Callable[[], None] = lambda: None) -> TapReader:
        """Begin to read.

        Args:
            on_ready: Called, perhaps often, when there is something to take.

        Raises:
            RelayError: There is no such stage, source or destination, or there are too many
                readers.
        """
        if wanted.stage not in STAGES:
            raise RelayError(f"found stage {wanted.stage!r}, expected one of {', '.join(STAGES)}")
        what, known = STAGES[wanted.stage], self._known(wanted.stage)
        if wanted.stage == DROPPED and wanted.id not in known and _DESTINATION + wanted.id in known:
            wanted = replace(wanted, id=_DESTINATION + wanted.id)
        if wanted.id and wanted.id not in known:
            others = ", ".join(sorted(known)) or "none"
            raise RelayError(f"there is no {what} {wanted.id!r}; there is: {others}")
        if len(self._readers) >= READERS_MAX:
            raise RelayError(f"{READERS_MAX} taps are open, which is the limit; end one of them")
        ids = [wanted.id] if wanted.id else list(known)
        reader = TapReader(
            wanted, ids, secrets=self._secrets, now=self._now, clock=self._clock, on_ready=on_ready
        )
        reader.on_end = partial(self._ended, reader)
        self._readers.append(reader)
        self._hook(wanted.stage, ids)
        return reader

    def _ended(self, reader: TapReader) -> None:
        self._readers.remove(reader)
        self._hook(reader.wanted.stage, reader.ids)

    def _hook(self, stage: str, ids: Sequence[str]) -> None:
        """Have the messages of `ids` noted for all who read them, or for nobody."""
        samples = self._samples if stage == DROPPED else {}
        for id in ids:
            readers = [
                each for each in self._readers if each.wanted.stage == stage and id in each.ids
            ]
            if stage == RECEIVED:
                received = partial(_note_received, id, readers) if readers else None
                if id in self._sources:  # it may have left meanwhile
                    self._sources[id].on_received = received
            elif stage == DROPPED:
                dropped = partial(_note_dropped, id, readers) if readers else None
                if id in samples:
                    samples[id].on_note = dropped
            else:
                for drain in self._drains(id):
                    drain.watch = _watch(drain.watch, stage, id, readers)


class TapReader:
    """One reader, with what waits for it.

    Args:
        ids: Of its sources or destinations.

    Attributes:
        shown: Messages that it was given, or that wait for it.
        left_out: Messages that it missed: too many a second, or not read fast enough.  Whether
            they fit its filter is not known.
        end: Why it has ended; empty = it goes on.
        is_full: All that comes is left out until it reads.
    """

    on_end: Callable[[], None]

    def __init__(
        self,
        wanted: Wanted,
        ids: Sequence[str],
        *,
        secrets: Callable[[], Collection[bytes]],
        now: Now,
        clock: Clock,
        on_ready: Callable[[], None],
    ) -> None:
        self.wanted = wanted
        self.ids = ids
        self.shown = 0
        self.left_out = 0
        self.end = ""
        self.is_full = False
        self._secrets = secrets
        self._now = now
        self._on_ready = on_ready
        self._waiting: deque[Tapped] = deque()
        self._bytes = 0
        self._allowed = _Allowance(max(1.0, min(wanted.rate, RATE_MAX)), clock.seconds())
        self._looks = _Allowance(LOOKS_PER_SECOND_MAX, clock.seconds())
        self._clock = clock
        self._said = 0  # how many were left out, as it was last told
        self._is_due = False  # to be told again
        self._telling: DelayedCall | None = None
        self._timer: DelayedCall | None = None
        if wanted.seconds:
            self._timer = clock.callLater(wanted.seconds, self._finish, "time")

    def close(self) -> None:
        """Read no more."""
        self._waiting.clear()
        self._bytes, self.is_full = 0, False
        self._finish("closed")

    def take(self) -> list[Document]:
        """What waits, oldest first, with tokens masked: a part of it, or nothing.

        Messages have ``at`` (seconds since 1970-01-01 UTC), ``source`` with ``peer``, or
        ``destination`` with ``seq``; ``reason`` if they were dropped; ``payload`` (bytes, perhaps
        only the beginning), ``size`` (bytes of the whole) and ``left_out`` (messages that were
        missed up to then).  A document with only ``left_out`` says that more were missed.
        """
        secrets = self._secrets()
        taken: list[Document] = []
        while self._waiting and len(taken) < _TAKE_RECORDS:
            tapped = self._waiting.popleft()
            self._bytes -= len(tapped.start)
            taken.append(_document(tapped, STAGES[self.wanted.stage], secrets))
            self._said = tapped.left_out
            self.is_full = False
        if not self._waiting and self.left_out > self._said and (self._is_due or self.end):
            self._is_due, self._said = False, self.left_out
            taken.append({"left_out": self.left_out})
        return taken

    def skip(self, count: int) -> None:
        """Leave messages out."""
        if count and not self.end:
            self.left_out += count
            if self._telling is None and not self._is_due:
                self._telling = self._clock.callLater(_SAY_SECONDS, self._tell)

    def offer(
        self, payloads: Sequence[bytes], id: str, *, peer: str = "", reason: str = "", seq: int = 0
    ) -> None:
        """Keep those of `payloads` that it wants, as far as there is room for them.

        Args:
            seq: Number of the first one.
        """
        count, fits = len(payloads), self.wanted.fits
        looked = 0  # those of which we know whether they are wanted
        if not (self.is_full or self.end):
            now, at = self._clock.seconds(), self._now()
            allowed, looks = self._allowed.refilled(now), self._looks.refilled(now)
            for index in _spread(count, allowed if fits is None else looks):
                start = bytes(payloads[index][:MESSAGE_BYTES_MAX])
                if fits is not None:
                    if not self._looks.spend(1 + len(start) // _LOOK_BYTES):
                        break
                    if not fits(key_and_payload(start)[1]):
                        looked += 1
                        continue
                if self.is_full or not self._allowed.spend(1):
                    continue
                looked += 1
                number = seq + index if seq else 0
                size, missed = len(payloads[index]), self.left_out
                self._keep(Tapped(at, id, start, size, missed, peer, reason, number))
                if self.end:
                    return
        self.skip(count - looked)

    def _keep(self, tapped: Tapped) -> None:
        self._waiting.append(tapped)
        self._bytes += len(tapped.start)
        self.is_full = len(self._waiting) >= BUFFER_RECORDS_MAX or self._bytes >= BUFFER_BYTES_MAX
        self.shown += 1
        if self.shown == self.wanted.count:
            self._finish("count")
        else:
            self._on_ready()

    def _finish(self, why: str) -> None:
        if not self.end:
            self.end = why
            for call in (self._timer, self._telling):
                if call is not None and call.active():
                    call.cancel()
            self.on_end()
            self._on_ready()

    def _tell(self) -> None:
        self._telling, self._is_due = None, True
        self._on_ready()


class _Allowance:
    """So many of something per second, those of one second at once."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = self._amount = rate
        self._at = now

    def refilled(self, now: float) -> int:
        """What may be spent from `now` on."""
        self._amount = min(self._rate, self._amount + self._rate * max(0.0, now - self._at))
        self._at = now
        return max(0, int(self._amount))

    def spend(self, count: int) -> bool:
        """Spend of what there was at the last `refilled`; False = nothing is left."""
        if self._amount < 1:
            return False
        self._amount -= count
        return True


def _spread(count: int, some: int) -> Iterable[int]:
    """At most `some` of the indexes below `count`, evenly spread."""
    if some >= count:
        return range(count)
    return (number * count // some for number in range(some))


def key_and_payload(record: bytes) -> tuple[bytes | None, bytes]:
    """What a record is without all that stands before it in a queue; a slot is masked."""
    if record.startswith(b"\0"):  # perhaps its token is not known yet
        record = fill_slots([record], lambda key: b"****")[0]
    return split_key(record)


def _document(tapped: Tapped, what: str, secrets: Collection[bytes]) -> Document:
    """What a reader is told, with tokens masked."""
    key, payload = key_and_payload(tapped.start)
    payload = redacted(payload, secrets)
    if tapped.size > len(tapped.start):
        payload = payload[:-SECRET_BYTES_MAX]  # the end may be a part of a token
    if tapped.id.startswith(_DESTINATION):
        what = "destination"
    document: Document = {"at": tapped.at, what: tapped.id.removeprefix(_DESTINATION)}
    more: Mapping[str, object] = {
        "peer": tapped.peer,
        "reason": tapped.reason,
        "seq": tapped.seq,
        "key": b"" if key is None else redacted(key, secrets),
    }
    document |= {name: value for name, value in more.items() if value}
    return document | {"payload": payload, "size": tapped.size, "left_out": tapped.left_out}


def _note_received(id: str, readers: Sequence[TapReader], batches: Sequence[Received]) -> None:
    for reader in readers:
        for batch in batches:
            if reader.is_full:
                reader.skip(len(batch.frames))
            else:
                reader.offer(batch.frames, id, peer=batch.origin.peer)


def _note_dropped(
    id: str,
    readers: Sequence[TapReader],
    reason: str,
    frames: Sequence[bytes],
    peer: str,
    others: int,
) -> None:
    for reader in readers:
        reader.skip(others)
        reader.offer(frames, id, peer=peer, reason=reason)


def _watch(watch: Watch | None, stage: str, id: str, readers: Sequence[TapReader]) -> Watch | None:
    """What follows the records of a drain for `readers` of a stage, and for those of others."""
    follower = watch if isinstance(watch, _Follower) else _Follower(id)
    if stage == REWRITTEN:
        follower.of_stored = readers
    else:
        follower.of_delivered = readers
    return follower if follower.of_stored or follower.of_delivered else None


class _Follower:
    """Follows the records of one queue, and remembers those sent until they are acknowledged.

    Records that were sent before anybody looked, or do not fit into the memory for that, are
    not known when they are acknowledged: they are left out.
    """

    def __init__(self, id: str) -> None:
        self.of_stored: Sequence[TapReader] = ()
        self.of_delivered: Sequence[TapReader] = ()
        self._id = id
        self._runs: deque[tuple[int, Sequence[bytes]]] = deque()  # with the seq of the first
        self._bytes = 0

    def stored(self, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        count = seqs.stop - seqs.start
        for reader in self.of_stored:
            if reader.is_full:
                reader.skip(count)
                continue
            reader.skip(count - len(payloads))  # moved by a command, so not in memory
            reader.offer(payloads, self._id, seq=seqs.stop - len(payloads))

    def sent(self, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        if self._runs:
            self._forget_from(seqs.start)
        for reader in self.of_delivered:
            if not reader.is_full and self._bytes < _IN_FLIGHT_BYTES_MAX:
                self._runs.append((seqs.start, payloads))
                self._bytes += total_bytes(payloads)
                break

    def acknowledged(self, start: int, upto: int) -> None:
        known = 0
        while self._runs and self._runs[0][0] < upto:
            first, payloads = self._runs[0]
            stop = first + len(payloads)
            part = payloads[max(start - first, 0) : upto - first]
            known += len(part)
            for reader in self.of_delivered:
                reader.offer(part, self._id, seq=max(start, first))
            if stop > upto:
                break
            self._runs.popleft()
            self._bytes -= total_bytes(payloads)
        for reader in self.of_delivered:
            reader.skip(upto - start - known)

    def _forget_from(self, seq: int) -> None:
        """What was sent from `seq` on is sent again."""
        while self._runs and self._runs[-1][0] + len(self._runs[-1][1]) > seq:
            first, payloads = self._runs.pop()
            self._bytes -= total_bytes(payloads)
            if first < seq:
                kept = payloads[: seq - first]
                self._runs.append((first, kept))
                self._bytes += total_bytes(kept)
