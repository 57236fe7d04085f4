"""The relay's metrics for Prometheus, read from its status document whenever somebody asks.

Nothing is counted here and nothing runs between two scrapes.  `METRICS` declares every metric once:
its name, its place in the document and its meaning; docs/metrics.md lists them.

Counters of sources are those on disk (`model/counters/kept.py`), so none is smaller after a kill.
Histograms and peers begin at zero with the process; Prometheus notices that by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nlargest
from itertools import chain

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from relay.model.counters.kept import KeptCounters
from relay.model.counters.peers import PeerTable
from relay.model.text import Document

_PREFIX = "syslogrelay_"
_DAY_SECONDS = 86400.0
_OPENMETRICS_TYPE = "application/openmetrics-text"
_OPENMETRICS = f"{_OPENMETRICS_TYPE}; version=1.0.0; charset=utf-8"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
PEERS_MAX = 20
"""How many peers of a source have series of their own."""
OTHERS = "others"
"""The label of all other peers of a source together."""

Labels = tuple[str, ...]
Samples = Iterator[tuple[Labels, object]]
_Row = tuple[str, str, str] | tuple[str, str, str, str]
"""Name, key, help, and perhaps a further label."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric."""

    name: str
    """Without the prefix."""
    help: str
    key: str
    """Path of the value in the report; what is missing or None has no sample."""
    labels: Labels = ()
    """Those of its source or destination, and one more where the value has several by name."""
    is_histogram: bool = False

    @property
    def type(self) -> str:
        """As Prometheus calls it."""
        if self.is_histogram:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"

    @property
    def is_readiness(self) -> bool:
        return self.key == "ready"


def _scoped(scope: str, rows: Iterable[_Row]) -> tuple[Declared, ...]:
    return tuple(
        Declared(f"{scope}_{name}", help, key, (scope, *label)) for name, key, help, *label in rows
    )


_SOURCE_ROWS: tuple[_Row, ...] = (
    ("ready", "ready", "1 while the source can receive, else 0."),
    ("received_messages_total", "received_records", "Messages that came in whole or cut."),
    ("received_bytes_total", "received_bytes", "Bytes of these messages."),
    ("stored_messages_total", "stored_records", "Messages on disk, or acknowledged by the log."),
    ("unanswered_messages_total", "unanswered_records", "Messages left to their senders."),
    ("severity_messages_total", "severities", "Messages by severity.", "severity"),
    ("app_messages_total", "apps", "Messages by the app that authorised them.", "app"),
    ("dropped_messages_total", "dropped_records", "Messages lost, by reason.", "reason"),
    ("quarantined_messages_total", "quarantined_records", "Messages set aside."),
    ("truncated_messages_total", "truncated_records", "Messages cut to frame_bytes_max."),
    ("split_messages_total", "split_records", "Messages that became several."),
    ("unparsed_messages_total", "parse_failures", "Messages that are whole in MSG."),
    ("duplicate_messages_total", "duplicate_records", "Messages relays sent twice, dropped."),
    ("missing_messages_total", "missing_records", "Messages of relays that never came here."),
    ("held_back_messages_total", "held_back_records", "Records behind one that is missing."),
    ("lag_messages", "lag_records", "Records of the log that are not on disk here."),
    ("protocol_errors_total", "protocol_errors", "Connections that broke RELP or TLS."),
    ("framing_errors_total", "framing_errors", "Wrong octet counts."),
    ("refused_requests_total", "requests_refused", "HTTP requests refused.", "reason"),
    ("refused_lineages_total", "refused_lineages", "Offers of exactly once that are wrong."),
    ("connections", "connections_open", "Open connections."),
    ("accepted_connections_total", "connections_accepted", "Connections accepted."),
    ("refused_connections_total", "connections_refused", "Connections closed at once."),
    ("idle_connections_total", "connections_idle_closed", "Connections closed for silence."),
    ("closed_connections_total", "connections_closed", "Connections closed.", "reason"),
    ("waiting_lines", "waiting_lines", "Lines that wait for the rest of their message."),
    ("pauses_total", "pauses", "Times that reading stopped because the queue was full."),
    ("peers", "peers", "Peers that are counted apart."),
    (
        "answers_in_flight_messages",
        "answers.in_flight_records",
        "Messages that wait for the log that answers.",
    ),
    ("answers_in_flight_bytes", "answers.in_flight_bytes", "Memory that these take, about."),
    ("answers_oldest_seconds", "answers.oldest_seconds", "Time that the oldest of these waits."),
    ("answers_resent_messages_total", "answers.resent_records", "Messages published again."),
    ("answers_failures_total", "answers.failures", "Publishers that failed or could not be made."),
)
SOURCES = (
    *_scoped("source", _SOURCE_ROWS),
    Declared(
        "source_stored_seconds",
        "Time from receiving a message to having it on disk, or acknowledged by the log.",
        "stored_seconds",
        ("source",),
        is_histogram=True,
    ),
)

