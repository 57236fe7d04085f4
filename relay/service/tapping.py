"""The command `tap` of the control socket, and the filter that searches of messages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from relay.flow.drain import Drain
from relay.model.clock import Clock, WallClock
from relay.model.errors import RelayError
from relay.model.expression import Expression
from relay.observe.control import Command, Stream, Streamed
from relay.observe.taps import RATE_MAX, Taps, Wanted
from relay.rewrite.conditions import glob, regex, substring
from relay.service.configuration.tables.filter import numbers_in
from relay.service.destinations.service import DestinationService
from relay.service.reloading.live import Live
from relay.service.reloading.routes import RouteTable
from relay.service.sources.service import SourceService
from relay.wire.parse import parse


def message_test(
    pattern: str,
    *,
    ignore_case: bool = False,
    fixed: bool = False,
    hostname: str | None = None,
    severity: str | None = None,
) -> Callable[[bytes], bool]:
    """Make a test of messages, all of whose conditions have to be met.

    Args:
        pattern: Found anywhere; a regular expression, or literal text if `fixed`.
        ignore_case: For `pattern`.
        hostname: HOSTNAME, with ``*`` and ``?``, case ignored; None = any.
        severity: Names, numbers or a range, such as ``..err``; None = any.

    Raises:
        ValueError: One of them is wrong; the text says which, and why.
    """
    is_found = (substring if fixed else regex)(pattern, ignore_case=ignore_case)
    if hostname is None and severity is None:
        return is_found
    try:
        allowed = numbers_in(".." if severity is None else severity, "severity")
    except ValueError as error:
        raise ValueError(f"--severity: {error}") from None
    is_host = glob(hostname or "*", ignore_case=True)

    def fits(payload: bytes) -> bool:
        if not is_found(payload):
            return False
        message = parse(payload)
        return message.severity in allowed and is_host(message.hostname or b"")

    return fits


class WantedTap(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of ``tap``; see `relay.observe.taps.Wanted` and `message_test`."""

    stage: str
    id: str = ""
    pattern: str = ""
    ignore_case: bool = False
    fixed: bool = False
    hostname: str | None = None
    severity: str | None = None
    rate: float = 100.0
    count: int = 0
    seconds: float = 0.0

    def test(self) -> Callable[[bytes], bool] | None:
        """None if every message will do.

        Raises:
            RelayError: The filter is wrong, or may take long.
        """
        if not self.pattern and self.hostname is None and self.severity is None:
            return None
        try:
            if not self.fixed and Expression(self.pattern).backtracks:
                raise ValueError(
                    f"the pattern {self.pattern} needs backtracking (a look-around or a back "
                    "reference), which may hold up the relay; simplify it, or search the output"
                )
            return message_test(
                self.pattern,
                ignore_case=self.ignore_case,
                fixed=self.fixed,
                hostname=self.hostname,
                severity=self.severity,
            )
        except ValueError as error:
            raise RelayError(str(error)) from None


def tap_commands(taps: Taps) -> dict[str, Command]:
    """Commands of the control socket, by name."""

    def tap(wanted: WantedTap, on_ready: Callable[[], None]) -> Stream:
        if not 1 <= wanted.rate <= RATE_MAX:
            raise RelayError(
                f"found {wanted.rate:g} messages per second, expected 1 to {RATE_MAX:g}"
            )
        asked = Wanted(
            wanted.stage,
            wanted.id,
            wanted.test(),
            rate=wanted.rate,
            count=max(0, wanted.count),
            seconds=max(0.0, wanted.seconds),
        )
        return taps.open(asked, on_ready)

    return {"tap": Streamed(WantedTap, tap)}


def new_taps(
    sources: Sequence[SourceService],
    destinations: Sequence[DestinationService],
    routes: RouteTable,
    wall: WallClock,
    clock: Clock,
) -> Taps:
    """Make what messages can be seen through."""

    def drains(id: str) -> list[Drain]:
        found = (each for each in destinations if each.id == id)
        return [lane.drain for each in found for lane in each.lanes]

    return Taps(
        sources=Live(lambda: {each.id: each.counters for each in sources}),
        destinations=Live(lambda: {each.id: each for each in destinations}),
        shed=routes.samples,
        drains=drains,
        secrets=routes.secrets,
        now=wall.now,
        clock=clock,
    )
