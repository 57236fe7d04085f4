"""The tables of docs/scaling.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from tests.scale.arithmetic import Site, brokers_needed, receivers_needed, window_rate
from tests.scale.cell import Cell, Plan
from tests.scale.events import Histogram
from tests.scale.figures import FIGURES, figure, octets_of_a_record, receiver_seconds
from tests.scale.outage import lose_zone

__all__ = ["TABLES", "cell_site", "cluster_plan", "table"]

CELL_RATE = 1_000_000.0
CELLS = 10
PARTITIONS, BROKERS = 48, 6
LINGER = 0.05
LINGERS = (0.005, 0.02, LINGER, 0.2)
CHUNKS = (1, 2, 5, 10, 50)
WINDOW = 8192
STEADY_SECONDS = 3
"""Of a run; the first one does not count."""
CLUSTER_SECONDS = 3
LOST_AT, LOST_SECONDS = 5, 60
FEW = math.ceil(CELL_RATE * receiver_seconds(figure("messages")) * 1.2)
"""Receivers that are enough as long as all are there."""
PHASES = ((1, 5), (5, 14), (14, 20), (20, 30), (30, 40), (40, 50), (50, 60))
HOURS = 730
MACHINES = {"receivers": 0.09, "brokers": 0.70, "readers": 0.09}
"""Assumed list prices of an hour, in $: 2 vCPU, 8 vCPU with NVMe, 2 vCPU."""
ZONE_TRAFFIC = 0.02
"""Assumed, $ for 1 GB between zones, both directions."""


def receivers(messages: float = figure("messages")) -> int:
    """Receivers of a cell that may lose a zone, by the messages of a chunk that senders send."""
    return receivers_needed(CELL_RATE, 1 / receiver_seconds(messages))


def cell_site(linger: float = LINGER, number: int = 0) -> Site:
    return Site(CELL_RATE, number or receivers(), PARTITIONS, linger, BROKERS)


def cluster_plan(linger: float) -> Plan:
    """One receiver of a single cluster for everything; brokers work for all of them."""
    number = receivers() * CELLS
    site = Site(CELL_RATE * CELLS / number, 1, 1200, linger, BROKERS * CELLS)
    return Plan(site, readers=120, copies=number)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """In Markdown; columns whose first cell is a number are aligned to the right."""
    shown = [[str(cell) for cell in row] for row in rows]
    rules = ["---:" if cell[:1].isdigit() else "---" for cell in shown[0]]
    lines = [head, ["---", *rules[1:]], *shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures() -> str:
    rows = [[one.name, f"{one.value:,g} {one.unit}", one.source] for one in FIGURES]
    return table(["Figure", "Value", "Source"], rows)


def chunks() -> str:
    """Receivers of a cell by the messages that come in one chunk."""
    head = ["Messages a chunk", "µs a message", "Messages/s of a receiver", "Receivers"]
    head += ["B = RL / NP", "Requests/s", "a broker", "Receivers, $ a month"]
    return table(head, map(_chunk_row, CHUNKS))


def _chunk_row(messages: int) -> list[object]:
    seconds, site = receiver_seconds(messages), cell_site(number=receivers(messages))
    return [
        messages,
        f"{seconds * 1e6:.1f}",
        f"{1 / seconds:,.0f}",
        site.receivers,
        f"{site.batch_at_most:.1f}",
        f"{site.requests:,.0f}",
        f"{site.requests_a_broker:,.0f}",
        f"{site.receivers * MACHINES['receivers'] * HOURS:,.0f}",
    ]


def lingers() -> str:
    """A cell by the time that it collects."""
    head = ["Linger ms", "B = RL / NP", "Records a request", "Requests/s", "a broker"]
    head += ["Octets, lz4", "zstd", "Answer p50 ms", "p99 ms", "A connection/s"]
    return table(head, map(_linger_row, LINGERS))


def _linger_row(linger: float) -> list[object]:
    site = cell_site(linger)
    cell = Cell(Plan(site))
    cell.run(STEADY_SECONDS)
    answers = cell.answers(1)
    batch = cell.made / cell.requests
    requests = cell.requests / STEADY_SECONDS
    return [
        f"{linger * 1000:g}",
        f"{site.batch_at_most:.1f}",
        f"{batch:.0f}",
        f"{requests:,.0f}",
        f"{requests / site.brokers:,.0f}",
        *(f"{octets_of_a_record(name, batch):.0f}" for name in ("lz4", "zstd")),
        *_milliseconds(answers),
        f"{window_rate(WINDOW, answers.quantile(0.5)):,.0f}",
    ]


def _milliseconds(latencies: Histogram) -> list[str]:
    return [f"{latencies.quantile(share) * 1000:,.0f}" for share in (0.5, 0.99)]


def one_cluster() -> str:
    """Ten million messages a second in one cluster, and in cells."""
    head = ["", "B = RL / NP", "Records a request", "Requests/s"]
    head += ["a broker", "of its time", "Answer p50 ms", "p99 ms"]
    rows = []
    for linger in (0.005, LINGER):
        plan = cluster_plan(linger)
        rows.append(_cluster_row(f"one cluster, {linger * 1000:g} ms", plan, CLUSTER_SECONDS, 1))
    for linger in (0.005, LINGER):
        plan = Plan(cell_site(linger))
        rows.append(_cluster_row(f"ten cells, {linger * 1000:g} ms", plan, STEADY_SECONDS, CELLS))
    return table(head, rows)


def _cluster_row(name: str, plan: Plan, seconds: int, cells: int) -> list[object]:
    cell, site = Cell(plan), plan.site
    cell.run(seconds)
    requests = cell.requests / seconds * plan.copies
    busy = sum(broker.threads.busy for broker in cell.brokers) / len(cell.brokers) / seconds
    return [
        name,
        f"{site.batch_at_most:.1f}",
        f"{cell.answered / cell.requests:.1f}",
        f"{requests * cells:,.0f}",
        f"{requests / site.brokers:,.0f}",
        f"{min(busy, 1):.0%}",
        *_milliseconds(cell.answers(1)),
    ]


def lost_zone(number: int) -> str:
    """A cell with `number` receivers loses a zone at LOST_AT."""
    cell = Cell(Plan(cell_site(number=number)))
    lose_zone(cell, 0, LOST_AT)
    cell.run(LOST_SECONDS)
    head = ["Seconds", "Answers/s", "p50 s", "p99 s", "Unanswered at the end", "MiB of a receiver"]
    rows = [_phase(cell, begin, end) for begin, end in PHASES]
    return f"{table(head, rows)}\n\nTwice in the log: {cell.twice:,}."


def _phase(cell: Cell, begin: int, end: int) -> list[str]:
    answers = cell.answers(begin, end)
    pending = max(cell.seconds[second].pending for second in range(begin + 1, end + 1))
    return [
        f"{begin} to {end}",
        f"{answers.total / (end - begin):,.0f}",
        *(f"{answers.quantile(share):.2f}" for share in (0.5, 0.99)),
        f"{cell.seconds[end].unanswered:,}",
        f"{pending / cell.plan.pending * figure('pending'):.0f}",
    ]


def parts_of_a_site() -> str:
    """Machines, octets and their price for a cell and for all."""
    site = cell_site()
    connections = CELL_RATE / figure("connection_rate")
    octets = CELL_RATE * octets_of_a_record("zstd", site.batch)
    requests_max = 1e6 / figure("request")
    reading = 12
    crossing = octets * (2 / 3 + 2 + 2 / 3)
    hourly = site.receivers * MACHINES["receivers"] + site.brokers * MACHINES["brokers"]
    hourly += reading * MACHINES["readers"]
    rows = [
        ("receivers", site.receivers, "so that two zones take everything"),
        ("connections of a receiver", connections / site.receivers, ""),
        ("of a receiver with a zone lost", 1.5 * connections / site.receivers, ""),
        ("partitions", site.partitions, "4 for each reader"),
        ("produce requests/s", site.requests, ""),
        ("brokers that the requests need", brokers_needed(site.requests, requests_max), ""),
        ("brokers", site.brokers, "for disks and memory"),
        ("MB/s into the cluster, zstd", octets / 1e6, ""),
        ("MB/s written, three copies", 3 * octets / 1e6, ""),
        ("TB for six hours", 3 * octets * 6 * 3600 / 1e12, ""),
        ("readers", reading, ""),
        ("lineages of a reader", connections / reading, ""),
        ("MB/s between zones", crossing / 1e6, "2/3 in, 2 to replicas, 2/3 out"),
        ("$ a month, machines", hourly * HOURS, "assumed prices"),
        ("$ a month, zones", crossing * HOURS * 3600 / 1e9 * ZONE_TRAFFIC, "assumed prices"),
    ]
    shown = [
        [name, _round(value), _round(value * CELLS) if _adds_up(name) else "", why]
        for name, value, why in rows
    ]
    return table(["", "A cell", "Ten cells", ""], shown)


def _adds_up(name: str) -> bool:
    return "of a re" not in name


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 or value == int(value) else f"{value:,.1f}"


TABLES: dict[str, Callable[[], str]] = {
    "figures": figures,
    "chunks": chunks,
    "lingers": lingers,
    "one cluster": one_cluster,
    f"a lost zone, {FEW} receivers": partial(lost_zone, FEW),
    "a lost zone": lambda: lost_zone(receivers()),
    "parts": parts_of_a_site,
}
