"""A destination whose drain runs in the drain process, as the main process sees it.

For status, for the commands of people and for the queue it is a `DestinationService`
like any other; what it does is sent to the drain process, and what that says is put
into the queue's next transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from relay.flow.reckoning import Reckoning
from relay.model.clock import Clock
from relay.model.seq import SeqRange
from relay.queue.lineage import Lineage
from relay.service.certificate_watch import CertificateWatch
from relay.service.configuration import DestinationConfiguration
from relay.service.destination import DestinationService
from relay.service.destinations import tls_upstream
from relay.service.drain_messages import (
    Acknowledged,
    AcknowledgedLate,
    BreakLink,
    Evicted,
    Heard,
    Hold,
    KeepLineage,
    LineageKept,
    Order,
    Release,
    Renew,
    Reopen,
    SetAside,
    Skip,
    State,
    Stored,
    Task,
    task_configuration,
)
from relay.service.queue_service import QueueService
from relay.service.tls_files import upstream_problems
from relay.transport.notices import Notices
from relay.transport.tls import TlsUpstream
from relay.transport.tls_context import TlsMaterial

__all__ = ["MirroredState", "RemoteDestination", "RemoteDrain"]

Tell = Callable[[Order], None]


class MirroredState:
    """What `UpstreamState` is in the drain process, as it was said last.

    Its counters go on when another drain process begins.
    """

    def __init__(self, id: str) -> None:
        self._said = State(id)
        self._before = State(id)  # sums of the processes before
        self._trouble = "its process is starting"  # why nothing is sent; empty = it runs

    @property
    def words(self) -> str:
        return self._trouble or self._said.words

    @property
    def ready(self) -> bool:
        return self._said.ready

    @property
    def exactly_once(self) -> bool:
        return self._said.exactly_once

    @property
    def connects(self) -> int:
        return self._before.connects + self._said.connects

    @property
    def failures(self) -> int:
        return self._before.failures + self._said.failures

    @property
    def answers(self) -> int:
        return self._before.answers + self._said.answers

    @property
    def truncated_records(self) -> int:
        return self._before.truncated_records + self._said.truncated_records

    @property
    def sent_records(self) -> int:
        return self._before.sent_records + self._said.sent_records

    @property
    def resent_records(self) -> int:
        return self._before.resent_records + self._said.resent_records

    @property
    def said(self) -> State:
        return self._said

    def heard(self, state: State) -> None:
        self._said, self._trouble = state, ""

    def ended(self, words: str) -> None:
        """There is no drain process, for this reason."""
        self._before = State(
            self._said.id,
            connects=self.connects,
            failures=self.failures,
            truncated_records=self.truncated_records,
            answers=self.answers,
            sent_records=self.sent_records,
            resent_records=self.resent_records,
        )
        self._said, self._trouble = State(self._said.id), words


class RemoteDrain:
    """What `Drain` is there, as far as it is asked for and told here.

    Args:
        head, stored: Where the queue begins and ends.
        tell: Sends an order to the drain process, if there is one.
    """

    def __init__(
        self,
        id: str,
        *,
        head: int,
        stored: int,
        queue: QueueService,
        state: MirroredState,
        tell: Tell,
    ) -> None:
        self._id = id
        self._stored = stored
        self._queue = queue
        self._state = state
        self._tell = tell
        self._reckoning = Reckoning(head)
        self._running = False
        self._held: set[str] = set()
        self._holds = 0  # told to this process

    @property
    def in_flight(self) -> int:
        """Records sent and not acknowledged; at least one until a hold has been heard of."""
        if not self._running:
            return 0
        said = self._state.said
        return said.in_flight if said.holds == self._holds else max(1, said.in_flight)

    @property
    def could_send(self) -> bool:
        return self._state.said.could_send

    @property
    def acknowledged_seq(self) -> int:
        return self._reckoning.head

    @property
    def sent_records(self) -> int:
        return self._state.sent_records

    @property
    def resent_records(self) -> int:
        return self._state.resent_records

    # What people ask for.

    def is_held(self, by: str) -> bool:
        return by in self._held

    def hold(self, by: str) -> None:
        self._held.add(by)
        self._holds += 1
        self._tell(Hold(self._id, by))

    def release(self, by: str) -> None:
        self._held.discard(by)
        self._tell(Release(self._id, by))

    def skip(self, upto: int) -> None:
        self._reckoning.heard(upto)
        self._tell(Skip(self._id, upto))

    # What the queue tells.

    def stored(self, upto: int) -> None:
        self._stored = upto
        self._tell(Stored(self._id, upto))

    def evicted(self, upto: int, reason: str) -> None:
        if not self._running:
            self._reckoning.heard(upto)
            return
        self._reckoning.evicted(upto, reason)
        self._tell(Evicted(self._id, upto, reason))

    # The drain process.

    def begin(self) -> tuple[int, int, list[str]]:
        """One is about to be told where to begin, where the queue ends and who holds it."""
        self._running = True
        self._holds = 0
        return self._reckoning.begin(), self._stored, sorted(self._held)

    def ended(self) -> None:
        """There is none any more; what was in flight will be sent again."""
        self._running = False
        self._reckoning.begin()

    def acknowledged(self, report: Acknowledged) -> None:
        for count, reason in self._reckoning.acknowledged(report.upto):
            self._queue.acknowledge_late(self._id, count, reason)
        if report.upto >= self._reckoning.head:
            self._queue.acknowledge(self._id, report.upto)

    def acknowledged_late(self, report: AcknowledgedLate) -> None:
        self._queue.acknowledge_late(self._id, report.count, report.reason)

    def set_aside(self, report: SetAside) -> None:
        there = self._reckoning.set_aside(SeqRange(report.start, report.stop))
        if there is not None:
            self._queue.set_aside(self._id, there, report.reason)

    def heard(self, report: Heard) -> None:
        self._reckoning.heard(report.upto)


class _HandedOver:
    """The TLS files of an upstream: checked here, used in the drain process."""

    def __init__(
        self, material: TlsMaterial, *, upstream: Callable[[TlsMaterial], TlsUpstream]
    ) -> None:
        self._upstream = upstream(material)
        self.material = material
        self.on_renewed: Callable[[TlsMaterial], None] = lambda material: None

    def renew(self, material: TlsMaterial) -> None:
        self._upstream.renew(material)
        self.material = material
        self.on_renewed(material)


class RemoteDestination(DestinationService):
    """One destination.  Reads its certificate files.

    Args:
        tell: Sends an order to the drain process, if there is one.
    """

    state: MirroredState  # type: ignore[assignment]
    drain: RemoteDrain  # type: ignore[assignment]
    _lineage: Lineage | None

    def __init__(
        self,
        configuration: DestinationConfiguration,
        *,
        queue: QueueService,
        certificates: CertificateWatch,
        notices: Notices,
        clock: Clock,
        tell: Tell,
    ) -> None:
        super().__init__(
            destination=configuration.id,
            url=configuration.connect,
            queue=queue,
            refusals_max=configuration.refusals_max,
            notices=notices,
            clock=clock,
            retry_seconds_min=configuration.retry_seconds_min,
            retry_seconds_max=configuration.retry_seconds_max,
            stall_seconds=2 * configuration.answer_seconds_max,
        )
        self.state = MirroredState(self.id)
        self._configuration = task_configuration(configuration)
        self._tell = tell
        self._tls: _HandedOver | None = None
        if configuration.connect.is_tls:
            self._tls = certificates.keep(
                f"destination {self.id}",
                configuration.tls,
                upstream_problems,
                lambda material: _HandedOver(material, upstream=tls_upstream(configuration)),
            )
            self._tls.on_renewed = lambda material: tell(Renew(self.id, material))

    def startService(self) -> None:
        Service.startService(self)
        ledger = self._queue.ledger(self.id)
        self._lineage = self._queue.lineage(self.id)
        self.drain = RemoteDrain(
            self.id,
            head=ledger.acknowledged_seq,
            stored=ledger.next_seq,
            queue=self._queue,
            state=self.state,
            tell=self._tell,
        )
        self._queue.subscribe(self.id, self.drain.stored, self.drain.evicted)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self.ended("stopped")
        return succeed(None)

    def break_link(self, why: str) -> None:
        self._tell(BreakLink(self.id, why))

    def reopen(self) -> None:
        self._tell(Reopen(self.id))

    # The drain process.

    def begin(self) -> Task:
        """What one that begins has to know."""
        head, stored, held = self.drain.begin()
        return Task(
            configuration=self._configuration,
            acknowledged=head,
            stored=stored,
            lineage=None if self._lineage is None else self._lineage.encode(),
            held=held,
            material=None if self._tls is None else self._tls.material,
        )

    def ended(self, words: str) -> None:
        """There is none, for this reason."""
        self.drain.ended()
        self.state.ended(words)

    def keep_lineage(self, report: KeepLineage, answer: Tell) -> None:
        """Store what it asks for; `answer` sends to the process that has asked."""
        lineage = Lineage.decode(report.lineage)
        assert lineage is not None, report

        def kept(_: Any) -> None:
            self._lineage = lineage
            answer(LineageKept(self.id, ""))

        keeping = self._queue.keep_lineage(self.id, lineage)
        keeping.addCallbacks(
            kept, lambda failure: answer(LineageKept(self.id, failure.getErrorMessage()))
        )
