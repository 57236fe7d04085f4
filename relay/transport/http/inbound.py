"""HTTP from clients: 200 means that the events are on disk.

Twisted parses HTTP.  A request is refused when it comes in (its body is read and thrown away, so
that every client sees the answer) or when all of it is there; else its events are stored, and it
is answered after the commit.  While admission is closed the answer is 429: a client that
waits for its answer learns more from that than from silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from relay.model.origin import Origin
from relay.model.text import counted, printable
from relay.transport.stream.connection import InboundProtocol
from relay.wire.http.content import ContentError, decoded, too_long
from relay.wire.http.endpoints import INGEST, JSON, PROTOBUF, Call, Endpoint, Taken
from relay.wire.http.paths import read_target, secrets_of

_RETRY_SECONDS = 5  # what Retry-After says where nothing tells when there is room again
_ANSWER_SECONDS_MAX = 60.0  # after that nobody waits for a commit
_PRODUCT = ("X-Elastic-Product", "Elasticsearch")  # its clients insist on it

AppOf = Callable[[Origin, Sequence[bytes]], str]
"""The app of a sender, by where it is and the secrets that it gave; empty = none."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    body_bytes_max: int
    """Of a request, also after it was decompressed."""
    request_seconds_max: float
    """For all of a request to come in."""


class Refusal(Exception):
    """A request that is answered with an error, and counted by `kind`."""

    def __init__(self, status: int, kind: str, reason: str, retry_seconds: int = 0) -> None:
        super().__init__(reason)
        self.status, self.kind, self.retry_seconds = status, kind, retry_seconds


