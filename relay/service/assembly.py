"""The whole program on one page: what there is, and who knows whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from twisted.application.service import Service
from twisted.logger import Logger

from relay import __version__
from relay.codec import IS_COMPILED
from relay.flow.intake import Intake, Quarantine, Reading
from relay.flow.routing import GROUPS, Route
from relay.flow.sequences import SequenceCheck
from relay.model.clock import Now, Reactor, WallClock
from relay.model.counters.kept import KeptCounters
from relay.model.counters.samples import Samples
from relay.model.counters.source import BELIEVED_RECORDS_MAX, SourceCounters
from relay.model.fleet import FleetTable
from relay.model.text import counted
from relay.observe.control import Command, ControlFactory
from relay.observe.log_levels import LOG_LEVELS
from relay.observe.status import FileUsage, Identity, Status
from relay.queue.files.ownership import owner_text
from relay.rewrite.steps.pipeline import Pipeline
from relay.service.alerts.service import alert_sections, new_alerts
from relay.service.alerts.watching import WatchRules
from relay.service.clock_watch import ClockWatch
from relay.service.configuration.effective import effective
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.destinations.commands import DestinationTools
from relay.service.destinations.kind import DestinationParts, in_thread
from relay.service.destinations.service import DestinationService, fleet_report_of
from relay.service.destinations.stall_detector import StallDetector
from relay.service.handover.arrival import Arrival
from relay.service.handover.service import new_handover
from relay.service.kinds import KINDS, RelayKinds
from relay.service.observing import (
    ConfigurationChange,
    ControlService,
    HangupService,
    StatisticsService,
)
from relay.service.process.log import LogService
from relay.service.process.settings import open_files_warning
from relay.service.process.start_signs import StartSigns
from relay.service.process.systemd import NO_SYSTEMD, NotifyService, Systemd
from relay.service.queue.assembly import (
    new_admission,
    new_compaction,
    new_queue,
    new_watches,
)
from relay.service.queue.commands import QueueTools
from relay.service.queue.limits import new_limits
from relay.service.refusal import StartRefused
from relay.service.relay_service import ConcurrentService, RelayService, StopGuard, local_zone
from relay.service.routes.expression_watch import ExpressionWatch
from relay.service.routes.flushing import FlushService
from relay.service.routes.late_tokens import TokenWatch
from relay.service.routes.lookup_file import LookupFiles
from relay.service.routes.rewriting import Rewriting
from relay.service.sampling import RateSampler, ReactorDelay
from relay.service.sources.authorising import new_authorise
from relay.service.sources.commands import SourceTools
from relay.service.sources.counting import new_counter_keeper
from relay.service.sources.kind import SourceParts
from relay.service.sources.service import (
    KeptPositions,
    Receiving,
    SourceService,
)
from relay.service.tapping import new_taps, tap_commands
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.web.pages import WebParts, new_web_service
from relay.service.web.service import WebService
from relay.transport.notices import Notices
from relay.transport.notify_socket import NotifySocket
from relay.transport.reception import Reception
from relay.wire.hops import LOOP, LoopGuard
from relay.wire.parse_options import new_parser
from relay.wire.relp.fleet import format_fleet

_log = Logger(namespace="relay")


def assemble(
    reactor: Reactor,
    configuration: Configuration,
    systemd: Systemd = NO_SYSTEMD,
    *,
    now: Now,
    kinds: RelayKinds = KINDS,
    arrival: Arrival | None = None,
) -> RelayService:
    """Build the service tree.  Opens nothing; the services say when that happens.

    Args:
        reactor: Provides IReactorTime, IReactorThreads, IReactorFDSet, IReactorTCP
            and IReactorSocket.
            Its `seconds` is a clock that is never set (`settings.py`).
        systemd: What it passed to the process.
        now: The time of day, for stamps.
        kinds: Those of its sources and destinations.
        arrival: What an earlier process has left; None = nothing.

    Raises:
        StartRefused: A source is to use an inherited socket that is not there.
    """
    arrival = arrival or Arrival(systemd=systemd)
    return _Relay(reactor, configuration, arrival, now, kinds).service()


class _Relay:
    """All parts of a relay, each made with those before it."""

    def __init__(
        self,
        reactor: Reactor,
        configuration: Configuration,
        arrival: Arrival,
        now: Now,
        kinds: RelayKinds,
    ) -> None:
        self.reactor, self.configuration = reactor, configuration
        self.systemd, self.now, self.held = arrival.systemd, now, arrival.held
        self.log = LogService(configuration.log_level)
        self.notices = notices = Notices(clock=reactor, log=_log)
        self.wall = wall = WallClock(now=now, elapsed=reactor.seconds)
        self.admission = new_admission(configuration)
        self.limits = new_limits(configuration, notices)
        basis = configuration, self.admission, self.limits
        self.queue = queue = new_queue(*basis, notices, wall, reactor)
        self.certificates = CertificateWatch(notices=notices, now=now, clock=reactor)
        self.lookups = _new_lookups(notices, reactor)
        self.routes, rewriting = self._routes()
        self.fleet = FleetTable()
        self.destinations = self._destinations(rewriting, kinds)
        self.token_watch = TokenWatch(tokens=rewriting.tokens, notices=notices, clock=reactor)
        self.watch_rules = WatchRules(configuration, zone=local_zone())
        self.sources = self._sources(kinds)
        self.secrets = rewriting.secrets
        self.taps = new_taps(self.sources, self.destinations, rewriting, wall, reactor)
        accounts = [each.status for each in self.destinations]
        rules = self.watch_rules.counters
        self.rates = RateSampler(
            sources=self.sources, destinations=accounts, rules=rules, clock=reactor
        )
        self.reactor_delay = ReactorDelay(clock=reactor)
        _warn_at_start(configuration, self.systemd, notices)
        self.counters = new_counter_keeper(self.sources, queue, wall, reactor)
        self.kept = KeptPositions((each.id for each in configuration.sources), queue=queue)
        self.status = self._status()
        self.alerts = new_alerts(
            *(configuration, self.status.document, self.sources, self.certificates),
            *(notices, now, reactor),
        )
        self.compaction = new_compaction(configuration, queue, notices, reactor)
        self.tools = DestinationTools(self.destinations, queue=queue, now=now)
        self.handover = new_handover(arrival, configuration, self.sources, reactor, now)
        self.commands = self._commands()
        self.web = _web(self)
        self.notify = NotifySocket(self.systemd.notify_socket)
        self.progress = StallDetector(
            destinations=self.destinations, notices=notices, clock=reactor
        )

    def service(self) -> RelayService:
        """Started top down, stopped bottom up."""
        configuration, queue, clock = self.configuration, self.queue, self.reactor
        signs, notify = _signals(self)
        on_hangup = [each.reopen for each in self.destinations]
        watches = (self.certificates, self.token_watch, self.lookups)
        on_hangup += [each.look for each in watches]
        on_hangup += [ConfigurationChange(configuration.path).look]
        return RelayService(
            [
                *(
                    self.log,
                    StopGuard(reactor=clock),
                    signs,
                    HangupService(callbacks=on_hangup, reactor=clock),
                ),
                *watches,
                *(queue, ClockWatch(wall=self.wall, queue=queue, clock=clock)),
                *(self.counters, self.kept, self.compaction),
                FlushService(
                    routes=[self._way(id, reserved=False) for id in self.routes],
                    append=queue.committer.append,
                    load=partial(queue.view.positions, GROUPS),
                    now=self.now,
                    clock=clock,
                ),
                *(ConcurrentService(self.destinations), self.tools, self.progress),
                ExpressionWatch(notices=self.notices, clock=clock),
                *new_watches(
                    *(configuration, queue, self.admission, self.limits),
                    *(self.notices, self.wall, clock),
                ),
                *(self.rates, self.reactor_delay, *_observers(self)),
                *(self.handover.first, ConcurrentService(self.sources), self.handover.last),
                notify,
            ],
            exit_status=queue.exit_status,
            end_process=self.handover.end,
        )

    def _routes(self) -> tuple[dict[str, Route], Rewriting]:
        """The way into each destination's queue by its id, and what has made it."""
        warn = self.notices.warn
        rewriting = Rewriting(
            self.configuration,
            zone=local_zone(),
            now=self.wall.now,
            lookup=self.lookups.open,
            started_at=self.reactor.seconds(),
            hop=self.queue.hop,
            warn=lambda destination, kind, text: warn(f"destination {destination}", kind, text),
        )
        routes = {each.id: rewriting.route(each) for each in self.configuration.destinations}
        if rewriting.problems:  # a file that was right when the configuration was read
            raise StartRefused("\n".join(rewriting.problems))
        return routes, rewriting

    def _destinations(self, rewriting: Rewriting, kinds: RelayKinds) -> list[DestinationService]:
        queue, tokens = self.queue, rewriting.tokens
        parts = DestinationParts(
            *(self.certificates, self.notices, self.wall, self.reactor, queue.hop),
            fleet_offer=format_fleet(self.configuration.name, __version__),
            fleet_report=lambda: fleet_report_of(self.destinations),
        )
        return [
            DestinationService(each, queue, parts, kind.make(each, parts), tokens[each.id], sized)
            for each in self.configuration.destinations
            for kind in [kinds.destination(each.connect.scheme)]
            for sized in [rewriting.sized.get(each.id)]
        ]

    def _sources(self, kinds: RelayKinds) -> list[SourceService]:
        parts = SourceParts(
            relay_name=self.configuration.name,
            certificates=self.certificates,
            wall=self.wall,
            positions=self.queue.view.positions,
            lineages=self.queue.lineages,
            systemd=self.systemd,
            hop=self.queue.hop,
            fleet=self.fleet,
            local_block_seconds_max=self.configuration.local_block_seconds_max,
        )
        sources = []
        for source in self.configuration.sources:
            kind = kinds.source(source.listen.scheme)
            sources.append(kind.make(source, self._receiving(source, kind.answers), parts))
        return sources

    def _receiving(self, source: SourceConfiguration, answers: bool) -> Receiving:
        fed = [each.id for each in self.configuration.destinations if source.id in each.sources]
        marks = [mark for id in fed if (mark := self.limits[id].watermark) is not None]
        counters = SourceCounters(samples=Samples(self.wall.now))
        kept = KeptCounters(source.id, counters)
        authorise = new_authorise(source, self.configuration.apps, notices=self.notices)
        intake = Intake(
            routes=[self._way(id, reserved=source.reserved) for id in fed],
            append=self.queue.committer.append,
            wall=self.wall,
            counters=kept,
            reading=Reading(
                new_parser(source.parse, zone=local_zone()),
                authorise,
                _sequences(source, self.notices),
                self._guard(source, fed),
                self.watch_rules.of(source, counters),
                source.parse.default_severity,
            ),
            quarantine=Quarantine(
                long=source.oversize == "quarantine",
                unauthorised=source.unauthorised == "quarantine",
                bytes_max=self.configuration.quarantine_bytes_max,
            ),
            answers=answers,
            on_unrouted=partial(_warn_unrouted, source.id, self.notices),
        )
        admission = self.admission.for_source(marks, reserved=source.reserved)
        reception = Reception(
            source.id, intake, admission, counters, self.notices, source.transport
        )
        ledger = partial(self.queue.view.source_ledger, source.id)
        owner = partial(owner_text, os.path.join(self.configuration.state_dir, "queue"))
        return Receiving(reception, self.reactor, ledger, authorise, owner, kept, self.held)

    def _guard(self, source: SourceConfiguration, fed: Sequence[str]) -> LoopGuard | None:
        if not self.configuration.hops_max:
            return None
        return LoopGuard(
            self.queue.hop,
            hops_max=self.configuration.hops_max,
            carries=any(self.routes[id].carries_hops for id in fed),
            on_drop=partial(_warn_of_loop, source.id, self.notices),
        )

    def _way(self, id: str, *, reserved: bool) -> Route:
        """The route to a destination for one of the sources that use it."""
        route, limit = self.routes[id], self.limits[id]
        return replace(route, limit=limit, reserved=reserved) if limit.sheds else route

    def _status(self) -> Status:
        configuration, queue = self.configuration, self.queue
        sections: Mapping[str, Callable[[], object]] = {  # shown as they are
            "orphans": lambda: queue.view.orphans,
            "sources_gone": lambda: self.kept.gone,
            "damaged_files": lambda: queue.view.damaged_files,
            "certificates": self.certificates.report,
            "rates": self.rates.report,
            "watch": self.rates.watch_report,
            "reactor_delay_seconds": self.reactor_delay.seconds.report,
            "commit_seconds": queue.committer.times.whole.report,
            "commit_writing_seconds": queue.committer.times.writing.report,
            "tables": self.lookups.report,
            "log": LOG_LEVELS.report,
            "fleet": lambda: self.fleet.report(self.reactor.seconds()),
            "waiting_in_groups": partial(_waiting_in_groups, self.routes),
            "web": lambda: self.web and self.web.report(),
            **alert_sections(lambda: self.alerts),
        }
        return Status(
            Identity(configuration.name, __version__, IS_COMPILED, configuration.state_dir),
            sources=self.sources,
            destinations=self.destinations,
            admission=self.admission,
            sections=sections,
            elapsed=self.reactor.seconds,
            file_usage=lambda: FileUsage(queue.view.allocated_bytes, queue.histories.used_bytes),
            last_errors=self.notices.last_of,
        )

    def _commands(self) -> dict[str, Command]:
        """What the control socket offers, by name."""
        tools = QueueTools(
            queue=self.queue,
            destinations=self.destinations,
            admission=self.admission,
            clock=self.reactor,
            limits=self.limits,
        )
        asked = {**tools.commands(), **self.compaction.commands()}
        sources = SourceTools(
            self.sources,
            elapsed=self.reactor.seconds,
            secrets=self.secrets,
            shed={id: each.samples for id, each in self.routes.items() if each.samples is not None},
        )
        return {
            "status": self.status.document,
            "alerts": lambda: self.alerts and self.alerts.report(),
            "configuration": lambda: effective(self.configuration, KINDS),
            **asked,
            **self.log.commands(),
            **self.tools.commands(),
            **sources.commands(),
            **tap_commands(self.taps),
            **self.handover.commands(),
        }


