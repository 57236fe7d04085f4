"""The relay's web server: metrics, health and a page, for those who may see them.

Twisted parses HTTP.  A body is taken for actions only, and has a limit, so nothing that a client
sends is kept but that and the header, which Twisted bounds.  A connection gets one answer, so
requests cannot be piled up.  An answer is kept for a second, so it costs little to ask for it
again and again.

A browser may be made to call this server in the name of another site (DNS rebinding), hence
the names by which it is called are checked: an address is no name that anybody could point here.
No script, frame or form of another site has a place in what it answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from relay.model.clock import Clock
from relay.model.errors import RelayError
from relay.model.text import printable
from relay.observe.web.access import Denied, Needs, WebAccess, check_origin
from relay.transport.notices import Notices

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
READING = ("GET", "HEAD")
BODY_BYTES_MAX = 4096
_PARAMETERS_MAX = 20
_CONNECTIONS_MAX = 100
_CONNECTION_SECONDS_MAX = 30.0
_KEPT_SECONDS = 1.0
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_SUBJECT = "web server"
_HEADERS = {
    "Connection": "close",
    "Cache-Control": "no-store",
    # Data never becomes markup, and a script that got in nevertheless would have no place.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    body: bytes
    status: int = 200
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks for, beside its path."""

    accept: str = ""
    """Value of the header."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    """At most `BODY_BYTES_MAX`."""
    address: str = ""
    """Of the client."""


@dataclass(frozen=True, slots=True)
class Page:
    """One path.

    Args:
        variant: Tells what the answer is, where it is not always the same; None = it is not
            kept for others.
    """

    answer: Callable[[Query], Answer | Deferred[Answer]]
    needs: Needs = Needs.READER
    methods: Collection[str] = READING
    variant: Callable[[Query], str] | None = lambda query: ""


@dataclass(frozen=True, slots=True)
class Stream:
    """A path whose answer has no end.

    Args:
        open: Given an outlet, which it may write to from then on; raises `Denied` if there are
            too many readers.
    """

    open: Callable[[Query, Outlet], None]
    needs: Needs = Needs.READER
    methods: Collection[str] = ("GET",)
    content_type: str = "text/event-stream"


@implementer(IPushProducer)
class Outlet:
    """A client that reads a stream.

    Attributes:
        is_full: It reads too slowly: what is written now would pile up.
        on_gone: Called when the client has gone.
    """

    def __init__(self, request: WebRequest) -> None:
        self.is_full = False
        self.on_gone: Callable[[], None] = lambda: None
        self._request = request

    def write(self, data: bytes) -> None:
        self._request.write(data)  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """The stream is over; a client may ask for another one."""
        self._request.channel.limit()
        self._request.unregisterProducer()  # type: ignore[no-untyped-call]
        self._request.finish()  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Whatever was not read yet is given up."""
        self._request.channel.transport.abortConnection()

    def pauseProducing(self) -> None:
        self.is_full = True

    def resumeProducing(self) -> None:
        self.is_full = False

    def stopProducing(self) -> None:
        self.is_full = True


