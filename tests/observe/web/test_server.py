from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.model.errors import RelayError
from relay.model.token import Token
from relay.observe.web.access import Denied, Needs, Tokens, WebAccess, WrongTokens
from relay.observe.web.server import (
    Answer,
    Outlet,
    Page,
    Query,
    Stream,
    WebFactory,
    health,
    readiness,
)
from tests.connections import RecordingNotices, Wire, lose

TOKEN = "0123456789abcdef"
PATHS = "/page, /public, /stream, /action, /late"


class Server:
    """A web server with two pages, and connections to it."""

    def __init__(self, *host_names: str, token: Any = None, admin: Any = None) -> None:
        self.clock = Clock()
        self.notices: Any = RecordingNotices()
        self.accepts: list[str] = []
        self.outlets: list[Outlet] = []
        self.bodies: list[bytes] = []
        self.late: Deferred[Answer] = Deferred()
        self.factory = WebFactory(
            {
                "/page": Page(self._page, variant=lambda query: query.accept),
                "/public": Page(lambda query: health(), Needs.NOTHING),
                "/stream": Stream(lambda query, outlet: self.outlets.append(outlet)),
                "/action": Page(self._action, Needs.ADMIN, ("POST",), None),
                "/late": Page(lambda query: self.late, variant=None),
            },
            WebAccess(host_names, Tokens(token, admin), WrongTokens(self.clock)),
            clock=self.clock,
            notices=self.notices,
        )

    def _page(self, query: Query) -> Answer:
        self.accepts.append(query.accept)
        return Answer(b"a page\n")

    def _action(self, query: Query) -> Answer:
        self.bodies.append(query.body)
        return Answer(b"done\n")

    def act(self, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Status and body of the answer to an action."""
        return self.ask("/action", "POST", body, **headers)

    def connect(self) -> tuple[Any, Wire]:
        channel = self.factory.buildProtocol(None)
        assert channel is not None
        channel.makeConnection(wire := Wire())
        return channel, wire

    def ask(
        self, target: str = "/page", method: str = "GET", sent: bytes = b"", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        _, wire = self.connect()
        channel = next(iter(self.factory.connections))
        given = {"Host": "127.0.0.1:8514", **headers}
        if sent:
            given["Content-Length"] = str(len(sent))
        lines = [f"{name}: {value}" for name, value in given.items() if value]
        request = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        channel.dataReceived(request.encode() + sent)
        self.head, _, body = wire.value().partition(b"\r\n\r\n")
        lose(channel)
        return int(self.head.split()[1]), body


def test_a_page_is_answered() -> None:
    server = Server()
    assert server.ask(Accept="text/plain") == (200, b"a page\n")
    assert server.accepts == ["text/plain"]
    assert b"Cache-Control: no-store" in server.head
    assert server.notices.said == []


def test_a_query_does_not_matter() -> None:
    assert Server().ask("/page?x=1")[0] == 200


def test_a_host_that_is_not_ours_is_told_in_words() -> None:
    server = Server()
    assert server.ask(Host="127.0.0.1\r\nHost: evil.example.com")[0] == 421
    assert server.head.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    status, body = server.ask(Host="")
    assert (status, body) == (
        421,
        b"the request has no Host; send the address of this server\n",
    )


def test_head_has_the_length_and_no_body() -> None:
    server = Server()
    assert server.ask(method="HEAD") == (200, b"")
    assert b"Content-Length: 7" in server.head


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    server = Server()
    assert server.ask(method=method)[0] == 405
    assert b"Allow: GET, HEAD" in server.head
    assert server.notices.kinds == ["method"]


def test_there_are_no_other_paths() -> None:
    server = Server()
    status, body = server.ask("/\x7fetc")
    assert (status, body) == (
        404,
        b"there is no path /\\x7fetc, only /page, /public, /stream, /action, /late\n",
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8514", "[::1]:8514", "LOCALHOST:1", "relay.example.com"]
)
def test_our_names_and_addresses_are_answered(host: str) -> None:
    assert Server("relay.example.com").ask(Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example.com", "", "127.0.0.1.evil.example.com", "localhost.evil.com", "[::1", "a:b:c"],
)
def test_names_that_others_may_point_here_are_refused(host: str) -> None:
    server = Server("relay.example.com")
    assert server.ask(Host=host)[0] in (400, 421)
    assert server.ask("/public", Host=host)[0] in (400, 421)
    assert server.accepts == []


def test_a_token_is_asked_for() -> None:
    server = Server(token=lambda: Token(TOKEN.encode()))
    status, body = server.ask()
    assert (status, body) == (401, b"the token of web.token_file is required; there is none\n")
    assert b"WWW-Authenticate: Bearer" in server.head
    status, body = server.ask(Authorization="Bearer 0123456789abcdeX")
    assert (status, b"it is another one" in body) == (401, True)
    assert server.ask(Authorization=f"Bearer {TOKEN}") == (200, b"a page\n")
    assert server.ask("/public")[0] == 200
    # Whoever has no token does not learn which paths there are.
    assert server.ask("/other")[0] == 401


def test_a_token_that_cannot_be_read_lets_nobody_in() -> None:
    def read() -> Token:
        raise ValueError("cannot read it")

    server = Server(token=read)
    status, body = server.ask(Authorization=f"Bearer {TOKEN}")
    assert (status, body) == (503, b"web.token_file: cannot read it\n")


def test_a_body_is_not_kept() -> None:
    server = Server()
    channel, wire = server.connect()
    head = b"GET /page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    channel.dataReceived(head + b"x" * 10)
    assert wire.value().startswith(b"HTTP/1.1 413 ")
    assert wire.asked_to_close


def test_a_slow_connection_is_closed() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /page HTTP/1.1\r\n")
    for number in range(29):
        server.clock.advance(1)
        channel.dataReceived(b"X-%d: y\r\n" % number)
    assert not wire.disconnected
    server.clock.advance(1)
    assert wire.disconnected


def test_a_client_that_does_not_read_is_let_go() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert wire.asked_to_close and not wire.disconnected
    server.clock.advance(30)
    assert wire.disconnected


def test_a_connection_that_is_lost_leaves_no_timer() -> None:
    server = Server()
    server.ask()
    assert server.clock.getDelayedCalls() == []


def test_connections_are_bounded() -> None:
    server = Server()
    channels = [server.connect()[0] for _ in range(100)]
    assert server.factory.buildProtocol(None) is None
    assert server.notices.kinds == ["connections"]
    lose(channels[0])
    assert server.factory.buildProtocol(None) is not None


def test_a_stop_closes_connections() -> None:
    server = Server()
    _, wire = server.connect()
    server.factory.close_all()
    assert wire.disconnecting


def test_garbage_is_refused() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
    assert wire.value().startswith(b"HTTP/1.1 400 ") and wire.disconnecting


def test_readiness_says_why_not() -> None:
    assert readiness([]) == Answer(b"healthy\n")
    found = readiness(["out: refused", "in:\x1b[2J"])
    assert found == Answer(b"out: refused\nin:\\x1b[2J\n", 503)


def test_a_connection_gets_one_answer() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
    assert wire.value().count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in wire.value()
    assert wire.asked_to_close


def test_an_answer_is_kept_for_a_second() -> None:
    server = Server()
    server.clock.advance(100)
    for accept in ("a", "a", "b", "a"):
        server.ask(Accept=accept)
    assert server.accepts == ["a", "b"]
    server.clock.advance(1.0)
    server.ask(Accept="a")
    assert server.accepts == ["a", "b", "a"]


def test_a_refusal_is_in_the_log_with_the_client() -> None:
    server = Server()
    _, body = server.ask("/" + "x" * 200)
    text = f"answered 404: there is no path /{'x' * 98}…, only {PATHS}"
    assert body.decode() == text.removeprefix("answered 404: ") + "\n"
    assert server.notices.said == [("web server, 192.168.1.1", "path", text)]


def test_an_unknown_method_is_named() -> None:
    server = Server()
    assert server.ask(method="P" * 30) == (
        405,
        b"found %s\xe2\x80\xa6, expected GET or HEAD\n" % (b"P" * 19),
    )


def test_too_many_connections_are_in_the_log_with_the_client() -> None:
    server = Server()
    for _ in range(100):
        server.connect()
    server.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5))
    text = "closed: more than 100 connections"
    assert server.notices.said == [("web server, 192.0.2.1", "connections", text)]


# Streams.


def test_a_stream_is_open_for_longer_than_other_answers() -> None:
    server = Server()
    server.outlets.clear()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    (outlet,) = server.outlets
    assert b"Content-Type: text/event-stream" in wire.value()
    wire.clear()
    outlet.write(b"data: 1\n\n")
    assert b"data: 1\n\n" in wire.value()
    server.clock.advance(500)
    assert not wire.disconnected
    gone: list[bool] = []
    outlet.on_gone = lambda: gone.append(True)
    lose(channel)
    assert gone == [True]


def test_a_reader_that_does_not_read_makes_the_outlet_full() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    (outlet,) = server.outlets
    wire.producer.pauseProducing()
    assert outlet.is_full
    wire.producer.resumeProducing()
    assert not outlet.is_full
    outlet.abort()
    assert wire.disconnected


def test_a_stream_that_ends_closes_even_if_nobody_reads() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.outlets[0].end()
    server.clock.advance(31)
    assert wire.disconnected


def test_a_stream_needs_the_token_as_well() -> None:
    server = Server(token=lambda: Token(TOKEN.encode()))
    assert server.ask("/stream")[0] == 401
    assert server.outlets == []


# Actions.

JSON_BODY = {"Content-Type": "application/json"}


def test_an_action_gets_its_body() -> None:
    server = Server(admin=lambda: Token(TOKEN.encode()))
    answered = server.act(b'{"a": 1}', Authorization=f"Bearer {TOKEN}", **JSON_BODY)
    assert answered == (200, b"done\n")
    assert server.bodies == [b'{"a": 1}']


def test_an_action_needs_its_token_and_our_own_page() -> None:
    server = Server(admin=lambda: Token(TOKEN.encode()))
    right = {"Authorization": f"Bearer {TOKEN}", **JSON_BODY}
    assert server.act(b"{}", **JSON_BODY)[0] == 401
    assert server.act(b"{}", **{**right, "Authorization": "Bearer other"})[0] == 401
    assert server.act(b"{}", Cookie=f"token={TOKEN}", **JSON_BODY)[0] == 401
    assert server.act(b"{}", Origin="http://evil.example.com", **right)[0] == 403
    assert server.act(b"{}", **{**right, "Sec-Fetch-Site": "cross-site"})[0] == 403
    assert server.act(b"{}", **{**right, "Content-Type": "text/plain"})[0] == 415
    assert server.act(b"{}", **{**right, "Host": "evil.example.com"})[0] == 421
    assert server.ask("/action", Authorization=f"Bearer {TOKEN}")[0] == 405
    twice = "http://127.0.0.1:8514\r\nOrigin: http://evil.example.com"
    assert server.act(b"{}", Origin=twice, **right)[0] == 403
    assert server.bodies == []
    own = {"Origin": "http://127.0.0.1:8514", "Sec-Fetch-Site": "same-origin"}
    assert server.act(b"{}", **right, **own)[0] == 200


def test_without_an_admin_token_nobody_acts() -> None:
    assert Server().act(b"{}", Authorization=f"Bearer {TOKEN}", **JSON_BODY)[0] == 401


@pytest.mark.parametrize("length", [4097, 10**9])
def test_a_body_has_a_limit(length: int) -> None:
    server = Server(admin=lambda: Token(TOKEN.encode()))
    channel, wire = server.connect()
    head = f"POST /action HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    channel.dataReceived(head.encode() + b"x" * 4097)
    assert wire.value().startswith(b"HTTP/1.1 413 ")
    assert wire.value().count(b"HTTP/1.1") == 1


def test_a_chunked_body_has_a_limit() -> None:
    server = Server(admin=lambda: Token(TOKEN.encode()))
    channel, wire = server.connect()
    head = b"POST /action HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    channel.dataReceived(head + (b"400\r\n" + b"x" * 0x400 + b"\r\n") * 5 + b"0\r\n\r\n")
    assert wire.value().startswith(b"HTTP/1.1 413 ")
    assert wire.value().count(b"HTTP/1.1") == 1


# Answers that take a while.


def test_an_answer_may_come_later() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert wire.value() == b""
    server.late.callback(Answer(b"at last\n"))
    assert wire.value().endswith(b"at last\n")


@pytest.mark.parametrize(
    ("error", "status"), [(RelayError("no such queue"), 409), (Denied(503, "busy", "busy"), 503)]
)
def test_an_answer_may_fail_later(error: Exception, status: int) -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.late.errback(error)
    assert int(wire.value().split()[1]) == status
    assert wire.value().endswith(f"{error}\n".encode())


def test_an_answer_for_nobody_is_thrown_away() -> None:
    server = Server()
    channel, wire = server.connect()
    channel.dataReceived(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
    lose(channel)
    server.late.callback(Answer(b"too late\n"))
    assert wire.value() == b""


def test_every_answer_keeps_scripts_and_frames_of_others_out() -> None:
    server = Server()
    for path in ("/page", "/nowhere", "/public"):
        server.ask(path)
        for header in (
            b"Content-Security-Policy: default-src 'none'; script-src 'self'; ",
            b"frame-ancestors 'none'",
            b"X-Content-Type-Options: nosniff",
            b"Referrer-Policy: no-referrer",
            b"X-Frame-Options: DENY",
        ):
            assert header in server.head


def test_too_many_parameters_are_refused() -> None:
    assert Server().ask("/page?" + "&".join(f"a{n}=1" for n in range(30)))[0] == 400