def _observers(relay: _Relay) -> list[Service]:
    return [
        ControlService(
            path=os.path.join(relay.configuration.state_dir, "control.sock"),
            factory=ControlFactory(relay.commands, clock=relay.reactor),
            clock=relay.reactor,
        ),
        StatisticsService(
            status=relay.status,
            interval_seconds=relay.configuration.statistics_seconds,
            clock=relay.reactor,
            tell=lambda line: relay.notify.send({"STATUS": line}),
        ),
        *(each for each in (relay.alerts, relay.web) if each is not None),
    ]


def _signals(relay: _Relay) -> tuple[StartSigns, NotifyService]:
    """What the service manager hears before the relay is ready, and from then on."""
    seconds = relay.systemd.watchdog_seconds
    signs = StartSigns(relay.notify.send, watchdog_seconds=seconds)
    return signs, NotifyService(
        send=signs.send,
        watchdog_seconds=seconds,
        clock=relay.reactor,
        is_well=lambda: relay.progress.is_well,
        farewell=relay.handover.farewell,
    )


def _web(relay: _Relay) -> WebService | None:
    return new_web_service(
        WebParts(
            configuration=relay.configuration,
            status=relay.status,
            sources=relay.sources,
            rates=relay.rates,
            view=relay.queue.view,
            taps=relay.taps,
            secrets=relay.secrets,
            commands=relay.commands,
            certificates=relay.certificates,
            notices=relay.notices,
            wall=relay.wall,
            reactor=relay.reactor,
        )
    )


