"""The whole program on one page: what there is, and who knows whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from twisted.application.service import Service
from twisted.logger import Logger

from relay import __version__
from relay.codec import IS_COMPILED
from relay.flow.routing import GROUPS
from relay.model.clock import Now, Reactor, WallClock
from relay.observe.control import Command, ControlFactory
from relay.observe.log_levels import LOG_LEVELS
from relay.observe.status import FileUsage, Identity, Status
from relay.service.alerts.service import AlertService, alert_sections, new_alerts
from relay.service.clock_watch import ClockWatch
from relay.service.configuration.effective import effective
from relay.service.configuration.model import Configuration
from relay.service.destinations.commands import DestinationTools
from relay.service.destinations.kind import in_thread
from relay.service.destinations.stall_detector import StallDetector
from relay.service.handover.arrival import Arrival
from relay.service.handover.service import new_handover
from relay.service.kinds import KINDS, RelayKinds
from relay.service.observing import ControlService, HangupService, StatisticsService
from relay.service.process.log import LogService
from relay.service.process.settings import open_files_warning
from relay.service.process.start_signs import StartSigns
from relay.service.process.systemd import NO_SYSTEMD, NotifyService, Systemd
from relay.service.queue.assembly import (
    change_admission,
    new_admission,
    new_compaction,
    new_queue,
    new_watches,
)
from relay.service.queue.commands import QueueTools
from relay.service.queue.limits import new_limits
from relay.service.relay_service import RelayService, StopGuard
from relay.service.reloading.changeover import Running
from relay.service.reloading.destinations import Destinations
from relay.service.reloading.live import Live
from relay.service.reloading.optional import OptionalService
from relay.service.reloading.routes import RouteTable
from relay.service.reloading.service import Reloading
from relay.service.reloading.shared import Shared
from relay.service.reloading.sources import Sources
from relay.service.routes.expression_watch import ExpressionWatch
from relay.service.routes.flushing import FlushService
from relay.service.routes.late_tokens import TokenWatch
from relay.service.routes.lookup_file import LookupFiles
from relay.service.sampling import RateSampler, ReactorDelay
from relay.service.sources.commands import SourceTools
from relay.service.sources.counting import new_counter_keeper
from relay.service.sources.service import KeptPositions
from relay.service.stop_lead import StopLead
from relay.service.tapping import new_taps, tap_commands
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.web.pages import WebParts, new_web_service
from relay.service.web.service import WebService
from relay.transport.notices import Notices
from relay.transport.notify_socket import NotifySocket

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
        of_queue = (self.admission, self.limits, notices, wall, reactor)
        self.queue = queue = new_queue(configuration, *of_queue)
        self.certificates = CertificateWatch(notices=notices, now=now, clock=reactor)
        self.lookups = _new_lookups(notices, reactor)
        self.shared = Shared(
            *(kinds, self.systemd, reactor, notices, wall, queue, self.admission, self.limits),
            *(self.certificates, self.held),
        )
        self.routes = _new_routes(self)
        self.destinations = destinations = Destinations(configuration, self.shared, self.routes)
        self.token_watch = TokenWatch(tokens=self.routes.tokens, notices=notices, clock=reactor)
        self.sources = Sources(configuration, self.shared, self.routes, destinations.new_publisher)
        all_sources, all_destinations = self.sources.all, self.destinations.all
        self.taps = new_taps(all_sources, all_destinations, self.routes, wall, reactor)
        self.rates = _new_rates(self)
        self.reactor_delay = ReactorDelay(clock=reactor)
        _warn_at_start(configuration, self.systemd, notices)
        self.counters = new_counter_keeper(all_sources, queue, wall, reactor)
        self.sources.when_added = self.counters.begin
        self.kept = KeptPositions(lambda: self.sources.configurations, queue=queue)
        self.flush = _new_flush(self)
        self.status = self._status()
        self.alerts = OptionalService("alerts", partial(_alerts, self), self.certificates)
        self.compaction = new_compaction(configuration, queue, notices, reactor)
        self.tools = DestinationTools(all_destinations, queue=queue, now=now)
        self.handover = new_handover(arrival, configuration, all_sources, reactor, now)
        self.progress = _new_progress(self)
        self.watches = new_watches(configuration, queue, *of_queue)
        self.notify = NotifySocket(self.systemd.notify_socket)
        self.lead, self.statistics = _new_lead(self), _new_statistics(self)
        self.web = OptionalService("web server", partial(_web, self), self.certificates)
        self.reloading = Reloading(
            configuration, _running(self), now=now, reactor=reactor, tell=self.notify.send
        )
        self.commands = self._commands()

    def service(self) -> RelayService:
        """Started top down, stopped bottom up."""
        for each in (self.alerts, self.web):
            each.begin(self.configuration)
        queue, clock = self.queue, self.reactor
        watches = (self.certificates, self.token_watch, self.lookups)
        signs, notify = _signals(self)
        on_hangup = [self._reopen, *(each.look for each in watches), self.reloading.hang_up]
        service = RelayService(
            [
                *(self.log, StopGuard(reactor=clock, lead=self.lead), signs),
                HangupService(callbacks=on_hangup, reactor=clock),
                *watches,
                *(queue, ClockWatch(wall=self.wall, queue=queue, clock=clock)),
                *(self.counters, self.kept, self.compaction, self.flush),
                *(self.destinations.service, self.tools, self.progress),
                ExpressionWatch(notices=self.notices, clock=clock),
                *self.watches.in_order(),
                *(self.rates, self.reactor_delay, *_observers(self)),
                *(self.handover.first, self.sources.service, self.handover.last),
                notify,
            ],
            exit_status=queue.exit_status,
            end_process=self.handover.end,
        )
        self.reloading.within = service
        service.lead, service.before_stop = self.lead.wait, self.reloading.finish
        return service

    def _reopen(self) -> None:
        for each in self.destinations.all:
            each.reopen()

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
            "fleet": lambda: self.sources.fleet.report(self.reactor.seconds()),
            "waiting_in_groups": self.routes.waiting_in_groups,
            "reload": lambda: self.reloading.last.report(),
            "web": lambda: self.web.current and self.web.current.report(),
            **alert_sections(lambda: self.alerts.current),
        }
        return Status(
            Identity(configuration.name, __version__, IS_COMPILED, configuration.state_dir),
            sources=self.sources.all,
            destinations=self.destinations.all,
            admission=self.admission,
            sections=sections,
            elapsed=self.reactor.seconds,
            file_usage=lambda: FileUsage(queue.view.allocated_bytes, queue.histories.used_bytes),
            last_errors=self.notices.last_of,
        )

    def _commands(self) -> dict[str, Command]:
        """Commands of the control socket, by name."""
        tools = QueueTools(
            queue=self.queue,
            destinations=self.destinations.all,
            admission=self.admission,
            clock=self.reactor,
            limits=self.limits,
        )
        sources = SourceTools(
            self.sources.all,
            elapsed=self.reactor.seconds,
            secrets=self.routes.secrets,
            shed=self.routes.samples,
        )
        return {
            "status": self.status.document,
            "alerts": lambda: self.alerts.current and self.alerts.current.report(),
            **tools.commands(),
            **self.compaction.commands(),
            **self.tools.commands(),
            **sources.commands(),
            **tap_commands(self.taps),
            **self.reloading.commands(),
            "configuration": lambda: in_thread(
                self.reactor, partial(effective, self.reloading.configuration, KINDS)
            ),
            **self.log.commands(),
            **self.handover.commands(),
        }


def _new_routes(relay: _Relay) -> RouteTable:
    return RouteTable(
        relay.configuration,
        lookups=relay.lookups,
        notices=relay.notices,
        wall=relay.wall,
        hop=relay.queue.hop,
        started_at=relay.reactor.seconds(),
    )


def _new_progress(relay: _Relay) -> StallDetector:
    return StallDetector(
        destinations=relay.destinations.all,
        sources=relay.sources.all,
        notices=relay.notices,
        clock=relay.reactor,
    )


def _new_rates(relay: _Relay) -> RateSampler:
    return RateSampler(
        sources=relay.sources.all,
        destinations=relay.destinations.accounts,
        rules=relay.sources.watch_rules.counters,
        clock=relay.reactor,
    )


def _new_lead(relay: _Relay) -> StopLead:
    def seconds() -> float:
        web = relay.reloading.configuration.web
        # A new version takes the sockets over: there is no moment in which nobody listens.
        return 0.0 if web is None or relay.handover.is_upgrade else web.health_lead_seconds

    return StopLead(seconds=seconds, tell=relay.notify.send, clock=relay.reactor)


def _obstacle(relay: _Relay) -> str:
    """Why a balancer should send elsewhere: because of this relay, and not of what all share."""
    if relay.lead.has_begun:
        return "the relay stops"
    return "the queue cannot take more" if relay.admission.is_stopped else ""


def _new_statistics(relay: _Relay) -> StatisticsService:
    return StatisticsService(
        status=relay.status,
        interval_seconds=relay.configuration.statistics_seconds,
        clock=relay.reactor,
        tell=lambda line: relay.notify.send({"STATUS": line}),
    )


def _new_flush(relay: _Relay) -> FlushService:
    routes, limits, queue = relay.routes, relay.limits, relay.queue
    return FlushService(
        routes=Live(
            lambda: {id: routes.way(id, limits[id], reserved=False) for id in routes.routes}
        ),
        append=queue.committer.append,
        load=partial(queue.view.positions, GROUPS),
        now=relay.now,
        clock=relay.reactor,
    )


def _running(relay: _Relay) -> Running:
    """The parts that a reload changes."""

    def use(configuration: Configuration) -> None:
        change_admission(relay.admission, configuration)
        relay.log.use(configuration.log_level)
        relay.watches.use(configuration)
        relay.compaction.free_percent = configuration.compact_free_percent
        relay.statistics.change_interval(configuration.statistics_seconds)

    return Running(
        *(relay.shared, relay.routes, relay.sources, relay.destinations, relay.tools, relay.flush),
        use=use,
        follow=(
            *(relay.token_watch.follow, relay.counters.follow, relay.kept.follow),
            *(relay.rates.follow, relay.taps.follow, relay.progress.follow),
        ),
        optional={"alerts": relay.alerts, "web": relay.web},
        first_of_sources=relay.handover.first,
    )


def _observers(relay: _Relay) -> list[Service]:
    return [
        ControlService(
            path=os.path.join(relay.configuration.state_dir, "control.sock"),
            factory=ControlFactory(relay.commands, clock=relay.reactor),
            clock=relay.reactor,
        ),
        relay.statistics,
        *(each for each in (relay.alerts.current, relay.web.current) if each is not None),
    ]


def _signals(relay: _Relay) -> tuple[StartSigns, NotifyService]:
    """Messages to the service manager before the relay is ready, and from then on."""
    seconds = relay.systemd.watchdog_seconds
    signs = StartSigns(relay.notify.send, watchdog_seconds=seconds)
    return signs, NotifyService(
        send=signs.send,
        watchdog_seconds=seconds,
        clock=relay.reactor,
        is_well=lambda: relay.progress.is_well,
        farewell=relay.handover.farewell,
    )


def _alerts(relay: _Relay, configuration: Configuration) -> AlertService | None:
    return new_alerts(
        *(configuration, relay.status.document, relay.sources.all, relay.certificates),
        *(relay.notices, relay.now, relay.reactor),
    )


def _web(relay: _Relay, configuration: Configuration) -> WebService | None:
    return new_web_service(
        WebParts(
            configuration=configuration,
            status=relay.status,
            sources=relay.sources.all,
            flows=relay.destinations.flows,
            rates=relay.rates,
            view=relay.queue.view,
            taps=relay.taps,
            secrets=relay.routes.secrets,
            commands=relay.commands,
            obstacle=partial(_obstacle, relay),
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
