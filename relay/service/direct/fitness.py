"""Whether a source can be answered by a log, and what its routes do with messages."""

from __future__ import annotations

from collections.abc import Iterator

from relay.service.configuration.kinds import AnyKinds, Places
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    Sending,
    SourceConfiguration,
)
from relay.service.configuration.table import join_path, unknown_name
from relay.service.configuration.tables import step


def may_drop(destination: DestinationConfiguration) -> bool:
    """Whether some of the messages of its sources may give no record."""
    dropping = step.Drop | step.Sample | step.Rate
    form = destination.format
    return (
        not destination.takes_all
        or destination.size_limit is not None
        or (form is not None and form.name == "json")  # which leaves out empty objects
        or any(isinstance(each.action, dropping) for each in destination.rewrite.steps)
    )


def direct_problems(configuration: Configuration, places: Places, kinds: AnyKinds) -> Iterator[str]:
    """One line for each reason why the senders of a source cannot be answered by a log."""
    by_id = {each.id: each for each in configuration.destinations}
    for source in configuration.sources:
        if not source.answered_by:
            continue
        where = join_path(places.source(source.id), "answer")
        destination = by_id.get(source.answered_by)
        if destination is None:
            unknown = unknown_name("destination", source.answered_by, by_id)
            problems = [f'{unknown}; or write "stored"']
        elif not kinds.destination(destination.connect.scheme).publishes:
            problems = [_not_a_log(destination, kinds)]
        else:
            problems = [
                *_source_problems(source),
                *_route_problems(source, destination, configuration),
                *_destination_problems(destination),
                *_queue_problems(destination, configuration),
            ]
        yield from (f"{where}: {problem}" for problem in problems)


def _not_a_log(destination: DestinationConfiguration, kinds: AnyKinds) -> str:
    able = [kind.scheme for kind in kinds.destinations if kind.publishes]
    return (
        f"{destination.id} connects to {destination.connect.scheme}://, which cannot answer for "
        f"senders; name a destination with one of {', '.join(able) or 'no scheme yet'}, or write "
        '"stored"'
    )


def _source_problems(source: SourceConfiguration) -> Iterator[str]:
    joining = getattr(source, "joining", None)
    if joining is not None and joining.multi_line:
        yield (
            "a message of several lines (multi_line) has several numbers, and its first lines "
            "would wait unanswered for the last one; remove multi_line"
        )
    if source.oversize == "split":
        yield (
            "the pieces of a message that is split would have one number, and the reader would "
            "take only the first; write another oversize, such as 'truncate'"
        )


def _route_problems(
    source: SourceConfiguration, destination: DestinationConfiguration, configuration: Configuration
) -> Iterator[str]:
    fed = [each.id for each in configuration.destinations if source.id in each.sources]
    if others := [id for id in fed if id != destination.id]:
        yield (
            f"{source.id} also leads to {', '.join(others)}, for which nobody would be answered; "
            f"leave it out of their `sources`, and read what they need from {destination.id}"
        )
    if destination.id not in fed:
        yield f"{destination.id} does not take from {source.id}; add it to its `sources`"


def _queue_problems(
    destination: DestinationConfiguration, configuration: Configuration
) -> Iterator[str]:
    """Keys that are about a queue in which nothing is, because all of its sources are direct."""
    sources = [each for each in configuration.sources if each.id in destination.sources]
    if not all(each.answered_by == destination.id for each in sources):
        return
    sending, limits = destination.sending, destination.limits
    given = {
        "order": sending.order != Sending().order,
        "drain_rate": sending.drain_rate is not None,
        "queue_bytes_max": bool(limits.queue_bytes_max),
        "queue_seconds_max": bool(limits.queue_seconds_max),
        "history": bool(destination.kept.history),
    }
    if useless := [name for name, is_given in given.items() if is_given]:
        yield (
            f"{', '.join(useless)} of {destination.id} would have no effect, for nothing is queued "
            "there: all of its sources are answered by it; remove that"
        )


def _destination_problems(destination: DestinationConfiguration) -> Iterator[str]:
    for each in destination.rewrite.steps:
        if isinstance(each.action, step.GroupBy | step.SuppressRepeats):
            yield (
                f"the step {each.verb} of {destination.id} holds messages back or makes new ones, "
                "which have no number; take it out, or let the reader of the log do it"
            )
    if destination.rewrite.token is not None:
        yield (
            f"{destination.id} writes a token into messages (rewrite), which direct mode cannot "
            "do; let the reader of the log do it"
        )
    limit = destination.size_limit
    if limit is not None and limit.policy in ("split", "quarantine"):
        yield (
            f"{destination.id} is to {limit.policy} messages that are too long, which direct mode "
            "cannot do; have it truncate or drop them"
        )
    if destination.has_hops:
        yield f"the records of {destination.id} are for its own sessions only"