PEERS = (
    Declared("source_peer_messages_total", "Messages of a peer.", "records", ("source", "peer")),
    Declared("source_peer_bytes_total", "Bytes of these messages.", "bytes", ("source", "peer")),
)
"""Of the most active peers of each source, and of all others together."""

_DESTINATION_ROWS: tuple[_Row, ...] = (
    ("ready", "ready", "1 while messages can be delivered, else 0."),
    ("paused", "paused", "1 while it is paused by hand, else 0."),
    ("received_messages_total", "received_records", "Messages put into the queue."),
    ("delivered_messages_total", "delivered_records", "Messages that were acknowledged."),
    ("dropped_messages_total", "dropped_records", "Messages lost, by reason.", "reason"),
    ("sent_messages_total", "sent_records", "Messages sent, repeats included."),
    ("resent_messages_total", "resent_records", "Messages sent again."),
    ("truncated_messages_total", "truncated_records", "Messages cut to the longest allowed."),
    ("split_messages_total", "split_records", "Messages that became several."),
    ("queued_messages", "queued_records", "Messages in the queue."),
    ("queued_bytes", "queued_bytes", "Bytes of these messages."),
    ("in_flight_messages", "in_flight_records", "Messages sent that wait for an answer."),
    ("oldest_seconds", "oldest_seconds", "Age of the oldest message in the queue."),
    ("stalled_seconds", "stalled_seconds", "How long no answer came while connected."),
    ("quarantined_messages", "quarantined_records", "Messages in quarantine."),
    ("quarantined_bytes", "quarantine_bytes", "Bytes of these messages."),
    ("connects_total", "connects", "Sessions that were opened."),
    (
        "failures_total",
        "failures_by_cause",
        "Attempts to connect and sessions that failed.",
        "cause",
    ),
    ("unexpected_bytes_total", "unexpected_bytes", "Bytes that the upstream should not send."),
    ("queue_used_bytes", "limit.used_bytes", "What its queue takes on disk."),
    ("queue_limit_bytes", "limit.queue_bytes_max", "queue_bytes_max; 0 = none of its own."),
    ("full_in_seconds", "limit.seconds_to_full", "Estimated time until its queue is full."),
    ("empty_in_seconds", "limit.seconds_to_empty", "Estimated time until its queue is empty."),
)
DESTINATIONS = (
    *_scoped("destination", _DESTINATION_ROWS),
    Declared(
        "destination_latency_seconds",
        "Time between two stages of a message: stored, sent, acknowledged.",
        "latencies",
        ("destination", "stage"),
        is_histogram=True,
    ),
)

RELAY = (
    Declared("uptime_seconds", "Time since the process started.", "uptime_seconds"),
    Declared("admission_open", "1 while messages are taken, else 0.", "admission.open"),
    Declared("queue_bytes", "What all queues take on disk.", "admission.queue_bytes"),
    Declared(
        "queue_limit_bytes",
        "The most they may take: relay.queue_bytes_max.",
        "admission.queue_bytes_max",
    ),
    Declared("full_in_seconds", "Estimated time until they do.", "admission.seconds_to_full"),
    Declared("pending_bytes", "What waits for a commit.", "admission.pending_bytes"),
    Declared("history_bytes", "Delivered messages that are kept.", "admission.history_bytes"),
    Declared("allocated_bytes", "Size of the queue's file.", "admission.allocated_bytes"),
    Declared("free_bytes", "Free space of state_dir's file system.", "admission.free_bytes"),
    Declared(
        "expression_timeouts_total",
        "Searches by regular expressions that took too long.",
        "expression_timeouts",
        ("expression",),
    ),
    Declared(
        "reactor_delay_seconds",
        "How late timers fire, and all else that waits for the event loop.",
        "reactor_delay_seconds",
        is_histogram=True,
    ),
    Declared(
        "commit_seconds",
        "Time from the start of a commit until its end is known.",
        "commit_seconds",
        is_histogram=True,
    ),
    Declared(
        "commit_writing_seconds",
        "The part of that which the disk takes.",
        "commit_writing_seconds",
        is_histogram=True,
    ),
    Declared("web_readers", "Pages that are open.", "web.readers"),
    Declared(
        "web_refused_requests_total",
        "Requests that the web server refused.",
        "web.requests_refused",
        ("reason",),
    ),
)

