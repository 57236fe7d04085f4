"""The relay's web server: metrics and health, for those who may see them.

Twisted parses HTTP.  Only GET and HEAD are answered, and requests have no body, so nothing that a
client sends is kept but the header, which Twisted bounds.  A connection gets one answer, so
requests cannot be piled up.  An answer is kept for a second, so it costs little to ask for it
again and again.

A browser may be made to call this server in the name of another site (DNS rebinding), hence
the names by which it is called are checked: an address is no name that anybody could point here.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from relay.model.clock import Clock
from relay.model.text import printable
from relay.model.token import Token
from relay.transport.notices import Notices
from relay.wire.http.paths import secrets_of

TEXT = "text/plain; charset=utf-8"
_CONNECTIONS_MAX = 100
_CONNECTION_SECONDS_MAX = 30.0
_KEPT_SECONDS = 1.0
_METHODS = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::[0-9]{1,5})?")
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_SUBJECT = "web server"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    body: bytes
    status: int = 200
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Page:
    """One path.

    Args:
        answer: Given the value of Accept.
        is_public: It asks for no token.
        variant: Tells what the answer is by the value of Accept, if it is not always the same.
    """

    answer: Callable[[str], Answer]
    is_public: bool = False
    variant: Callable[[str], str] = lambda accept: ""


class Denied(Exception):
    """A request that gets an error.

    Attributes:
        kind: For warnings.
    """

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


class WebAccess:
    """Who may ask.

    Args:
        host_names: Names by which the server may be called, in lower case; ``localhost`` and
            addresses always may.
        token: Reads the token that clients have to show, and raises ValueError where there is
            none; None = nobody asks for one.
    """

    def __init__(self, host_names: Collection[str], token: Callable[[], Token] | None) -> None:
        self._host_names = {"localhost", *host_names}
        self._token = token

    def check_host(self, header: str) -> None:
        """Raises `Denied` unless the value of Host is one of ours."""
        found = _HOST.fullmatch(header)
        host = "" if found is None else found[1].strip("[]").lower()
        if host in self._host_names or _is_address(host):
            return
        raise Denied(
            421,
            "host",
            f"this server is not called {printable(header, length_max=100)}; use its address, or "
            "add the name to web.host_names",
        )

    def check_token(self, authorization: str) -> None:
        """Raises `Denied` unless the value of Authorization has the token."""
        if self._token is None:
            return
        try:
            wanted = self._token().reveal()
        except ValueError as error:
            raise Denied(503, "token", f"web.token_file: {error}") from None
        given = secrets_of(authorization)
        if not any(hmac.compare_digest(secret, wanted) for secret in given):
            found = "it is another one" if given else "there is none"
            raise Denied(401, "token", f"the token of web.token_file is required; {found}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class WebRequest(Request):
    """One request."""

    channel: WebChannel

    def __init__(self, channel: WebChannel, queued: object, *, factory: WebFactory) -> None:
        super().__init__(channel, queued)
        self._factory = factory

    def header(self, name: str) -> str:
        """The value of a header; empty = it is not there, or several are."""
        values = self.requestHeaders.getRawHeaders(name.encode()) or []
        return values[0].decode("latin-1") if len(values) == 1 else ""

    def parseCookies(self) -> None:
        """There are none."""

    def gotLength(self, length: int | None) -> None:
        """Keeps no body."""

    def handleContentChunk(self, data: bytes) -> None:
        self.channel.end(_TOO_LARGE)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        answer = self._factory.answer(self, command.decode("latin-1"), path.decode("latin-1"))
        self.channel.persistent = False
        self.setResponseCode(answer.status)
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if answer.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if answer.status == 405:
            headers["Allow"] = ", ".join(_METHODS)
        for name, value in headers.items():
            self.responseHeaders.setRawHeaders(name.encode(), [value.encode()])
        if command != b"HEAD":
            self.write(answer.body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class WebChannel(HTTPChannel):
    """One connection, which ends after its time even if the client sends or reads slowly."""

    timeOut = None  # Twisted's begins anew with each line
    transport: Any  # exists from connectionMade on

    def __init__(self, factory: WebFactory) -> None:
        HTTPChannel.__init__(self)
        self._connections = factory.connections
        self._clock = factory.clock
        self.requestFactory = partial(WebRequest, factory=factory)  # type: ignore[assignment]

    def connectionMade(self) -> None:
        self._connections.add(self)
        self._end = self._clock.callLater(_CONNECTION_SECONDS_MAX, self.transport.abortConnection)
        HTTPChannel.connectionMade(self)

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
    """

    noisy = False

    def __init__(
        self, pages: Mapping[str, Page], access: WebAccess, *, clock: Clock, notices: Notices
    ) -> None:
        self.connections: set[WebChannel] = set()
        self.clock = clock
        self._pages = pages
        self._access = access
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

    def answer(self, request: WebRequest, method: str, target: str) -> Answer:
        """What a request gets."""
        try:
            return self._answer(request, method, target.partition("?")[0])
        except Denied as denied:
            address = request.channel.transport.getPeer()
            self._warn(address, denied.kind, f"answered {denied.status}: {denied}")
            return Answer(f"{denied}\n".encode(), denied.status)

    def _answer(self, request: WebRequest, method: str, path: str) -> Answer:
        self._access.check_host(request.header("Host"))
        page = self._pages.get(path)
        if page is None or not page.is_public:
            self._access.check_token(request.header("Authorization"))
        if page is None:
            found = printable(path, length_max=100)
            raise Denied(404, "path", f"there is no path {found}, only {', '.join(self._pages)}")
        if method not in _METHODS:
            allowed = " or ".join(_METHODS)
            found = printable(method, length_max=20)
            raise Denied(405, "method", f"found {found}, expected {allowed}")
        return self._current(path, page, request.header("Accept"))

    def _current(self, path: str, page: Page, accept: str) -> Answer:
        """The answer of a page, or the one that it gave within the last second."""
        now, key = self.clock.seconds(), (path, page.variant(accept))
        kept = {of: each for of, each in self._kept.items() if now - each[0] < _KEPT_SECONDS}
        if key not in kept:
            kept[key] = now, page.answer(accept)
        self._kept = kept
        return kept[key][1]

    def _warn(self, address: IAddress | None, kind: str, text: str) -> None:
        host = getattr(address, "host", "")
        self._notices.warn(f"{_SUBJECT}, {host}", kind, text, group=_SUBJECT)


def health(answer: str = "the relay answers\n") -> Answer:
    """That the process turns its loop."""
    return Answer(answer.encode())


def readiness(degraded: Collection[str]) -> Answer:
    """Whether messages get on, and if not, why, a line for each reason."""
    if not degraded:
        return Answer(b"healthy\n")
    lines = [printable(reason) for reason in degraded]
    return Answer("".join(f"{line}\n" for line in lines).encode(), 503)
