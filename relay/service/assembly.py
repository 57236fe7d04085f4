"""The whole program on one page: what there is, and who knows whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from twisted.application.service import Service
from twisted.logger import Logger

from relay import __version__
from relay.codec import IS_COMPILED
from relay.flow.intake import Intake
from relay.flow.routing import Route
from relay.flow.sequences import SequenceCheck
from relay.model.clock import Now, Reactor, WallClock
from relay.model.counters import BELIEVED_RECORDS_MAX, SourceCounters
from relay.model.text import counted
from relay.observe.control import Command, ControlFactory
from relay.observe.status import FileUsage, Identity, Status
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.files.ownership import words_of_owner
from relay.service.clock_watch import ClockWatch
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.destinations.commands import DestinationTools
from relay.service.destinations.kind import DestinationParts
from relay.service.destinations.lane import LaneAdoption
from relay.service.destinations.service import DestinationService
from relay.service.destinations.stall_detector import StallDetector
from relay.service.kinds import KINDS, RelayKinds
from relay.service.observing import (
    ConfigurationChange,
    ControlService,
    HangupService,
    StatisticsService,
)
from relay.service.process.settings import open_files_warning
from relay.service.process.systemd import NO_SYSTEMD, NotifyService, Systemd
from relay.service.queue.assembly import new_admission, new_queue, new_watches
from relay.service.queue.commands import QueueTools
from relay.service.queue.compaction import CompactionService
from relay.service.queue.limits import new_limits
from relay.service.queue.service import QueueService
from relay.service.refusal import StartRefused
from relay.service.relay_service import RelayService, StopGuard, local_zone
from relay.service.routes.expression_watch import ExpressionWatch
from relay.service.routes.flushing import FlushService
from relay.service.routes.late_tokens import LateTokens, TokenWatch
from relay.service.routes.lookup_file import LookupFiles
from relay.service.routes.rewriting import Rewriting
from relay.service.sequence import ConcurrentService
from relay.service.sources.authorising import new_authorise
from relay.service.sources.kind import SourceParts
from relay.service.sources.service import KeptPositions, Receiving, SourceService
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.notices import Notices
from relay.transport.notify_socket import NotifySocket
from relay.transport.reception import Reception
from relay.wire.parse_options import new_parser

__all__ = ["assemble"]

_log = Logger(namespace="relay")


def assemble(
    reactor: Reactor,
    configuration: Configuration,
    systemd: Systemd = NO_SYSTEMD,
    *,
    now: Now,
    kinds: RelayKinds = KINDS,
) -> RelayService:
    """Build the service tree.  Opens nothing; the services say when that happens.

    Args:
        reactor: Provides IReactorTime, IReactorThreads, IReactorFDSet, IReactorTCP
            and IReactorSocket.
            Its `seconds` is a clock that is never set (`settings.py`).
        systemd: What it passed to the process.
        now: The time of day, for stamps.
        kinds: Those of its sources and destinations.

    Raises:
        StartRefused: A source is to use an inherited socket that is not there.
    """
    notices = Notices(clock=reactor, log=_log)
    wall = WallClock(now=now, elapsed=reactor.seconds)
    admission = new_admission(configuration)
    limits = new_limits(configuration, notices)
    queue = new_queue(configuration, admission, limits, notices, wall, reactor)
    certificates = CertificateWatch(notices=notices, now=now, clock=reactor)
    lookups = LookupFiles(notices=notices, clock=reactor)
    routes, tokens = _routes(configuration, lookups, notices, wall, reactor)
    sending = DestinationParts(queue, certificates, notices, wall, reactor)
    destinations = _destinations(configuration, kinds, sending, tokens)
    token_watch = TokenWatch(tokens, notices=notices, clock=reactor)
    ways_in = WaysIn(configuration, routes, limits, queue, admission, notices, wall)
    parts = _source_parts(configuration, queue, certificates, wall, systemd)
    sources = _sources(kinds, ways_in, parts, reactor)
    _warn(systemd, configuration, notices)
    kept = KeptPositions((each.id for each in configuration.sources), queue=queue)
    more = _sections(queue, kept, certificates, lookups)
    status = _status(configuration, sources, destinations, admission, queue, more, notices, reactor)
    percent = configuration.compact_free_percent
    compaction = CompactionService(queue, percent, notices=notices, clock=reactor)
    tools = DestinationTools(destinations, queue=queue, now=now)
    commands = _commands(status, queue, compaction, tools, destinations, admission, limits, reactor)
    notify = NotifySocket(systemd.notify_socket)
    progress = StallDetector(destinations, notices=notices, clock=reactor)
    on_hangup = [*(each.reopen for each in destinations), certificates.look, token_watch.look]
    on_hangup += [lookups.look, ConfigurationChange(configuration.path).look]
    return RelayService(  # started top down, stopped bottom up
        [
            *(StopGuard(reactor=reactor), HangupService(callbacks=on_hangup, reactor=reactor)),
            *(certificates, token_watch, lookups),
            *(queue, ClockWatch(wall, queue=queue, clock=reactor), kept, compaction),
            LaneAdoption(_with_one_queue(configuration), queue=queue, notices=notices),
            _flush_service(routes, limits, queue, now, reactor),
            *(ConcurrentService(destinations), tools, progress),
            ExpressionWatch(notices=notices, clock=reactor),
            *new_watches(configuration, queue, admission, limits, notices, wall, reactor),
            *_observers(configuration, status, commands, notify, reactor),
            ConcurrentService(sources),
            _notify_service(notify, systemd, progress, reactor),
        ],
        exit_status=queue.exit_status,
    )


def _with_one_queue(configuration: Configuration) -> list[str]:
    return [each.id for each in configuration.destinations if not each.backlog_percent]


def _destinations(
    configuration: Configuration,
    kinds: RelayKinds,
    parts: DestinationParts,
    tokens: Mapping[str, LateTokens],
) -> list[DestinationService]:
    return [
        DestinationService(
            each, parts, kinds.destination(each.connect.scheme).make(each, parts), tokens[each.id]
        )
        for each in configuration.destinations
    ]


def _source_parts(
    configuration: Configuration,
    queue: QueueService,
    certificates: CertificateWatch,
    wall: WallClock,
    systemd: Systemd,
) -> SourceParts:
    return SourceParts(
        relay_name=configuration.name,
        certificates=certificates,
        wall=wall,
        positions=queue.view.positions,
        lineages=queue.lineages,
        systemd=systemd,
        local_block_seconds_max=configuration.local_block_seconds_max,
    )


def _sources(
    kinds: RelayKinds, ways_in: WaysIn, parts: SourceParts, reactor: Reactor
) -> list[SourceService]:
    sources = []
    for source in ways_in.configuration.sources:
        kind = kinds.source(source.listen.scheme)
        receiving = ways_in.receiving(source, answers=kind.answers, reactor=reactor)
        sources.append(kind.make(source, receiving, parts))
    return sources


def _flush_service(
    routes: Mapping[str, Route],
    limits: Mapping[str, QueueLimit],
    queue: QueueService,
    now: Now,
    reactor: Reactor,
) -> FlushService:
    return FlushService(
        [_way(route, limits[id], reserved=False) for id, route in routes.items()],
        append=queue.committer.append,
        now=now,
        clock=reactor,
    )


def _notify_service(
    notify: NotifySocket, systemd: Systemd, progress: StallDetector, reactor: Reactor
) -> NotifyService:
    return NotifyService(
        send=notify.send,
        watchdog_seconds=systemd.watchdog_seconds,
        clock=reactor,
        is_well=lambda: progress.is_well,
    )


def _sections(
    queue: QueueService, kept: KeptPositions, certificates: CertificateWatch, lookups: LookupFiles
) -> Mapping[str, Callable[[], object]]:
    """Parts of the status that are shown as they are."""
    return {
        "orphans": lambda: queue.view.orphans,
        "sources_gone": lambda: kept.gone,
        "damaged_files": lambda: queue.view.damaged_files,
        "certificates": certificates.report,
        "tables": lookups.report,
    }


def _status(
    configuration: Configuration,
    sources: Sequence[SourceService],
    destinations: Sequence[DestinationService],
    admission: Admission,
    queue: QueueService,
    sections: Mapping[str, Callable[[], object]],
    notices: Notices,
    reactor: Reactor,
) -> Status:
    return Status(
        Identity(configuration.name, __version__, IS_COMPILED, configuration.state_dir),
        sources=sources,
        destinations=destinations,
        admission=admission,
        sections=sections,
        elapsed=reactor.seconds,
        file_usage=lambda: FileUsage(queue.view.allocated_bytes, queue.histories.used_bytes),
        last_errors=notices.last_of,
    )


def _commands(
    status: Status,
    queue: QueueService,
    compaction: CompactionService,
    destination_tools: DestinationTools,
    destinations: Sequence[DestinationService],
    admission: Admission,
    limits: Mapping[str, QueueLimit],
    reactor: Reactor,
) -> dict[str, Command]:
    """What the control socket offers, by name."""
    tools = QueueTools(
        queue=queue, destinations=destinations, admission=admission, clock=reactor, limits=limits
    )
    asked = {**tools.commands(), **compaction.commands()}
    return {"status": status.document, **asked, **destination_tools.commands()}


@dataclass(frozen=True, slots=True)
class WaysIn:
    """What the messages of sources are handed to."""

    configuration: Configuration
    routes: Mapping[str, Route]
    limits: Mapping[str, QueueLimit]
    queue: QueueService
    admission: Admission
    notices: Notices
    wall: WallClock

    def receiving(
        self, source: SourceConfiguration, *, answers: bool, reactor: Reactor
    ) -> Receiving:
        fed = [each.id for each in self.configuration.destinations if source.id in each.sources]
        ways = [_way(self.routes[id], self.limits[id], reserved=source.reserved) for id in fed]
        marks = [mark for id in fed if (mark := self.limits[id].watermark) is not None]
        counters = SourceCounters()
        reception = Reception(
            source.id,
            self._intake(source, ways, counters, answers=answers),
            self.admission.for_source(marks, reserved=source.reserved),
            counters,
            self.notices,
            source.listen.scheme,
        )
        queue_path = os.path.join(self.configuration.state_dir, "queue")
        return Receiving(
            reception,
            reactor,
            partial(self.queue.view.source_ledger, source.id),
            partial(words_of_owner, queue_path),
        )

    def _intake(
        self,
        source: SourceConfiguration,
        ways: Sequence[Route],
        counters: SourceCounters,
        *,
        answers: bool,
    ) -> Intake:
        return Intake(
            routes=ways,
            append=self.queue.committer.append,
            wall=self.wall,
            counters=counters,
            parser=new_parser(source.parse, zone=local_zone()),
            sequences=_sequences(source, self.notices),
            answers=answers,
            on_unrouted=partial(_warn_unrouted, source.id, self.notices),
            quarantines_long=source.oversize == "quarantine",
            quarantine_bytes_max=self.configuration.quarantine_bytes_max,
            authorise=new_authorise(source, self.configuration.apps, notices=self.notices),
            quarantines_unauthorised=source.unauthorised == "quarantine",
        )


def _warn(systemd: Systemd, configuration: Configuration, notices: Notices) -> None:
    for warning in configuration.warnings:
        path = configuration.path or "command line"
        _log.warn("{path}: {warning}", path=path, warning=warning)

    if words := open_files_warning(configuration.sources, len(configuration.destinations)):
        _log.warn("{words}", words=words)
    for unused in systemd.unused(source.listen for source in configuration.sources):
        notices.warn("systemd", unused, f"passed the socket {unused}, and no source listens on it")


def _observers(
    configuration: Configuration,
    status: Status,
    commands: Mapping[str, Command],
    notify: NotifySocket,
    reactor: Reactor,
) -> list[Service]:
    return [
        ControlService(
            path=os.path.join(configuration.state_dir, "control.sock"),
            factory=ControlFactory(commands, clock=reactor),
            reactor=reactor,
        ),
        StatisticsService(
            status=status,
            interval_seconds=configuration.statistics_seconds,
            reactor=reactor,
            tell=lambda line: notify.send({"STATUS": line}),
        ),
    ]


def _routes(
    configuration: Configuration,
    lookups: LookupFiles,
    notices: Notices,
    wall: WallClock,
    reactor: Reactor,
) -> tuple[dict[str, Route], Mapping[str, LateTokens]]:
    """The way into each destination's queue, and the tokens for it, by its id."""
    rewriting = Rewriting(
        configuration,
        zone=local_zone(),
        now=wall.now,
        lookup=lookups.open,
        started_at=reactor.seconds(),
        warn=lambda destination, kind, text: notices.warn(f"destination {destination}", kind, text),
    )
    routes = {
        destination.id: rewriting.route(destination) for destination in configuration.destinations
    }
    if rewriting.problems:  # a file that was right when the configuration was read
        raise StartRefused("\n".join(rewriting.problems))
    return routes, rewriting.tokens


def _way(route: Route, limit: QueueLimit, *, reserved: bool) -> Route:
    """`route` for one of the sources that use it."""
    return replace(route, limit=limit, reserved=reserved) if limit.sheds else route


def _warn_unrouted(source: str, notices: Notices, count: int) -> None:
    notices.warn(
        f"source {source}",
        "no-destination",
        f"{counted(count, 'message')} dropped: no destination takes them; if they are wanted, add "
        "a destination without match, or widen one",
    )


def _sequences(source: SourceConfiguration, notices: Notices) -> SequenceCheck | None:
    if not source.check_sequence:
        return None

    def warn(counter: str, missing: int | None) -> None:
        words = f"missing: {counted(missing or 0, 'message')} that {counter} has numbered"
        if missing is None:
            words = (
                f"the numbers of {counter} jump by more than {BELIEVED_RECORDS_MAX:,}: that many "
                "are not believed to be missing, and none is counted"
            )
        notices.warn(f"source {source.id}", "sequence", words, group=f"sequence of {counter}")

    return SequenceCheck(warn)
