"""The paths of the web server, and what answers them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
from twisted.internet.defer import Deferred

from relay.model.clock import Reactor, WallClock
from relay.model.counters.peers import PeerTable
from relay.model.token import Token
from relay.observe.control import Asked, Command
from relay.observe.status import Status
from relay.observe.taps import Taps
from relay.observe.web.access import Denied, Needs, Tokens, WebAccess, WrongTokens
from relay.observe.web.events import EventStream
from relay.observe.web.history import COUNTS, SAMPLE_SECONDS, SLOTS, Sample, thinned
from relay.observe.web.live import LiveView, Senders
from relay.observe.web.page_files import page_files
from relay.observe.web.server import (
    JSON,
    Answer,
    Page,
    Query,
    Stream,
    WebFactory,
    acceptance,
    health,
    readiness,
)
from relay.queue.transaction import is_of_source
from relay.service.configuration.model import Configuration, WebConfiguration
from relay.service.configuration.tables.rewrite import token_from_file
from relay.service.queue.view import QueueView
from relay.service.reloading.live import Live
from relay.service.sampling import RateSampler
from relay.service.sources.service import SourceService
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.web.actions import Actions
from relay.service.web.recorder import Recorder
from relay.service.web.search import Search
from relay.service.web.service import WebService
from relay.service.web.tail import Tail
from relay.transport.notices import Notices

_DAY_SECONDS = SLOTS * SAMPLE_SECONDS
_SPANS = (600, 3600, 21600, _DAY_SECONDS)
"""Seconds of history that may be asked for."""


@dataclass(frozen=True, slots=True)
class WebParts:
    """Parts of the relay that the web server shows, and works with."""

    configuration: Configuration
    status: Status
    sources: Sequence[SourceService]
    flows: Callable[[], dict[str, Sequence[str]]]
    """The sources of each destination, by their ids."""
    rates: RateSampler
    view: QueueView
    taps: Taps
    secrets: Callable[[], Collection[bytes]]
    """The known tokens, which are masked."""
    commands: Mapping[str, Command]
    """Those of the control socket."""
    obstacle: Callable[[], str]
    """Why a balancer should send to another receiver, in a few words; empty = it should not."""
    certificates: CertificateWatch
    notices: Notices
    wall: WallClock
    reactor: Reactor


def new_web_service(parts: WebParts) -> WebService | None:
    """The web server with its pages; None if it is not configured."""
    web = parts.configuration.web
    if web is None:
        return None
    recorder = _recorder(parts)
    events = EventStream(_live(parts, web).event, parts.reactor)
    pages: dict[str, Page | Stream] = {
        **page_files(),
        "/events": Stream(events.open),
        "/history": Page(partial(_history, recorder, parts.view), variant=_span),
        "/samples": Page(partial(_samples, parts.commands)),
        "/tap": Stream(Tail(parts.taps, parts.reactor).open),
        "/search": Page(_search(parts).answer, variant=None),
        **_for_programs(parts),
    }
    if web.admin_token_file:
        pages |= Actions(parts.commands).pages()
    factory = WebFactory(pages, _access(web, parts), clock=parts.reactor, notices=parts.notices)
    return WebService(web, factory, events, recorder, parts.certificates, parts.reactor)


def _for_programs(parts: WebParts) -> dict[str, Page]:
    # A relay without a web server need not load what writes metrics.
    from relay.observe.metrics import RelayCollector, content_type, exposition

    document = parts.status.document
    collector = RelayCollector(
        document,
        _tables(parts),
        Live(lambda: {each.id: each.kept for each in parts.sources if each.kept is not None}),
    )

    def metrics(query: Query) -> Answer:
        kind = content_type(query.accept)
        return Answer(exposition(collector, kind), content_type=kind)

    return {
        "/metrics": Page(metrics, variant=lambda query: content_type(query.accept)),
        "/healthz": Page(lambda query: health(), Needs.NOTHING),
        "/readyz": Page(lambda query: readiness(document()["degraded"])),
        # Without a variant: a balancer has to see a change at once.
        "/accepting": Page(lambda query: acceptance(parts.obstacle()), Needs.NOTHING, variant=None),
    }


def _access(web: WebConfiguration, parts: WebParts) -> WebAccess:
    def reads(file: str) -> Callable[[], Token] | None:
        return partial(token_from_file, file) if file else None

    names = (*web.host_names, web.listen.host)
    tokens = Tokens(reads(web.token_file), reads(web.admin_token_file))
    return WebAccess({name.lower() for name in names if name}, tokens, WrongTokens(parts.reactor))


def _live(parts: WebParts, web: WebConfiguration) -> LiveView:
    return LiveView(
        parts.status.document,
        lambda: parts.rates.totals,
        Senders(_tables(parts), parts.reactor.seconds),
        Live(parts.flows),
        now=parts.wall.now,
        has_actions=bool(web.admin_token_file),
    )


def _tables(parts: WebParts) -> Live[str, PeerTable]:
    return Live(lambda: {source.id: source.counters.peers for source in parts.sources})


def _recorder(parts: WebParts) -> Recorder:
    def totals() -> Mapping[str, int]:
        severities = Counter[str]()
        for source in parts.sources:
            for severity, count in enumerate(source.counters.peers.severities()):
                severities[f"severity{severity}"] += count
        return {**parts.rates.totals, **severities}

    def queued() -> tuple[int, int]:
        found = [of for id, of in parts.view.ledgers.items() if not is_of_source(id)]
        return sum(each.queued for each in found), sum(each.queued_bytes for each in found)

    return Recorder(
        path=os.path.join(parts.configuration.state_dir, "history.ring"),
        totals=totals,
        queued=queued,
        notices=parts.notices,
        now=parts.wall.now,
        clock=parts.reactor,
    )


def _search(parts: WebParts) -> Search:
    return Search(view=parts.view, secrets=parts.secrets, clock=parts.reactor)


def _span(query: Query) -> str:
    """How many seconds of history a request asks for."""
    asked = query.parameters.get("seconds", str(_DAY_SECONDS))
    if asked not in map(str, _SPANS):
        allowed = ", ".join(map(str, _SPANS))
        raise Denied(400, "history", f"seconds: expected one of {allowed}")
    return asked


def _history(recorder: Recorder, view: QueueView, query: Query) -> Deferred[Answer]:
    seconds = float(_span(query))
    return view.in_reader(lambda: _columns(thinned(recorder.samples(seconds))))


def _columns(samples: Sequence[Sample]) -> Answer:
    """A list of each count, in the order of time."""
    columns: dict[str, list[float] | list[int]] = {
        "at": [round(sample.at, 3) for sample in samples],
        "seconds": [round(sample.seconds, 3) for sample in samples],
        "queued_records": [sample.queued_records for sample in samples],
        "queued_bytes": [sample.queued_bytes for sample in samples],
    }
    for place, name in enumerate(COUNTS):
        columns[name] = [sample.counts[place] for sample in samples]
    return Answer(msgspec.json.encode(columns), content_type=JSON)


def _samples(commands: Mapping[str, Command], query: Query) -> Answer:
    command = commands["samples"]
    assert isinstance(command, Asked)
    found = command.answer(command.arguments())
    return Answer(msgspec.json.encode(found), content_type=JSON)
