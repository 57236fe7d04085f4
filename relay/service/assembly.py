"""The whole program on one page: what there is, and who knows whom."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from relay import __version__
from relay.flow.intake import Intake
from relay.flow.routing import Route
from relay.model.counters import SourceCounters
from relay.observe.control import ControlFactory
from relay.observe.status import Status
from relay.queue.admission import Admission
from relay.queue.limits import QueueLimit
from relay.service.authorising import new_authorise
from relay.service.certificate_watch import CertificateWatch
from relay.service.configuration import Configuration, SourceConfiguration
from relay.service.destinations import new_destination
from relay.service.journal_source import new_journal_source
from relay.service.notifying import NotifyService
from relay.service.observing import ControlService, HangupService, StatisticsService
from relay.service.queue_limits import new_limits
from relay.service.queue_service import QueueService
from relay.service.queue_watch import QueueWatch
from relay.service.relay_service import RelayService, local_zone
from relay.service.rewriting import new_rewrite
from relay.service.sequence import ConcurrentService
from relay.service.source import SourceService
from relay.service.sources import new_source
from relay.service.state_dir import refuse_volatile
from relay.service.systemd import NO_SYSTEMD, Systemd
from relay.transport.notices import Notices
from relay.transport.notify_socket import NotifySocket

__all__ = ["assemble"]

_MAP_SLACK_BYTES = 1024**3


def assemble(
    reactor: Any, configuration: Configuration, systemd: Systemd = NO_SYSTEMD
) -> RelayService:
    """Build the service tree.  Opens nothing; the services say when that happens.

    Args:
        reactor: Provides IReactorTime, IReactorThreads, IReactorFDSet, IReactorTCP
            and IReactorSocket (zope interfaces have no intersection type, hence Any).
        systemd: What it passed to the process.

    Raises:
        StartRefused: A source is to use an inherited socket that is not there.
    """
    notices = Notices(clock=reactor, log=Logger(namespace="relay"))
    admission = _admission(configuration)
    limits = new_limits(configuration, notices)
    queue = _queue(configuration, admission, limits, notices, reactor)
    certificates = CertificateWatch(notices=notices, reactor=reactor)
    destinations = [
        new_destination(
            destination, queue=queue, certificates=certificates, notices=notices, reactor=reactor
        )
        for destination in configuration.destinations
    ]
    sources = [
        _source(
            *(source, configuration, queue, admission, limits),
            *(certificates, notices, reactor, systemd),
        )
        for source in configuration.sources
    ]
    _warn_of_unused(systemd, configuration, notices)
    status = Status(
        name=configuration.name,
        version=__version__,
        state_dir=configuration.state_dir,
        sources=sources,
        destinations=destinations,
        admission=admission,
        orphans=lambda: queue.orphans,
        certificates=certificates.report,
        now=reactor.seconds,
        allocated_bytes=lambda: queue.allocated_bytes,
    )
    notify = NotifySocket(systemd.notify_socket)
    reopen = [destination.reopen for destination in destinations]
    return RelayService(  # started top down, stopped bottom up
        [
            HangupService(callbacks=[*reopen, certificates.check], reactor=reactor),
            certificates,
            queue,
            ConcurrentService(destinations),
            QueueWatch(queue, admission, limits, notices=notices, clock=reactor),
            *_observers(configuration, status, notify, reactor),
            ConcurrentService(sources),
            NotifyService(
                notify=notify, watchdog_seconds=systemd.watchdog_seconds, reactor=reactor
            ),
        ]
    )


def _admission(configuration: Configuration) -> Admission:
    return Admission(
        pending_bytes_max=configuration.pending_bytes_max,
        queue_bytes_max=configuration.queue_bytes_max,
        reserve_bytes=configuration.reserve,
        free_bytes_min=configuration.min_free_bytes,
    )


def _queue(
    configuration: Configuration,
    admission: Admission,
    limits: Mapping[str, QueueLimit],
    notices: Notices,
    reactor: Any,
) -> QueueService:
    return QueueService(
        path=os.path.join(configuration.state_dir, "queue"),
        destinations=[destination.id for destination in configuration.destinations],
        sources=[source.id for source in configuration.sources if _sets_aside(source)],
        # A full map cannot even delete: admission has to close long before.
        map_bytes=2 * configuration.queue_bytes_max + _MAP_SLACK_BYTES,
        admission=admission,
        notices=notices,
        reactor=reactor,
        check_path=_check_nothing if configuration.allow_volatile_state else refuse_volatile,
        limits=limits.values(),
    )


def _source(
    source: SourceConfiguration,
    configuration: Configuration,
    queue: QueueService,
    admission: Admission,
    limits: Mapping[str, QueueLimit],
    certificates: CertificateWatch,
    notices: Notices,
    reactor: Any,
    systemd: Systemd,
) -> SourceService:
    counters = SourceCounters()
    routes = _routes(configuration, source, limits)
    gauges = [limits[route.destination].gauge for route in routes]
    admission_of_source = admission.for_source(
        [gauge for gauge in gauges if gauge is not None], reserved=source.uses_reserve
    )
    intake = Intake(
        routes=routes,
        append=queue.append,
        now=reactor.seconds,
        counters=counters,
        quarantine_bytes_max=configuration.quarantine_bytes_max,
        authorise=new_authorise(source, configuration.apps, notices=notices),
        quarantines_unauthorised=source.unauthorised == "quarantine",
    )
    if source.listen.scheme == "journald":
        return new_journal_source(
            source,
            intake=intake,
            admission=admission_of_source,
            counters=counters,
            positions=queue.positions,
            notices=notices,
            reactor=reactor,
        )
    return new_source(
        source,
        intake=intake,
        admission=admission_of_source,
        counters=counters,
        certificates=certificates,
        notices=notices,
        reactor=reactor,
        systemd=systemd,
        local_block_seconds_max=configuration.local_block_seconds_max,
    )


def _warn_of_unused(systemd: Systemd, configuration: Configuration, notices: Notices) -> None:
    for unused in systemd.unused(source.listen for source in configuration.sources):
        notices.warn("systemd", unused, f"passed the socket {unused}, and no source listens on it")


def _observers(
    configuration: Configuration, status: Status, notify: NotifySocket, reactor: Any
) -> list[Service]:
    return [
        ControlService(
            path=os.path.join(configuration.state_dir, "control.sock"),
            factory=ControlFactory({"status": status.document}, clock=reactor),
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
    configuration: Configuration, source: SourceConfiguration, limits: Mapping[str, QueueLimit]
) -> list[Route]:
    new = partial(
        new_rewrite,
        relay_name=configuration.name.encode("ascii", "replace"),
        zone=local_zone(),
    )
    return [
        Route(
            destination.id,
            new(destination.rewrite),
            frozenset(destination.apps) or None,
            limit=limit if (limit := limits[destination.id]).sheds else None,
            reserved=source.uses_reserve,
        )
        for destination in configuration.destinations
        if source.id in destination.sources
    ]


def _sets_aside(source: SourceConfiguration) -> bool:
    """Whether there may be a quarantine of what came from `source`."""
    return bool(source.authorise) and source.unauthorised == "quarantine"


def _check_nothing(path: str) -> None:
    pass
