"""A log in memory, its publishers, and the reader that applies the rule of the numbers."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.flow.publishing import PublisherFailed, RecordRefused, Run

__all__ = ["FakePublisher", "take_by_the_rule"]


class FakePublisher:
    """Keeps runs until the test says what becomes of them.

    Attributes:
        runs: Runs that were published, oldest first.
        log: Records in the log: lineage, seq, prev and payload.
        refuses: Payloads that it never takes.
    """

    def __init__(self, log: list[tuple[str, int, int, bytes]] | None = None) -> None:
        self.runs: list[Run] = []
        self.log = [] if log is None else log
        self.refuses: set[bytes] = set()
        self.closed = False
        self._waiting: list[tuple[Run, Deferred[None]]] = []
        self._failed = False

    def publish(self, run: Run) -> Deferred[None]:
        self.runs.append(run)
        done: Deferred[None] = Deferred()
        if self._failed or self.closed:
            done.errback(PublisherFailed("it has failed before"))
        else:
            self._waiting.append((run, done))
        return done

    def close(self) -> Deferred[None]:
        self.closed = True
        self.fail("closed")
        return succeed(None)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def store(self, count: int = 1, *, answer: bool = True) -> None:
        """Put the oldest runs into the log, and say so unless the answer is lost."""
        for _ in range(min(count, len(self._waiting))):
            run, done = self._waiting.pop(0)
            refused = self._put(run)
            if not answer:
                continue
            if refused is None:
                done.callback(None)
            else:
                done.errback(RecordRefused(refused, "too large"))

    def fail(self, reason: str = "fenced") -> None:
        """Be of no more use."""
        self._failed = True
        waiting, self._waiting = self._waiting, []
        for _, done in waiting:
            done.errback(Failure(PublisherFailed(reason)))

    def _put(self, run: Run) -> int | None:
        prev = run.prev
        for index, payload in enumerate(run.payloads):
            if payload in self.refuses:
                return index
            seq = run.seqs[index] if run.seqs else 0
            self.log.append((run.lineage, seq, prev, payload))
            prev = seq
        return None


def take_by_the_rule(
    log: list[tuple[str, int, int, bytes]], on_held: Callable[[int], object] = lambda seq: None
) -> list[bytes]:
    """The payloads that a reader takes: see scale-out's rule in docs/protocol.md."""
    have: dict[str, int] = {}
    taken: list[bytes] = []
    for lineage, seq, prev, payload in log:
        if not lineage:
            taken.append(payload)
        elif lineage not in have or prev <= have[lineage] < seq:
            have[lineage] = seq
            taken.append(payload)
        elif have[lineage] < prev:
            on_held(seq)
    return taken
