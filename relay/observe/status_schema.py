"""The members of the status document as types, from which its JSON Schema is made.

To extend the document, add the key here and to docs/operations.md: tests compare each document of
a relay with these types, and name a key that they do not know.  A key that only some sources have
is `UNSET` by default.  docs/operations.md says when `STATUS_VERSION` changes.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from relay.model.text import Document

STATUS_VERSION = 1
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0.0)]
Stamp: TypeAlias = Annotated[float, Meta(description="Seconds since 1970-01-01 UTC.")]
PerSecond: TypeAlias = Annotated[float, Meta(ge=0.0)]
ByName: TypeAlias = dict[str, Count]
Percent: TypeAlias = Annotated[int, Meta(ge=0)]

_SPANS = {"short": "10s", "long": "60s"}


class Histogram(Struct, forbid_unknown_fields=True):
    """Times in seconds; `buckets` has pairs of an upper bound and how many were at most that."""

    count: Count
    sum: Seconds
    buckets: list[tuple[float, Count]]
    p50: Seconds | None
    p90: Seconds | None
    p99: Seconds | None


class SourceRate(Struct, forbid_unknown_fields=True):
    """Of a source, in a second."""

    messages: PerSecond
    warnings: PerSecond
    errors: PerSecond
    drops: PerSecond


class DestinationRate(Struct, forbid_unknown_fields=True):
    """Of a destination, in a second."""

    received: PerSecond
    delivered: PerSecond
    drops: PerSecond


class RelayRate(SourceRate, forbid_unknown_fields=True):
    """Of the whole relay, in a second."""

    delivered: PerSecond


class SourceRates(Struct, forbid_unknown_fields=True, rename=_SPANS):
    """Over the last 10 and 60 seconds."""

    short: SourceRate
    long: SourceRate


class DestinationRates(Struct, forbid_unknown_fields=True, rename=_SPANS):
    """Over the last 10 and 60 seconds."""

    short: DestinationRate
    long: DestinationRate


class RelayRates(Struct, forbid_unknown_fields=True, rename=_SPANS):
    """Over the last 10 and 60 seconds."""

    short: RelayRate
    long: RelayRate


class WatchRule(Struct, forbid_unknown_fields=True, rename=_SPANS):
    """A rule of `[[watch]]`: what it has decided since the start, and in a second over the last 10
    and 60 s; `per_second_max` is 0 where there is no limit."""

    id: str
    counts_as: Literal["warning", "error", "ignore"]
    records: Count
    per_second_max: PerSecond
    short: PerSecond
    long: PerSecond


class Watch(SourceRates, forbid_unknown_fields=True, rename=_SPANS):
    """What messages count as, of all sources together, and by which rules."""

    rules: list[WatchRule]


class Severities(Struct, forbid_unknown_fields=True):
    """Messages by severity."""

    emergency: Count
    alert: Count
    critical: Count
    error: Count
    warning: Count
    notice: Count
    informational: Count
    debug: Count


class LastError(Struct, forbid_unknown_fields=True):
    """The last warning of one kind; `peer` is empty where it is about none."""

    kind: str
    peer: str
    text: str
    seconds_ago: Seconds
    count: Count


class SourceQuarantine(Struct, forbid_unknown_fields=True):
    """What a source has set aside, over all of its runs."""

    records: Count
    bytes: Count
    dropped_records: ByName


class FileBehind(Struct, forbid_unknown_fields=True):
    """A file of which not everything was read."""

    path: str
    behind_bytes: Count


class Answers(Struct, forbid_unknown_fields=True):
    """The log that answers a source in direct mode; records since the relay started."""

    destination: str
    state: str
    ready: bool
    in_flight_records: Count
    in_flight_bytes: Count
    oldest_seconds: Seconds | None
    acknowledged_records: Count
    refused_records: Count
    resent_records: Count
    publishers: Count
    failures: Count


class ReadPartition(Struct, forbid_unknown_fields=True):
    """A partition that a source reads: its records that are not on disk here; null = not known."""

    lag_records: Count | None


class Source(Struct, forbid_unknown_fields=True):
    """A source.  `state` and `ready` are missing where it just listens, the keys of files and of
    the journal where it reads none."""

    id: str
    listen: str
    address: str
    since: Annotated[Stamp, Meta(description="When counting began, in seconds since 1970.")]
    received_records: Count
    received_bytes: Count
    stored_records: Count
    unanswered_records: Count
    quarantined_records: Count
    dropped_records: ByName
    severities: Severities
    apps: ByName
    parse_failures: Count
    truncated_records: Count
    split_records: Count
    protocol_errors: Count
    framing_errors: Count
    connections_open: Count
    connections_accepted: Count
    connections_refused: Count
    connections_idle_closed: Count
    connections_closed: ByName
    datagrams_rejected: ByName
    requests_refused: ByName
    duplicate_records: Count
    missing_records: Count
    refused_lineages: Count
    waiting_lines: Count
    pauses: Count
    peers: Count
    rates: SourceRates
    stored_seconds: Histogram
    quarantine: SourceQuarantine | None
    last_errors: list[LastError]
    answers: Answers | UnsetType = UNSET
    state: str | UnsetType = UNSET
    ready: bool | UnsetType = UNSET
    receive_buffer_bytes: Count | UnsetType = UNSET
    files_open: Count | UnsetType = UNSET
    files_refused: Count | UnsetType = UNSET
    files_unreadable: Count | UnsetType = UNSET
    files_behind: list[FileBehind] | UnsetType = UNSET
    behind_bytes: Count | UnsetType = UNSET
    journalctl_starts: Count | UnsetType = UNSET
    gaps: Count | UnsetType = UNSET
    lag_records: Count | UnsetType | None = UNSET
    held_back_records: Count | UnsetType = UNSET
    consumers: Count | UnsetType = UNSET
    partitions: dict[str, ReadPartition] | UnsetType = UNSET


class RefusesEverything(Struct, forbid_unknown_fields=True):
    """Why nothing more is set aside: the upstream takes nothing."""

    since: Stamp
    reason: str
    refused_records: Count


class Latencies(Struct, forbid_unknown_fields=True):
    """Between the stages of a message."""

    stored_to_sent: Histogram
    sent_to_acknowledged: Histogram
    stored_to_acknowledged: Histogram


class Limit(Struct, forbid_unknown_fields=True):
    """The limits of a queue and how near they are; 0 = it has none, null = not foreseen."""

    queue_bytes_max: Count
    queue_seconds_max: Seconds
    when_full: str
    used_bytes: Count
    fill_percent: Percent | None
    seconds_to_full: Seconds | None
    seconds_to_empty: Seconds | None
    blocks_sources: bool


class Lane(Struct, forbid_unknown_fields=True):
    """One of two queues of a destination."""

    queue: str
    queued_records: Count
    in_flight_records: Count
    delivered_per_second: PerSecond
    state: str


class Lanes(Struct, forbid_unknown_fields=True):
    """The two queues of a destination with `order = "live-first"`."""

    backlog: Lane
    live: Lane


class Destination(Struct, forbid_unknown_fields=True):
    """A destination with its queue."""

    id: str
    connect: str
    state: str
    details: list[str]
    ready: bool
    paused: bool
    paused_since: Stamp | None
    refuses_everything: RefusesEverything | None
    stalled_seconds: Seconds | None
    exactly_once: bool
    received_records: Count
    delivered_records: Count
    queued_records: Count
    queued_bytes: Count
    oldest_seconds: Seconds | None
    quarantined_records: Count
    quarantine_bytes: Count
    dropped_records: ByName
    in_flight_records: Count
    sent_records: Count
    resent_records: Count
    latencies: Latencies
    connects: Count
    failures: Count
    failures_by_cause: ByName
    unexpected_bytes: Count
    truncated_records: Count
    split_records: Count
    rates: DestinationRates
    limit: Limit | None
    lanes: Lanes | None
    last_errors: list[LastError]


class Admission(Struct, forbid_unknown_fields=True):
    """Whether messages are taken, and the room that there is for them."""

    open: bool
    reason: str
    busy: bool
    since: Stamp | None
    pending_bytes: Count
    queue_bytes: Count
    queue_bytes_max: Count
    history_bytes: Count
    allocated_bytes: Count
    free_bytes: Count | None
    seconds_to_full: Seconds | None


class Certificate(Struct, forbid_unknown_fields=True):
    """A certificate or revocation list in use, or (`kind` "unusable") files that are not."""

    subject: str
    kind: Literal["certificate", "crl", "unusable"]
    problem: str
    certificate: str | UnsetType = UNSET
    expires_days: float | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    crl: str | UnsetType = UNSET
    issuer: str | UnsetType = UNSET
    next_update: str | UnsetType = UNSET
    days_left: float | UnsetType = UNSET
    is_due: bool | UnsetType = UNSET


class Recently(Struct, forbid_unknown_fields=True):
    """Losses of the last `seconds`, by source or destination and reason."""

    seconds: Seconds
    lost_records: dict[str, ByName]


class TableProblem(Struct, forbid_unknown_fields=True):
    """A table of the step `map` that has changed and cannot be used."""

    path: str
    problem: str


class Reload(Struct, forbid_unknown_fields=True):
    """The outcome of a reload."""

    at: Annotated[
        float | None,
        Meta(description="When that in use was read; null = at the start."),
    ]
    restart: Annotated[list[str], Meta(description="Keys that have changed and need a restart.")]
    failures: Annotated[list[str], Meta(description="What could not change, and why.")]
    refused: Annotated[
        list[str], Meta(description="What is wrong with the file; then none of it is used.")
    ]


class FleetMember(Struct, forbid_unknown_fields=True):
    """A relay that reports to this one; `host` and `version` are what it says."""

    host: str
    peer: Annotated[str, Meta(description="Its verified identity, or its address.")]
    version: str
    queued_records: Count | None
    oldest_seconds: Seconds | None
    last_seen_seconds: Seconds
    state: str


class Web(Struct, forbid_unknown_fields=True):
    """The web server."""

    address: str
    ready: bool
    state: str
    readers: Annotated[int, Meta(description="Pages that are open.")]
    wrong_tokens: Annotated[int, Meta(description="Requests with a wrong token, since the start.")]
    requests_refused: Annotated[
        ByName, Meta(description="Requests that got an error, by reason, since the start.")
    ]


class Alert(Struct, forbid_unknown_fields=True):
    """An incident that runs, or has ended."""

    rule: str
    subject: str
    text: str
    severity: Literal["warning", "error"]
    since: Stamp
    ended: Stamp | UnsetType = UNSET


class AlertOutlet(Struct, forbid_unknown_fields=True):
    """A receiver of alerts."""

    name: str
    told: Count
    waiting: Count
    failures: Count
    given_up: Count
    dropped: Count
    last_error: str


class Log(Struct, forbid_unknown_fields=True):
    """The levels of the log."""

    level: Annotated[str, Meta(description="Of all namespaces that have no other one.")]
    configured: str
    namespaces: Annotated[dict[str, str], Meta(description="Levels that somebody has set.")]


class StatusDocument(Struct, forbid_unknown_fields=True):
    """The state of a relay."""

    status_version: Literal[1]
    name: str
    version: Annotated[str, Meta(description="Of the program.")]
    compiled: bool
    state_dir: str
    uptime_seconds: Seconds
    degraded: Annotated[
        list[str], Meta(description="Why the relay is not healthy, the worst first.")
    ]
    admission: Admission
    sources: list[Source]
    destinations: list[Destination]
    recently: Recently
    rates: RelayRates
    watch: Watch
    reactor_delay_seconds: Histogram
    commit_seconds: Histogram
    commit_writing_seconds: Histogram
    expression_timeouts: ByName
    orphans: list[str]
    sources_gone: list[str]
    damaged_files: list[str]
    certificates: list[Certificate]
    tables: list[TableProblem]
    log: Log
    waiting_in_groups: ByName
    fleet: list[FleetMember]
    reload: Reload
    web: Web | None
    alerts: Annotated[list[Alert], Meta(description="Those that run, the worst first.")]
    alerts_ended: Annotated[list[Alert], Meta(description="The last 100, the newest first.")]
    alerts_left_out: Annotated[
        ByName, Meta(description="What is found and not told, since there is too much, by rule.")
    ]
    alert_outlets: list[AlertOutlet]


def status_schema() -> Document:
    """The JSON Schema of the document."""
    return {
        "$schema": _DIALECT,
        "title": f"syslogrelay status, version {STATUS_VERSION}",
        **msgspec.json.schema(StatusDocument),
    }