class HttpRequest(Request):
    """One request, whose body stays in memory."""

    endpoint: Endpoint = INGEST
    call: Call = Call("/")

    def __init__(
        self, channel: HTTPChannel, queued: object, *, protocol: HttpServerProtocol
    ) -> None:
        super().__init__(channel, queued)
        self.protocol = protocol
        self.body = bytearray()
        self.body_bytes = 0
        self.refusal: Refusal | None = None

    def header(self, name: str) -> str:
        """The value of a header; empty = it is not there."""
        values = self.requestHeaders.getRawHeaders(name.encode()) or [b""]
        return values[0].decode("latin-1")

    def set_header(self, name: str, value: str) -> None:
        self.responseHeaders.setRawHeaders(name.encode(), [value.encode()])

    def reply(self, body: bytes) -> None:
        self.write(body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def parseCookies(self) -> None:
        """There are none."""

    def gotLength(self, length: int | None) -> None:
        self.refusal = self.protocol.refusal_at_once(length)

    def handleContentChunk(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if self.refusal is None and self.body_bytes > self.protocol.http.body_bytes_max:
            self.refusal = self.protocol.refusal_at_once(self.body_bytes)
        if self.refusal is None:
            self.body += data
        else:
            self.body = bytearray()

    @property
    def kept_bytes(self) -> int:
        return len(self.body)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        self.protocol.received(self)


@implementer(IPushProducer)
class _Below:
    """What the channel takes for its transport."""

    def __init__(self, protocol: HttpServerProtocol) -> None:
        self._protocol = protocol
        transport = protocol.transport
        self.write, self.writeSequence = transport.write, transport.writeSequence
        self.getPeer, self.getHost = transport.getPeer, transport.getHost
        self.abortConnection = transport.abortConnection
        self.loseConnection = protocol.channel_ended
        self.pauseProducing, self.resumeProducing = protocol.wait, protocol.go_on

    @property
    def disconnecting(self) -> bool:
        return self._protocol.closing

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """The protocol is the producer already."""

    def unregisterProducer(self) -> None:
        """The same."""

    def stopProducing(self) -> None:
        """The same."""


class HttpServerProtocol(InboundProtocol):
    """One connection; a request at a time.

    Args:
        app_of: Which app sends; None = whoever may connect may send.
        wants_token: Whether a token would help a sender that is no app.
    """

    slows_down: ClassVar[bool] = False

    def __init__(
        self, http: HttpLimits, *, app_of: AppOf | None = None, wants_token: bool = False
    ) -> None:
        super().__init__()
        self.http = http
        self._app_of = app_of
        self._wants_token = wants_token
        self._channel = HTTPChannel()
        self._waiting: HttpRequest | None = None  # for its commit
        self._is_last = False  # the connection ends with the next answer

    def begin(self) -> None:
        channel = self._channel
        channel.timeOut = None  # it would need the reactor
        channel.requestFactory = partial(HttpRequest, protocol=self)  # type: ignore[assignment]
        channel.makeConnection(_Below(self))

    @property
    def unfinished_bytes(self) -> int:
        return sum(request.kept_bytes for request in self._channel.requests)

    def take(self, chunk: bytes) -> None:
        self._begin_request()
        self._channel.dataReceived(chunk)

    def _begin_request(self) -> None:
        if self._waiting is None and "request" not in self.timers:
            self.timers.set("request", self.http.request_seconds_max, self._slow)

    def pause_reading(self) -> None:
        """Nothing: whoever sends while admission is closed gets 429."""

    def resume_reading(self) -> None:
        """Nothing was paused."""

    def shut_down(self) -> None:
        self._is_last = True
        if self._waiting is None:
            self.close()

    def close_idle(self) -> None:
        self.shut_down()

    def end(self) -> None:
        self._waiting = None
        self._channel.connectionLost(Failure(ConnectionDone()))

    # For requests and the channel.

    def wait(self) -> None:
        """The peer has sent more than the channel can use before the next answer."""
        self._pause("request")

    def go_on(self) -> None:
        if "request" in self._pauses:
            self._resume("request")

    def channel_ended(self) -> None:
        """The channel closes: after an answer, or because it cannot read a request."""
        if not self._is_last:
            self.factory.counters.requests_refused["malformed"] += 1
            self.violated("closed: it does not speak HTTP/1.1", "http")
        self.close()

    def refusal_at_once(self, length: int | None) -> Refusal | None:
        """Why no request with `length` bytes, None if that is not known, can be taken now."""
        if length is not None and length > self.http.body_bytes_max:
            return Refusal(413, "too-large", str(too_long(self.http.body_bytes_max)))
        factory, host = self.factory, self.origin.peer_host
        if length != 0 and factory.admission.closed:
            return Refusal(429, "busy", f"try again later: {factory.admission.reason}")
        if length != 0 and factory.rates.is_limited:
            seconds = math.ceil(factory.rates.charge(host, 0))
            if seconds:
                return Refusal(429, "busy", "more than rate_per_peer_max", seconds)
        return None

    def received(self, request: HttpRequest) -> None:
        """All of a request is here."""
        self.timers.cancel("request")
        self._waiting = request
        try:
            taken = self._taken(request)
        except ContentError as error:
            kind = {413: "too-large", 503: "busy"}.get(error.status, "malformed")
            self._refuse(request, Refusal(error.status, kind, str(error)))
        except Refusal as refusal:
            self._refuse(request, refusal)
        else:
            self._store(request, taken)

    def _taken(self, request: HttpRequest) -> Taken:
        """The events of a request; raises `Refusal` or ContentError."""
        method = request.method.decode("latin-1")
        endpoint, call = read_target(method, request.uri, request.header("Content-Type"))
        if endpoint is None:
            raise Refusal(404, "unknown-path", f"there is no path {printable(call.path)}")
        admission = self.factory.admission
        busy = admission.reason if admission.closed else ""
        call = replace(call, frame_bytes_max=self.factory.limits.frame_bytes_max, busy=busy)
        request.endpoint, request.call = endpoint, call
        if method not in endpoint.methods:
            allowed = ", ".join(endpoint.methods)
            request.set_header("Allow", allowed)
            raise Refusal(405, "unknown-path", f"found {printable(method)}, expected {allowed}")
        if "POST" not in endpoint.methods:
            return endpoint.read(b"", call)
        if refusal := request.refusal or self.refusal_at_once(None):
            raise refusal
        secrets = secrets_of(request.header("Authorization"))
        app = self._app(secrets)
        if app == "" and (secrets or not self._wants_token):
            raise self._unauthorised(bool(secrets))
        body, request.body = bytes(request.body), bytearray()
        encoding = request.header("Content-Encoding")
        body = decoded(body, encoding, self.http.body_bytes_max)
        taken = endpoint.read(body, call)
        if app == "" and len(taken.indexes) == 1:  # Sematext's tokens are names of indexes
            app = self._app([index.encode() for index in taken.indexes])
        frames = taken.frames
        if app == "" and not 0 < len(frames.frames) == frames.with_token:
            raise self._unauthorised(False)
        self.origin = self.origin._replace(app=app or "")
        return taken

    def _app(self, secrets: Sequence[bytes]) -> str | None:
        """The app that sends; empty = none; None = nobody asks."""
        if self._app_of is None:
            return None
        return self._app_of(self.origin._replace(app=""), secrets)

    def _unauthorised(self, has_token: bool) -> Refusal:
        if has_token or not self._wants_token:
            return Refusal(403, "unauthorised", "the sender is none of the apps")
        return Refusal(401, "unauthorised", "a token of an app is required")

    def _store(self, request: HttpRequest, taken: Taken) -> None:
        factory, frames = self.factory, taken.frames
        if taken.refused:
            factory.counters.requests_refused["items"] += taken.refused
            self.warn("items", f"{counted(taken.refused, 'item')} refused; the answer says why")
        if factory.rates.is_limited:
            factory.rates.charge(self.origin.peer_host, len(frames.frames))
        self.timers.set("answer", _ANSWER_SECONDS_MAX, self._refuse, request, _NOT_STORED)
        self.store(
            *(frames.frames, frames.cut, {}),
            stored=partial(self._answer, request, taken.status, taken.answer),
            failed=partial(self._failed, request),
        )

    def _failed(self, request: HttpRequest, failure: Failure) -> None:
        self.warn("not-stored", f"answered 503: {failure.getErrorMessage()}")
        self._refuse(request, _NOT_STORED)

    def _slow(self) -> None:
        seconds = self.http.request_seconds_max
        self.factory.counters.requests_refused["slow"] += 1
        self.warn("slow", f"closed: no whole request within request_seconds_max ({seconds:g} s)")
        self._is_last = True
        self.transport.write(_SLOW)
        self.close()

    def _refuse(self, request: HttpRequest, refusal: Refusal) -> None:
        if request is not self._waiting:
            return
        self.factory.counters.requests_refused[refusal.kind] += 1
        self.warn(refusal.kind, f"answered {refusal.status}: {refusal}")
        if refusal.status in (429, 503):
            request.set_header("Retry-After", str(refusal.retry_seconds or _RETRY_SECONDS))
        if refusal.status == 401:
            request.set_header("WWW-Authenticate", 'Basic realm="syslogrelay"')
        answer = request.endpoint.refusal(refusal.status, str(refusal), request.call)
        self._answer(request, refusal.status, answer)

    def _answer(self, request: HttpRequest, status: int, body: bytes) -> None:
        if request is not self._waiting:  # answered already, or gone
            return
        self._waiting = None
        self.timers.cancel("answer")
        self._is_last = self._is_last or not self._channel.persistent
        if self._is_last:
            self._channel.persistent = False
            request.set_header("Connection", "close")
        request.setResponseCode(status)
        default = PROTOBUF if request.call.content_type == PROTOBUF else JSON
        request.set_header("Content-Type", request.endpoint.content_type or default)
        request.set_header("Content-Length", str(len(body)))
        request.set_header(*_PRODUCT)
        request.reply(body)
        if self._channel.requests and not self.closing:  # the next one came with this one
            self._begin_request()


_NOT_STORED = Refusal(503, "not-stored", "the events could not be stored; send them again")
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
