"""From frames to a log: what the intake makes of them is published, not queued.

    connections ──▶ DirectIntake ──▶ Intake ──▶ DirectIntake.append ──▶ RunsInFlight ──▶ log
                                                        └─▶ quarantine and drops: LMDB, as always

The intake parses, authorises, routes and rewrites as for any source, and calls `append` before it
returns.  Each payload has to have the number of its message.  A batch of which nothing can be lost
on the way gives as many payloads as it has messages, one for each.  All others are handed over one
message at a time.  Check refuses what would make several payloads of one message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.python.failure import Failure

from relay.flow.direct.runs import RunsInFlight
from relay.flow.direct.sessions import DirectSession, GivenUp
from relay.flow.intake import Append, Intake
from relay.model.counters.kept import KeptCounters
from relay.model.origin import Received
from relay.queue.transaction import Counted, Refusal


class _Part:
    """The frames of one session in a batch, and what became of them."""

    def __init__(self, received: Received) -> None:
        numbered = received.numbered
        assert numbered is not None and isinstance(numbered.session, DirectSession)
        self.session = numbered.session
        self.received = received
        self.payloads: list[bytes] = []
        self.seqs: list[int] = []

    def take(self, payloads: Sequence[bytes], received: Received) -> None:
        """They are made of these frames, one of each."""
        assert received.numbered is not None
        self.payloads += payloads
        self.seqs += received.numbered.seqs


class _Stored:
    """An append whose end several wait for."""

    def __init__(self, stored: Deferred[None]) -> None:
        self._waiting: list[Deferred[None]] = []
        self._has_ended = False
        self._failure: Failure | None = None
        stored.addCallbacks(self._ended, self._ended)

    def after(self) -> Deferred[None]:
        """Fires, or fails, when it has ended."""
        if not self._has_ended:
            self._waiting.append(Deferred())
            return self._waiting[-1]
        return succeed(None) if self._failure is None else fail(self._failure)

    def _ended(self, failure: Failure | None) -> None:
        self._has_ended, self._failure = True, failure
        for each in self._waiting:
            each.callback(None) if failure is None else each.errback(failure)


_NOTHING = _Stored(succeed(None))


@dataclass(eq=False, slots=True)
class _Taking:
    """Some batches that came together, and what there is to wait for until all are answered."""

    waiting: int = 1
    """Runs in flight, and one while they are made."""
    intakes: list[Deferred[None]] = field(default_factory=list)
    """Results that the intake waits for, to count."""
    count: int = 0
    """Messages that the intake counts as stored then."""
    aside: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    drops: dict[str, Counter[str]] = field(default_factory=dict)
    refused: int = 0
    """Of the messages, those that the log has refused."""
    given_up: int = 0
    """Of the messages, those whose connection has ended."""
    not_stored: int = 0
    """Of the messages, those that belong into the quarantine and are not there."""


class DirectIntake:
    """The intake of a source whose senders a log answers.

    Args:
        destination: The id of the only destination.
        store: Stores quarantines and drops.
        kept: The counters of the source.

    Attributes:
        intake: Parses and routes; its `append` is that of this object.
        one_by_one: Routes may lose messages, so each is handed over alone.
    """

    intake: Intake  # set before the first batch comes

    def __init__(
        self, *, destination: str, runs: RunsInFlight, store: Append, kept: KeptCounters
    ) -> None:
        self.one_by_one = False
        self._destination = destination
        self._runs = runs
        self._store = store
        self._kept = kept
        self._taking = _Taking()
        self._routed: Sequence[tuple[_Part, Received]] = ()

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        """Fires once everything is answered for by the log; see `accept_each`."""
        each = DeferredList(self.accept_each(batches), fireOnOneErrback=True, consumeErrors=True)
        return each.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)

    def accept_each(self, batches: Sequence[Received]) -> list[Deferred[None]]:
        """Take frames of several sessions.

        Each result fires once the log has acknowledged what came of the batch and all before it of
        its session, and LMDB has what the log does not get.  It fails with QueueError if that
        cannot be stored, and with GivenUp if the connection has ended.
        """
        taking = self._taking = _Taking()
        parts = [_Part(batch) for batch in batches]
        if self._may_lose(batches):
            for part in parts:
                for index in range(len(part.received.frames)):
                    hops = part.received.hops.get(index, b"")
                    self._route([(part, part.received.picked([index], hops))])
        else:
            self._route([(part, part.received) for part in parts])
        rest = self._store_rest(taking)
        each = [self._publish(part, taking, rest) for part in parts]
        self._run_ended(taking, rest)
        return each

    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
        counted: Counted | None = None,
    ) -> Deferred[None]:
        """The way out of the intake: see `Append`."""
        taking, found = self._taking, payloads.get(self._destination, ())
        total = sum(len(received.frames) for _, received in self._routed)
        assert len(found) in (0, total), f"{len(found)} payloads of {total} messages"
        start = 0
        for part, received in self._routed if found else ():
            stop = start + len(received.frames)
            part.take(found[start:stop], received)
            start = stop
        taking.refusals += refusals
        for id, reasons in (drops or {}).items():
            taking.drops.setdefault(id, Counter()).update(reasons)
        if counted is not None:
            taking.count += counted.stored
            taking.aside += counted.aside
        done: Deferred[None] = Deferred()
        taking.intakes.append(done)
        return done

    def _may_lose(self, batches: Sequence[Received]) -> bool:
        """Whether some of the messages may give no payload."""
        if self.one_by_one or any(batch.cut or b"" in batch.frames for batch in batches):
            return True
        guard = self.intake.reading.guard
        return guard is not None and bool(guard.sorted_out(batches)[1])

    def _route(self, routed: Sequence[tuple[_Part, Received]]) -> None:
        self._routed = routed
        taken = self.intake.accept_all([received for _, received in routed])
        taken.addErrback(lambda failure: None)  # those who wait are told by the run

    def _store_rest(self, taking: _Taking) -> _Stored:
        """Store what the log does not get."""
        if not (taking.refusals or taking.drops):
            return _NOTHING
        counted = Counted(self._kept, 0, taking.aside)
        return _Stored(self._store({}, taking.refusals, None, taking.drops, (), counted))

    def _publish(self, part: _Part, taking: _Taking, rest: _Stored) -> Deferred[None]:
        """Publish what came of a part, if anything did.  Fires when all of it may be answered."""
        if not part.payloads:
            return rest.after()
        taking.waiting += 1

        def answered(refused: int) -> Deferred[None]:
            taking.refused += refused
            self._run_ended(taking, rest)
            return rest.after()

        def failed(failure: Failure) -> Failure:
            if failure.check(GivenUp):
                taking.given_up += len(part.payloads)
            else:
                taking.not_stored += len(part.payloads)
            self._run_ended(taking, rest)
            return failure

        run = self._runs.publish(part.session, part.payloads, part.seqs)
        answers: Deferred[None] = run.addCallbacks(answered, failed)
        return answers

    def _run_ended(self, taking: _Taking, rest: _Stored) -> None:
        taking.waiting -= 1
        if not taking.waiting:
            rest.after().addBoth(self._count, taking)

    def _count(self, result: Failure | None, taking: _Taking) -> None:
        """All has ended: have the intake count it, and correct that."""
        for done in taking.intakes:
            done.callback(result)
        if result is not None:
            return
        counters = self._kept.counters
        lost = taking.refused + taking.given_up + taking.not_stored
        counters.stored_records -= lost
        counters.quarantined_records += taking.refused
        counters.unanswered_records += taking.given_up
        if taking.not_stored:
            counters.dropped["not-stored"] += taking.not_stored
        self._kept.answered(taking.count - lost)