BUILD = Declared("build_info", "Always 1.", "", ("version", "compiled"))
DEGRADED = Declared("degraded", "Reasons why the relay is not healthy.", "")
ALERTS = Declared("alerts_running", "Alerts that run.", "", ("rule",))
WATCHED = Declared(
    "watch_messages_total",
    "Messages that a rule of [[watch]] has decided.",
    "",
    ("rule", "counts_as"),
)
CERTIFICATE = Declared(
    "certificate_expires_seconds",
    "Time until a certificate or revocation list in use ends; negative = it has ended.",
    "",
    ("subject", "kind", "file"),
)

_FLEET_ROWS = (
    ("queued_messages", "queued_records", "Messages in the queues of a relay that reports here."),
    ("oldest_seconds", "oldest_seconds", "Age of the oldest of them."),
    ("last_seen_seconds", "last_seen_seconds", "Time since the relay has reported."),
)
FLEET = tuple(
    Declared(f"fleet_{name}", help, key, ("relay", "peer")) for name, key, help in _FLEET_ROWS
)

METRICS = (
    *(BUILD, DEGRADED, ALERTS, WATCHED, *RELAY, CERTIFICATE),
    *(*SOURCES, *PEERS, *DESTINATIONS, *FLEET),
)


Tables = Mapping[str, PeerTable]
"""The counters of peers, by source."""
Kept = Mapping[str, KeptCounters]
"""The counters on disk, by source."""


class RelayCollector(Collector):
    """Turns the status document into metric families.

    Args:
        document: Gives the status document.
        peers: By source.
        kept: By source; of another one those of the document are shown.
    """

    def __init__(
        self, document: Callable[[], Document], peers: Tables, kept: Kept | None = None
    ) -> None:
        self._document = document
        self._kept: Kept = {} if kept is None else kept
        self._tables = peers
        self._peers: dict[str, _PeerSeries] = {}

    def describe(self) -> Iterable[Metric]:
        """None: otherwise the registry would collect everything once to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        document = self._document()
        document = {**document, "sources": self._sources(document)}
        yield _family(BUILD, _build(document))
        yield _family(DEGRADED, [((), len(document["degraded"]))])
        running = Counter(alert["rule"] for alert in document["alerts"])
        yield _family(ALERTS, [((rule,), count) for rule, count in running.items()])
        rules = document["watch"]["rules"]
        yield _family(
            WATCHED, [((rule["id"], rule["counts_as"]), rule["records"]) for rule in rules]
        )
        for declared in RELAY:
            yield _family(declared, _values(declared, document, ()))
        yield _family(CERTIFICATE, _certificates(document["certificates"]))
        for of_all, reports in ((SOURCES, "sources"), (DESTINATIONS, "destinations")):
            for declared in of_all:
                found = (_values(declared, each, (each["id"],)) for each in document[reports])
                yield _family(declared, chain.from_iterable(found))
        members = document.get("fleet", ())
        for declared in FLEET:
            found = (_values(declared, each, (each["host"], each["peer"])) for each in members)
            yield _family(declared, chain.from_iterable(found))
        shown = {source: series.update() for source, series in self._series().items()}
        for number, declared in enumerate(PEERS):
            yield _family(
                declared,
                (
                    ((source, peer), counts[number])
                    for source, of_peers in shown.items()
                    for peer, counts in of_peers.items()
                ),
            )

    def _series(self) -> dict[str, _PeerSeries]:
        """The series of the present sources."""
        self._peers = {
            source: known
            if (known := self._peers.get(source)) is not None and known.is_of(table)
            else _PeerSeries(table)
            for source, table in self._tables.items()
        }
        return self._peers

    def _sources(self, document: Document) -> list[Document]:
        """The reports of the sources with the counters on disk."""
        # While nothing can be stored, they would hide what is dropped meanwhile.
        live = document["admission"].get("since") is not None
        return [
            {**each, **kept.shown(live=live)} if (kept := self._kept.get(each["id"])) else each
            for each in document["sources"]
        ]


def content_type(accept: str) -> str:
    """OpenMetrics for those who take it, else the text format.

    Args:
        accept: The header of the request.  Versions in it are a client's numbers, and not used.
    """
    return _OPENMETRICS if _OPENMETRICS_TYPE in accept.lower() else _TEXT


def exposition(collector: Collector, kind: str) -> bytes:
    """All metrics, in one of the formats of `content_type`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    if kind != _OPENMETRICS:
        return generate_latest(registry)
    # Our names need no escaping; its default looks at each character of each name, which takes
    # two thirds of the time.
    text: bytes = openmetrics.generate_latest(  # type: ignore[no-untyped-call]
        registry, escaping=openmetrics.ALLOWUTF8
    )
    return text


