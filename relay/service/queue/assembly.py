"""The queue and its watches, as configured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from twisted.application.service import Service

from relay.model.clock import Clock, Reactor, WallClock
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.files.map_size import roomy_map_bytes
from relay.queue.repair.compatibility import refuse_other_version
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.exit_status import ExitStatus
from relay.service.queue.compaction import CompactionService
from relay.service.queue.limits import new_histories
from relay.service.queue.service import QueueService, QueueSettings
from relay.service.queue.state_dir import refuse_unfit, refuse_used
from relay.service.queue.view import QueueParts
from relay.service.queue.watches import HistoryWatch, PlaceWatch, QuarantineLimits, QueueWatch
from relay.transport.notices import Notices


def new_admission(configuration: Configuration) -> Admission:
    """The admission, which decides whether there is room for new messages."""
    return Admission(**_room(configuration))


def change_admission(admission: Admission, configuration: Configuration) -> None:
    """Have in `admission` what another configuration says."""
    admission.change(**_room(configuration))


class _Room(TypedDict):
    pending_bytes_max: int
    queue_bytes_max: int
    reserve_bytes: int
    free_bytes_min: int


def _room(configuration: Configuration) -> _Room:
    return _Room(
        pending_bytes_max=configuration.pending_max,
        queue_bytes_max=configuration.queue_bytes_max,
        reserve_bytes=configuration.reserve,
        free_bytes_min=configuration.min_free_bytes,
    )


def new_queue(
    configuration: Configuration,
    admission: Admission,
    limits: Mapping[str, QueueLimit],
    notices: Notices,
    wall: WallClock,
    reactor: Reactor,
) -> QueueService:
    """The queue of all destinations.  Opens nothing before its `startService`."""
    parts = QueueParts(
        *(new_histories(configuration), admission, notices, reactor, wall, ExitStatus(reactor))
    )
    return QueueService(queue_settings(configuration, limits), parts)


def queue_settings(configuration: Configuration, limits: Mapping[str, QueueLimit]) -> QueueSettings:
    """How `configuration` wants the queue.

    Args:
        limits: Those of its destinations.
    """
    return QueueSettings(
        path=os.path.join(configuration.state_dir, "queue"),
        destinations=[destination.id for destination in configuration.destinations],
        sources=[source.id for source in configuration.sources if sets_aside(source)],
        lanes=[each.id for each in configuration.destinations if each.backlog_percent],
        map_bytes=roomy_map_bytes(configuration.queue_bytes_max),
        check_path=partial(_check_path, may_forget=configuration.allow_volatile_state),
        limits=tuple(limits.values()),
        strict=configuration.strict_queue,
        fully=configuration.examine_fully,
        relay_name=configuration.name if configuration.hops_max else "",
        commit_seconds_min=configuration.commit_seconds_min,
        lineages_max=configuration.lineages_max,
    )


def new_compaction(
    configuration: Configuration, queue: QueueService, notices: Notices, clock: Reactor
) -> CompactionService:
    return CompactionService(
        queue=queue,
        free_percent=configuration.compact_free_percent,
        notices=notices,
        clock=clock,
    )


@dataclass(frozen=True, slots=True)
class Watches:
    """The services that look after the queue."""

    place: PlaceWatch
    quarantines: QuarantineLimits
    room: QueueWatch
    histories: HistoryWatch

    def in_order(self) -> list[Service]:
        """In the order of their start."""
        return [self.place, self.quarantines, self.room, self.histories]

    def use(self, configuration: Configuration) -> None:
        """Look after what another configuration says."""
        self.quarantines.bytes_max = configuration.quarantine_bytes_max
        self.quarantines.seconds_max = configuration.quarantine_seconds_max
        self.histories.free_bytes_min = configuration.min_free_bytes
        self.room.follow()


def new_watches(
    configuration: Configuration,
    queue: QueueService,
    admission: Admission,
    limits: Mapping[str, QueueLimit],
    notices: Notices,
    wall: WallClock,
    clock: Clock,
) -> Watches:
    """Make them."""
    return Watches(
        PlaceWatch(queue=queue, clock=clock),
        QuarantineLimits(
            queue=queue,
            bytes_max=configuration.quarantine_bytes_max,
            seconds_max=configuration.quarantine_seconds_max,
            notices=notices,
            wall=wall,
            clock=clock,
        ),
        QueueWatch(
            queue=queue, admission=admission, limits=limits, notices=notices, wall=wall, clock=clock
        ),
        HistoryWatch(
            queue=queue,
            destinations=limits,
            free_bytes_min=configuration.min_free_bytes,
            notices=notices,
            wall=wall,
            clock=clock,
        ),
    )


def sets_aside(source: SourceConfiguration) -> bool:
    """Whether `source` may quarantine frames."""
    unauthorised = bool(source.authorise) and source.unauthorised == "quarantine"
    return unauthorised or source.oversize == "quarantine"


def _check_path(path: str, *, may_forget: bool) -> None:
    refuse_used(path)
    refuse_unfit(path, may_forget=may_forget)
    refuse_other_version(path)