def _warn_at_start(configuration: Configuration, systemd: Systemd, notices: Notices) -> None:
    for warning in configuration.placed_warnings:
        _log.warn("{warning}", warning=warning)
    if text := open_files_warning(configuration.sources, len(configuration.destinations)):
        _log.warn("{text}", text=text)
    for unused in systemd.unused(source.listen for source in configuration.sources):
        text = f"passed the socket {unused}, and no source listens on it"
        notices.warn("systemd", unused, text)


def _new_lookups(notices: Notices, reactor: Reactor) -> LookupFiles:
    return LookupFiles(notices=notices, run_in_thread=partial(in_thread, reactor), clock=reactor)


def _waiting_in_groups(routes: Mapping[str, Route]) -> dict[str, int]:
    """Messages that wait for others of their group, by destination."""
    pipelines = {id: route.rewrite for id, route in routes.items()}
    return {
        id: pipeline.waiting
        for id, pipeline in pipelines.items()
        if isinstance(pipeline, Pipeline) and pipeline.keeps
    }


def _warn_unrouted(source: str, notices: Notices, count: int) -> None:
    notices.warn(
        f"source {source}",
        "no-destination",
        f"{counted(count, 'message')} dropped: no destination takes them; if they are wanted, add "
        "a destination without match, or widen one",
    )


def _warn_of_loop(source: str, notices: Notices, reason: str, count: int, ring: str) -> None:
    why = (
        f"they have been here before, by {ring}; take one of these relays out of the ring, or "
        "filter what it sends back"
        if reason == LOOP
        else f"they have passed more than relay.hops_max relays: {ring}"
    )
    text = f"{counted(count, 'message')} dropped: {why}"
    notices.warn(f"source {source}", reason, text, group=f"{reason} of messages")


def _sequences(source: SourceConfiguration, notices: Notices) -> SequenceCheck | None:
    if not source.check_sequence:
        return None

    def warn(counter: str, missing: int | None) -> None:
        text = f"missing: {counted(missing or 0, 'message')} that {counter} has numbered"
        if missing is None:
            text = (
                f"the numbers of {counter} jump by more than {BELIEVED_RECORDS_MAX:,}: that many "
                "are not believed to be missing, and none is counted"
            )
        notices.warn(f"source {source.id}", "sequence", text, group=f"sequence of {counter}")

    return SequenceCheck(warn)