class WebRequest(Request):
    """One request."""

    channel: WebChannel
    _log = Logger(namespace="relay")

    def __init__(self, channel: WebChannel, queued: object, *, factory: WebFactory) -> None:
        super().__init__(channel, queued)
        self._factory = factory
        self._body = bytearray()
        self._is_too_large = False
        self._outlet: Outlet | None = None

    def header(self, name: str) -> str:
        """The value of a header, or values with commas between them; empty = it is not there.

        So two of a header that has one value are never the value that is allowed.
        """
        values = self.requestHeaders.getRawHeaders(name.encode()) or []
        return b", ".join(values).decode("latin-1")

    def parseCookies(self) -> None:
        """There are none."""

    def gotLength(self, length: int | None) -> None:
        if (length or 0) > BODY_BYTES_MAX:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        if len(self._body) + len(data) > BODY_BYTES_MAX:
            self._refuse_body()
        else:
            self._body += data

    def _refuse_body(self) -> None:
        if not self._is_too_large:
            self._is_too_large = True
            self._factory.refused["body"] += 1
            self.channel.end(_TOO_LARGE)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._is_too_large:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.channel.persistent = False
        address = self.channel.transport.getPeer()
        found = self._factory.answer(self, command.decode("latin-1"), path.decode("latin-1"))
        if isinstance(found, Deferred):
            found.addErrback(self._failed)
            found.addErrback(partial(self._factory.denial, address))
            found.addCallback(self._respond)
        else:
            self._respond(found)

    def query(self, text: str) -> Query:
        """What the part of the target behind ``?`` and the rest of the request say."""
        try:
            parameters = dict(parse_qsl(text, max_num_fields=_PARAMETERS_MAX))
        except ValueError:
            raise Denied(
                400, "parameters", f"expected at most {_PARAMETERS_MAX} parameters"
            ) from None
        host = getattr(self.channel.transport.getPeer(), "host", "")
        return Query(self.header("Accept"), parameters, bytes(self._body), host)

    def stream(self, stream: Stream, query: Query) -> None:
        """Begin an answer that has no end.  Raises `Denied` if there are too many readers."""
        outlet = Outlet(self)
        stream.open(query, outlet)
        self._outlet = outlet
        self.channel.keep()
        self._begin(200, stream.content_type, {})
        self.registerProducer(outlet, True)  # type: ignore[no-untyped-call]
        self.write(b"")  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._outlet is not None:
            self._outlet.on_gone()

    def _failed(self, failure: Failure) -> Answer:
        if failure.check(Denied) is not None:
            failure.raiseException()
        if failure.check(RelayError) is not None:
            return Answer(f"{failure.value}\n".encode(), 409)
        self._log.failure("web server: an answer failed", failure)
        return Answer(b"internal error; the log has the details\n", 500)

    def _respond(self, answer: Answer | None) -> None:
        if answer is None or self._disconnected:
            return
        length = {"Content-Length": str(len(answer.body))}
        self._begin(answer.status, answer.content_type, {**length, **answer.headers})
        if self.method != b"HEAD":
            self.write(answer.body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def _begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        self.setResponseCode(status, HTTPStatus(status).phrase.encode())
        for name, value in {"Content-Type": content_type, **_HEADERS, **headers}.items():
            self.responseHeaders.setRawHeaders(name.encode(), [value.encode()])


class WebChannel(HTTPChannel):
    """One connection, which ends after its time even if the client sends or reads slowly.

    A stream ends the connections of its readers itself.
    """

    timeOut = None  # Twisted's begins anew with each line
    transport: Any  # exists from connectionMade on

    def __init__(self, factory: WebFactory) -> None:
        HTTPChannel.__init__(self)
        self._connections = factory.connections
        self._clock = factory.clock
        self.requestFactory = partial(WebRequest, factory=factory)  # type: ignore[assignment]

    def connectionMade(self) -> None:
        self._connections.add(self)
        self.limit()
        HTTPChannel.connectionMade(self)

    def keep(self) -> None:
        """Let it be open for longer."""
        self._end.cancel()

    def limit(self) -> None:
        """It ends in a while."""
        self._end = self._clock.callLater(_CONNECTION_SECONDS_MAX, self.transport.abortConnection)

    def end(self, answer: bytes) -> None:
        """Answer what is no request that could be answered, and close."""
        self.transport.write(answer)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.discard(self)
        if self._end.active():
            self._end.cancel()
        HTTPChannel.connectionLost(self, reason)


class WebFactory(Factory):
    """Knows the paths and the open connections.

    Args:
        pages: By path.

    Attributes:
        connections: Those that are open.
        refused: How many requests got an error instead of what they asked for, by reason;
            docs/web.md lists the reasons.
    """

    noisy = False

    def __init__(
        self,
        pages: Mapping[str, Page | Stream],
        access: WebAccess,
        *,
        clock: Clock,
        notices: Notices,
    ) -> None:
        self.connections: set[WebChannel] = set()
        self.refused = Counter[str]()
        self.clock = clock
        self.access = access
        self._pages = pages
        self._notices = notices
        self._kept: dict[tuple[str, str], tuple[float, Answer]] = {}

    def buildProtocol(self, addr: IAddress | None) -> WebChannel | None:
        if len(self.connections) >= _CONNECTIONS_MAX:
            self._warn(addr, "connections", f"closed: more than {_CONNECTIONS_MAX} connections")
            return None
        return WebChannel(self)

    def close_all(self) -> None:
        for channel in list(self.connections):
            channel.transport.abortConnection()

    def answer(
        self, request: WebRequest, method: str, target: str
    ) -> Answer | Deferred[Answer] | None:
        """What a request gets; None = a stream, which has begun."""
        address = request.channel.transport.getPeer()
        path, _, query = target.partition("?")
        try:
            page = self._page(request, method, path, getattr(address, "host", ""))
            asked = request.query(query)
            if isinstance(page, Stream):
                request.stream(page, asked)
                return None
            return self._current(path, page, asked)
        except Denied as denied:
            return self._refuse(address, denied)

    def denial(self, address: IAddress | None, failure: Failure) -> Answer:
        """The answer where `Denied` comes late."""
        failure.trap(Denied)
        assert isinstance(failure.value, Denied)
        return self._refuse(address, failure.value)

    def _refuse(self, address: IAddress | None, denied: Denied) -> Answer:
        self._warn(address, denied.kind, f"answered {denied.status}: {denied}")
        headers = {name.replace("_", "-"): value for name, value in denied.headers.items()}
        return Answer(f"{denied}\n".encode(), denied.status, headers=headers)

    def _page(self, request: WebRequest, method: str, path: str, address: str) -> Page | Stream:
        """What has the path.  Raises `Denied` unless the request may have it."""
        host = request.header("Host")
        self.access.check_host(host)
        page = self._pages.get(path)
        needs = Needs.READER if page is None else page.needs
        self.access.check_token(needs, request.header("Authorization"), address)
        if page is None:
            found = printable(path, length_max=100)
            known = ", ".join(each for each in self._pages if "." not in each)
            raise Denied(404, "path", f"there is no path {found}, only {known}")
        if method not in page.methods:
            allowed = " or ".join(page.methods)
            found = printable(method, length_max=20)
            reason = f"found {found}, expected {allowed}"
            raise Denied(405, "method", reason, Allow=", ".join(page.methods))
        if method not in READING:
            check_origin(request.header("Origin"), request.header("Sec-Fetch-Site"), host)
            if request.header("Content-Type").partition(";")[0].strip().lower() != JSON:
                raise Denied(415, "content", f"expected a body of the type {JSON}")
        return page

    def _current(self, path: str, page: Page, query: Query) -> Answer | Deferred[Answer]:
        """The answer of a page, or the one that it gave within the last second."""
        if page.variant is None:
            return page.answer(query)
        now, key = self.clock.seconds(), (path, page.variant(query))
        kept = {of: each for of, each in self._kept.items() if now - each[0] < _KEPT_SECONDS}
        self._kept = kept
        if key in kept:
            return kept[key][1]
        answer = page.answer(query)
        if isinstance(answer, Deferred):
            return answer.addCallback(partial(self._keep, key))
        return self._keep(key, answer)

    def _keep(self, key: tuple[str, str], answer: Answer) -> Answer:
        self._kept[key] = self.clock.seconds(), answer
        return answer

    def _warn(self, address: IAddress | None, kind: str, text: str) -> None:
        self.refused[kind] += 1
        host = getattr(address, "host", "")
        self._notices.warn(f"{_SUBJECT}, {host}", kind, text, group=_SUBJECT)


def health(answer: str = "the relay answers\n") -> Answer:
    """That the process turns its loop."""
    return Answer(answer.encode())


def acceptance(obstacle: str) -> Answer:
    """Whether a balancer should send connections here.

    Args:
        obstacle: Why it should not; empty = it should.
    """
    return Answer(f"{obstacle or 'accepting'}\n".encode(), 503 if obstacle else 200)


def readiness(degraded: Collection[str]) -> Answer:
    """Whether messages get on, and if not, why, a line for each reason."""
    if not degraded:
        return Answer(b"healthy\n")
    lines = [printable(reason) for reason in degraded]
    return Answer("".join(f"{line}\n" for line in lines).encode(), 503)