_Counts = tuple[int, int]  # messages and bytes, in the order of PEERS


class _PeerSeries:
    """The series of one source's peers: the most active ones, and all others together.

    A peer that gets or loses a series of its own neither takes from the others what they have
    counted nor gives them anything: Prometheus would take a counter that falls for a restart.
    """

    def __init__(self, table: PeerTable) -> None:
        self._table = table
        self._total: _Counts = (0, 0)
        self._shown: dict[str, _Counts] = {}
        self._others: _Counts = (0, 0)
        self._uses = 0  # of the table, as of the last update

    def is_of(self, table: PeerTable) -> bool:
        """Whether `table` is the source's; one that was removed and added has another."""
        return self._table is table

    def update(self) -> dict[str, _Counts]:
        """The present values by peer."""
        if self._table.uses != self._uses:
            self._uses = self._table.uses
            self._look()
        if self._others[0] or len(self._table) > len(self._shown):
            return {**self._shown, OTHERS: self._others}
        return self._shown

    def _look(self) -> None:
        peers = dict(self._table)
        counted = [*peers.values(), self._table.others]
        total = sum(peer.records for peer in counted), sum(peer.bytes for peer in counted)
        active = nlargest(PEERS_MAX, peers, key=lambda name: peers[name].records)
        shown = {name: (peers[name].records, peers[name].bytes) for name in active}
        # At first everything is new, and later what those sent that keep their series.
        before = self._shown if self._total[0] else dict.fromkeys(shown, (0, 0))
        apart = [_more(before[name], now) for name, now in shown.items() if name in before]
        more = _more(self._total, total)
        messages, size = (
            had + new - sum(own)
            for had, new, own in zip(
                self._others, more, zip((0, 0), *apart, strict=True), strict=True
            )
        )
        self._others, self._total, self._shown = (messages, size), total, shown


def _more(before: _Counts, now: _Counts) -> _Counts:
    """What has come since; all of it from a peer that was silent until its counters began anew."""
    return now if now[0] < before[0] else (now[0] - before[0], now[1] - before[1])


def _build(document: Document) -> Samples:
    yield (document["version"], str(document["compiled"]).lower()), 1


def _certificates(reports: Iterable[Document]) -> Samples:
    for report in reports:
        days = report.get("expires_days", report.get("days_left"))
        if days is not None:  # else a file that cannot be used
            kind = report["kind"]
            yield (report["subject"], kind, report[kind]), days * _DAY_SECONDS


def _values(declared: Declared, report: Document, labels: Labels) -> Samples:
    """The samples of one metric in the report of one source or destination, or in the whole."""
    value: object = report
    for key in declared.key.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if declared.is_readiness:
        value = value is not False  # sources only say so while they are not
    if len(declared.labels) == len(labels):
        yield labels, value
    elif isinstance(value, dict):
        yield from (((*labels, str(label)), count) for label, count in value.items())


def _family(declared: Declared, samples: Iterable[tuple[Labels, object]]) -> Metric:
    name, help, labels = _PREFIX + declared.name, declared.help, declared.labels
    if declared.type == "counter":
        family: Metric = CounterMetricFamily(name, help, labels=labels)
    elif declared.type == "histogram":
        family = HistogramMetricFamily(name, help, labels=labels)
    else:
        family = GaugeMetricFamily(name, help, labels=labels)
    for values, value in samples:
        if isinstance(family, HistogramMetricFamily) and isinstance(value, dict):
            buckets = [(str(float(bound)), count) for bound, count in value["buckets"]]
            buckets.append(("+Inf", value["count"]))
            family.add_metric(values, buckets, value["sum"])
        elif isinstance(value, int | float):
            family.add_metric(values, value)  # type: ignore[attr-defined]
    return family
