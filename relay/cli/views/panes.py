"""What `top` shows, as tables of text: of a status document, of peers and of sampled messages.

All text is printable: peers wrote some of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from relay.model.text import Document, counted, duration, printable, size

ROWS_MAX = 500
"""Rows of a table that are shown; a filter finds the others."""
_CELL_LENGTH_MAX = 200

GOOD, WARNING, SEVERE = "good", "warning", "severe"
"""States of rows; each has a word in its cells as well."""
_RANKS = {GOOD: 0, WARNING: 1, SEVERE: 2}


class Cell(NamedTuple):
    """One cell: what is shown, and what it is sorted by."""

    text: str
    order: float | str


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        key: Who it is, from one look to the next.
        state: One of `GOOD`, `WARNING` and `SEVERE`.
    """

    key: str
    state: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and filtered.

    Attributes:
        titles: Of the columns.
        texts: How many columns at the left are text; `last_is_text` says whether the last is.
    """

    titles: tuple[str, ...]
    texts: int = 1
    last_is_text: bool = False
    rows: Sequence[Row] = field(default_factory=list)

    def is_text(self, column: int) -> bool:
        return column < self.texts or (self.last_is_text and column == len(self.titles) - 1)

    def chosen(self, sought: str, column: int | None, *, reverse: bool = False) -> list[Row]:
        """The rows with `sought` in a cell, in the order of a column.

        Args:
            sought: Empty = all rows.
            column: None = the worst first.  Numbers begin with the largest, texts with A.
            reverse: Turn the order around.
        """
        wanted = sought.casefold()
        rows = [
            row
            for row in self.rows
            if not wanted or any(wanted in cell.text.casefold() for cell in row.cells)
        ]
        if column is None:
            rows.sort(key=lambda row: _RANKS[row.state], reverse=not reverse)
        else:
            largest_first = not self.is_text(column)
            rows.sort(
                key=lambda row: _order(row.cells[column].order), reverse=largest_first != reverse
            )
        return rows


def _order(value: float | str) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value, "")


def text(value: object) -> Cell:
    """A cell with the text of others."""
    shown = printable(str(value), length_max=_CELL_LENGTH_MAX)
    return Cell(shown, shown.casefold())


def number(value: float) -> Cell:
    return Cell(f"{value:,.0f}", value)


def rate(value: float) -> Cell:
    """A number per second; one that is not 0 is not shown as 0."""
    if value >= 10 or not value:
        return number(value)
    return Cell(f"{value:.1f}" if value >= 0.1 else f"{value:.2f}".replace("0.00", "<.01"), value)


def _size(value: float) -> Cell:
    return Cell(size(int(value)).replace(" ", ""), value)


def _ago(seconds: float | None) -> Cell:
    if seconds is None:
        return Cell("-", -1.0)
    return Cell(duration(seconds).replace(" ", ""), seconds)


def health(document: Document) -> tuple[str, str]:
    """The state and the first line: whether all is well, or the worst of what is not."""
    degraded = document["degraded"]
    if not degraded:
        return GOOD, "healthy"
    more = f" (+{len(degraded) - 1} more)" if len(degraded) > 1 else ""
    return SEVERE, f"degraded: {printable(degraded[0], length_max=_CELL_LENGTH_MAX)}{more}"


def summary(document: Document) -> str:
    """The whole relay on one line."""
    rates = document["rates"]["10s"]
    queued = sum(each["queued_records"] for each in document["destinations"])
    uptime = duration(document["uptime_seconds"]).replace(" ", "")
    parts = [f"{rate(rates[name]).text} {short}/s" for name, short in _SHORT.items()]
    name = printable(document["name"], length_max=20)
    return f"{name}  up {uptime}  {'  '.join(parts)}  {queued:,} queued"


_SHORT = {"messages": "msg", "warnings": "warn", "errors": "err", "drops": "drop"}


def sources(document: Document) -> Table:
    """Who listens, and how much comes in."""
    rows = []
    for report in document["sources"]:
        rates, connections = report["rates"]["10s"], report["connections_open"]
        state, words = _state_of_source(report)
        rates_now = (rate(rates[name]) for name in ("messages", "warnings", "errors", "drops"))
        cells = (text(report["id"]), *rates_now, number(connections), text(words))
        rows.append(Row(report["id"], state, cells))
    titles = ("source", "msg/s", "warn/s", "err/s", "drop/s", "open", "state")
    return Table(titles, last_is_text=True, rows=rows)


def _state_of_source(report: Document) -> tuple[str, str]:
    dropped = report["rates"]["10s"]["drops"]
    about = f"{report['address']}"
    if report.get("ready") is False:
        return SEVERE, report["state"]
    if dropped:
        reasons = ", ".join(sorted(report["dropped_records"])) or "no reason"
        return SEVERE, f"drops ({reasons}), {about}"
    errors = sum(report.get(name, 0) for name in ("protocol_errors", "framing_errors"))
    if errors:
        return WARNING, f"{counted(errors, 'fault')} of peers, {about}"
    return GOOD, f"ok, {about}"


def destinations(document: Document) -> Table:
    """Where it goes, what waits, and why."""
    rows = []
    for report in document["destinations"]:
        limit = report.get("limit") or {}
        empty, full = limit.get("seconds_to_empty"), limit.get("seconds_to_full")
        until = Cell(f"full {_ago(full).text}", full) if full is not None else _ago(empty)
        queued = report["queued_records"]
        state = GOOD if report["ready"] else SEVERE
        words = report["state"]
        if report.get("stalled_seconds") is not None:
            state, words = SEVERE, f"stalled {duration(report['stalled_seconds'])}: {words}"
        elif state == GOOD and (report["rates"]["10s"]["drops"] or full is not None):
            state, words = WARNING, f"{'drops' if full is None else 'fills up'}: {words}"
        cells = (
            text(report["id"]),
            rate(report["rates"]["10s"]["delivered"]),
            number(queued),
            _ago(report["oldest_seconds"]),
            until,
            number(report["in_flight_records"]),
            text(words),
        )
        rows.append(Row(report["id"], state, cells))
    titles = ("destination", "out/s", "queued", "oldest", "empty in", "flight", "state")
    return Table(titles, last_is_text=True, rows=rows)


@dataclass
class PeerRates:
    """Messages per second of each peer, between two looks."""

    _before: dict[tuple[str, str], int] = field(default_factory=dict)
    _at: float = 0.0

    def table(self, found: Mapping[str, Document], now: float) -> Table:
        """The table of what the control command `peers` says.

        Args:
            now: Seconds on a clock that is never set.
        """
        passed, counts = now - self._at, dict[tuple[str, str], int]()
        rows = []
        for source, table in found.items():
            for name, peer in table["peers"].items():
                id = (source, name)
                counts[id] = peer["records"]
                is_known = id in self._before and passed > 0
                since = max(0, peer["records"] - self._before[id]) if is_known else 0
                rows.append(_peer(source, name, peer, since / passed if is_known else 0.0))
            if table["others"]["records"]:
                others = f"({table['count']:,} apart, and others)"
                rows.append(_peer(source, others, table["others"], 0.0))
        self._before, self._at = counts, now
        titles = ("peer", "source", "msg/s", "messages", "err", "warn", "last", "last error")
        return Table(titles, texts=2, last_is_text=True, rows=rows)


def _peer(source: str, name: str, peer: Document, per_second: float) -> Row:
    severities = peer["severities"]
    errors = sum(severities[each] for each in ("emergency", "alert", "critical", "error"))
    state = WARNING if peer["last_error"] else GOOD
    cells = (
        text(name),
        text(source),
        rate(per_second),
        number(peer["records"]),
        number(errors),
        number(severities["warning"]),
        _ago(peer["idle_seconds"]),
        text(peer["last_error"] or "none"),
    )
    return Row(f"{source} {name}", state, cells)


def relays(document: Document) -> Table:
    """The relays that report to this one."""
    rows = []
    for report in document.get("fleet", ()):  # relays of older versions do not say
        host, peer, queued = report["host"], report["peer"], report["queued_records"]
        cells = (
            text(host),
            text(peer),
            text(report["version"]),
            Cell("-", -1.0) if queued is None else number(queued),
            _ago(report["oldest_seconds"]),
            _ago(report["last_seen_seconds"]),
            text(report["state"]),
        )
        rows.append(Row(f"{host} {peer}", GOOD if report["state"] == "ok" else SEVERE, cells))
    titles = ("relay", "peer", "version", "queued", "oldest", "seen", "state")
    return Table(titles, texts=3, last_is_text=True, rows=rows)


class Sampled(NamedTuple):
    """Counts of messages that were looked at."""

    programs: Counter[str]
    errors: Counter[str]
    """Of severity 0 to 3."""


def programs(sampled: Sampled, messages_per_second: float) -> Table:
    """Which programs send, by their share of a sample.

    Args:
        messages_per_second: Of the whole relay, which the shares are of.
    """
    total = sum(sampled.programs.values())
    rows = []
    for name, count in sampled.programs.items():
        share, errors = count / total, sampled.errors[name]
        cells = (
            text(name or "(none)"),
            Cell(f"{100 * share:.1f}%", share),
            rate(share * messages_per_second),
            number(count),
            number(errors),
            text("errors" if errors else "ok"),
        )
        rows.append(Row(name, WARNING if errors else GOOD, cells))
    titles = ("program", "share", "~msg/s", "sampled", "err", "state")
    return Table(titles, last_is_text=True, rows=rows)
