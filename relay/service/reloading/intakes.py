"""From the configuration of a source to what is done with its messages."""

from __future__ import annotations

from functools import partial

from relay.flow.authorisation import Authorisation
from relay.flow.intake import Quarantine, Reading
from relay.flow.sequences import SequenceCheck
from relay.model.counters.source import BELIEVED_RECORDS_MAX
from relay.model.hops import OwnHop
from relay.model.text import counted
from relay.rewrite.watching import Watch
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.relay_service import local_zone
from relay.transport.notices import Notices
from relay.wire.hops import LOOP, LoopGuard
from relay.wire.parse_options import new_parser


def fed_by(source: str, configuration: Configuration) -> list[str]:
    """The ids of the destinations that take from a source, in the order of the file."""
    return [each.id for each in configuration.destinations if source in each.sources]


def new_reading(
    source: SourceConfiguration,
    *,
    authorise: Authorisation | None,
    guard: LoopGuard | None,
    watch: Watch | None,
    notices: Notices,
) -> Reading:
    """How the frames of a source are read, and what is checked in them."""
    return Reading(
        new_parser(source.parse, zone=local_zone()),
        authorise,
        _sequences(source, notices),
        guard,
        watch,
        source.parse.default_severity,
    )


def new_quarantine(source: SourceConfiguration, configuration: Configuration) -> Quarantine:
    """The frames that a source sets aside."""
    return Quarantine(
        long=source.oversize == "quarantine",
        unauthorised=source.unauthorised == "quarantine",
        bytes_max=configuration.quarantine_bytes_max,
    )


def new_guard(
    source: str, hop: OwnHop, hops_max: int, notices: Notices, *, carries: bool
) -> LoopGuard | None:
    """The check for messages that have been here before; None if there is none.

    Args:
        carries: A destination of the source sends on which way a message has come.
    """
    if not hops_max:
        return None
    on_drop = partial(_warn_of_loop, source, notices)
    return LoopGuard(hop, hops_max=hops_max, carries=carries, on_drop=on_drop)


def warn_unrouted(source: str, notices: Notices, count: int) -> None:
    """Say that no destination takes some messages of a source."""
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
