"""The limits of the queue, made from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from relay.model.text import counted
from relay.queue.admission.limits import TOO_OLD, QueueLimit
from relay.queue.history.keep import Histories, HistoryLimit
from relay.queue.transaction import account_of_lane
from relay.service.configuration.model import Configuration, DestinationConfiguration
from relay.service.configuration.table import join_path, plain, size_text
from relay.transport.notices import Notices

_BYTES_MIN = 1024**2  # several blocks
_WHAT_TO_DO = "raise it, or bring the upstream back"


def new_limits(configuration: Configuration, notices: Notices) -> dict[str, QueueLimit]:
    """The limit of each destination, by its id; some of them limit nothing."""
    return {
        destination.id: new_limit(destination, configuration, notices)
        for destination in configuration.destinations
    }


def new_limit(
    destination: DestinationConfiguration, configuration: Configuration, notices: Notices
) -> QueueLimit:
    """The limit of one destination."""
    limit = QueueLimit(destination=destination.id)
    change_limit(limit, destination, configuration, notices)
    return limit


def change_limit(
    limit: QueueLimit,
    destination: DestinationConfiguration,
    configuration: Configuration,
    notices: Notices,
) -> None:
    """Have in `limit` what a configuration says."""
    limit.change(
        bytes_max=destination.limits.queue_bytes_max,
        seconds_max=destination.limits.queue_seconds_max,
        when_full=destination.limits.when_full,
        reserve_bytes=configuration.reserve,
        on_drop=_on_drop(destination, notices),
    )


def new_histories(configuration: Configuration) -> Histories:
    """The histories of delivered messages.

    It goes before sources have to wait, so the reserve is no room for it.
    """
    default = configuration.queue_bytes_max // 4
    limits: dict[str, HistoryLimit] = {}
    for destination in configuration.destinations:
        if destination.kept.history:
            size = destination.kept.history_bytes_max or default
            ids = [destination.id]
            if destination.backlog_percent:  # one for each of its queues
                ids.append(account_of_lane(destination.id))
            limits |= dict.fromkeys(ids, HistoryLimit(destination.kept.history, size // len(ids)))
    return Histories(limits, room_bytes=configuration.queue_bytes_max - configuration.reserve)


def limit_problems(configuration: Configuration) -> list[str]:
    """Limits that do not fit together, a line each."""
    problems = []
    relay_max = configuration.queue_bytes_max
    if 2 * configuration.reserve > relay_max:
        setting = "pending_bytes_max" if configuration.reserve_bytes is None else "reserve_bytes"
        problems.append(
            f"relay.{setting}: {size_text(configuration.reserve)} is more than half of "
            f"queue_bytes_max, {size_text(relay_max)}; change one of them"
        )
    if 0 < configuration.reserve < configuration.pending_max:
        pending = size_text(configuration.pending_max)
        reserve = size_text(configuration.reserve)
        problems.append(
            f"relay.reserve_bytes: {reserve} is less than pending_bytes_max, {pending}, so one "
            f"burst can take all of it; raise reserve_bytes to {pending} or more, lower "
            f"pending_bytes_max to {reserve} or less, or set reserve_bytes to 0 for no reserve"
        )
    for destination in configuration.destinations:
        key = partial(join_path, join_path("destinations", destination.id))
        limits = destination.limits
        if limits.when_full != "block" and not limits.queue_bytes_max:
            problems.append(
                f"{key('when_full')}: has no meaning without a limit; set queue_bytes_max for this "
                "destination too"
            )
        if 0 < limits.queue_bytes_max < _BYTES_MIN:
            problems.append(
                f"{key('queue_bytes_max')}: {size_text(limits.queue_bytes_max)} is less "
                f"than {size_text(_BYTES_MIN)}, the least that makes sense; 0 is no limit"
            )
        if limits.queue_bytes_max > relay_max:
            problems.append(
                f"{key('queue_bytes_max')}: {size_text(limits.queue_bytes_max)} is more "
                f"than relay.queue_bytes_max, {size_text(relay_max)}; change one of them"
            )
        problems += _history_problems(destination, configuration, key)
    return problems


def _history_problems(
    destination: DestinationConfiguration, configuration: Configuration, key: Callable[[str], str]
) -> list[str]:
    size = destination.kept.history_bytes_max
    if size is None:
        return []
    if not destination.kept.history:
        return [
            f"{key('history_bytes_max')}: has no meaning without a history; set history for this "
            'destination too, for example history = "6h"'
        ]
    room = configuration.queue_bytes_max - configuration.reserve
    if size > room:
        return [
            f"{key('history_bytes_max')}: {size_text(size)} is more than there can ever be "
            f"room for: relay.queue_bytes_max without reserve_bytes is {size_text(room)}; "
            "change one of them"
        ]
    return []


def _on_drop(destination: DestinationConfiguration, notices: Notices) -> Callable[[int, str], None]:
    key = partial(join_path, join_path("destinations", destination.id))
    limits = destination.limits
    full = (
        f"{key('queue_bytes_max')} is {size_text(limits.queue_bytes_max)} and when_full "
        f'"{limits.when_full}": {_WHAT_TO_DO}'
    )
    old = f"{key('queue_seconds_max')} is {plain(limits.queue_seconds_max)}: {_WHAT_TO_DO}"

    def on_drop(count: int, reason: str) -> None:
        why = old if reason == TOO_OLD else full
        notices.warn(
            f"destination {destination.id}",
            reason,
            f"{counted(count, 'message')} dropped ({reason}): {why}",
        )

    return on_drop
