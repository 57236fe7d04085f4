"""What a name server may answer instead of the truth."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.selectreactor import SelectReactor
from twisted.names import dns
from twisted.names.resolve import ResolverChain
from twisted.python.failure import Failure

from relay.model.errors import UpstreamError
from relay.transport import names
from relay.transport.names import DnsResolver, Found, Names

PORT = 514
SECONDS_MAX = 12.0
SERVICE = "_syslog._tcp.up.test"

Answers = Callable[[dns.Message, bool], Sequence[bytes]]
"""What is sent for a question; told whether it came by TCP."""


class BadNameServer(threading.Thread):
    """Answers on UDP and TCP with whatever `answers` says."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answers: Answers = lambda question, is_tcp: []
        self.questions = 0
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._is_open = True
        self.start()

    def run(self) -> None:
        connections: list[socket.socket] = []
        while self._is_open:
            waiting = [self._udp, self._tcp, *connections]
            for ready in select.select(waiting, [], [], 0.05)[0]:
                if ready is self._tcp:
                    connections.append(self._tcp.accept()[0])
                elif ready is self._udp:
                    data, sender = self._udp.recvfrom(4096)
                    for answer in self._answered(data, False):
                        self._udp.sendto(answer, sender)
                elif not self._serve(ready):
                    connections.remove(ready)
                    ready.close()
        for each in (self._udp, self._tcp, *connections):
            each.close()

    def _serve(self, connection: socket.socket) -> bool:
        """Answer all questions that are there.  Returns whether the connection lives on."""
        try:
            data = connection.recv(4096)
        except ConnectionError:
            return False
        rest = data
        while rest:
            length = int.from_bytes(rest[:2], "big")
            for answer in self._answered(rest[2 : 2 + length], True):
                connection.sendall(len(answer).to_bytes(2, "big") + answer)
            rest = rest[2 + length :]
        return bool(data)

    def _answered(self, data: bytes, is_tcp: bool) -> Sequence[bytes]:
        question = dns.Message()
        question.fromStr(data)
        self.questions += 1
        return self.answers(question, is_tcp)

    def close(self) -> None:
        """Is harmless when repeated."""
        self._is_open = False
        self.join()


def answer(question: dns.Message, records: Sequence[Any] = (), **flags: Any) -> bytes:
    """Args: records: Pairs of a name and a record."""
    message = dns.Message(question.id, answer=1, **flags)
    message.queries = question.queries
    message.answers = [
        dns.RRHeader(name, record.TYPE, ttl=record.ttl, payload=record) for name, record in records
    ]
    return bytes(message.toStr())


def table(records: dict[str, Sequence[Any]]) -> Answers:
    """Answers by names; others are unknown."""

    def answers(question: dns.Message, is_tcp: bool) -> Sequence[bytes]:
        (query,) = question.queries
        name = query.name.name.decode()
        fitting = [each for each in records.get(name, ()) if each.TYPE in (query.type, dns.CNAME)]
        code = dns.OK if name in records else dns.ENAME
        return [answer(question, [(name, each) for each in fitting], rCode=code)]

    return answers


class Asking:
    """Names, as a destination has them, that ask one name server."""

    def __init__(self, port: int) -> None:
        self.reactor = SelectReactor()  # of this test alone
        resolver = DnsResolver(servers=[("127.0.0.1", port)], reactor=self.reactor)
        self.said: list[str] = []
        self.names = Names(
            run_in_thread=self._system,
            warn=self.said.append,
            new_dns=lambda: self._chain,
            clock=self.reactor,
        )
        self._chain = ResolverChain([resolver])

    async def _system(self, call: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def __call__(self, host: str = "up.test", port: int = PORT) -> Found | None:
        """What was found; None = that name cannot be looked up."""
        results: list[Any] = []
        ensureDeferred(self.names.look_up(host, port)).addBoth(results.append)
        deadline = time.monotonic() + SECONDS_MAX
        while not results:
            assert time.monotonic() < deadline, "the lookup does not end"
            self.reactor.iterate(0.02)
        (result,) = results
        if not isinstance(result, Failure):
            return result  # type: ignore[no-any-return]
        result.trap(UpstreamError)
        return None


@pytest.fixture
def server() -> Iterator[BadNameServer]:
    there = BadNameServer()
    yield there
    there.close()


@pytest.fixture
def ask(server: BadNameServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    monkeypatch.setattr(names, "_QUERY_SECONDS", (0.2, 0.3))
    monkeypatch.setattr(names, "_TCP_SECONDS", 0.3)
    asking = Asking(server.port)
    yield asking
    asking.reactor.removeAll()


ONE = dns.Record_A("127.0.0.1", 60)


def test_addresses_count_though_the_question_for_ipv6_is_ignored(
    server: BadNameServer, ask: Asking
) -> None:
    plain = table({"up.test": [ONE]})
    server.answers = lambda question, is_tcp: (
        [] if question.queries[0].type == dns.AAAA else plain(question, is_tcp)
    )
    assert ask() == Found((("127.0.0.1", PORT),), 60)
    plain = table({"up.test": [dns.Record_A("127.0.0.2", 60)]})
    assert ask() == Found((("127.0.0.2", PORT),), 60)  # not the last one
    assert not ask.said


def test_a_server_of_a_service_without_address_does_not_take_the_others_with_it(
    server: BadNameServer, ask: Asking
) -> None:
    servers = [
        dns.Record_SRV(10, 0, 1001, "gone.test", 60),
        dns.Record_SRV(20, 0, 1002, "up.test", 60),
        dns.Record_SRV(1, 0, 0, "up.test", 60),
        dns.Record_SRV(1, 0, 1003, b"", 60),
    ]
    server.answers = table({SERVICE: servers, "up.test": [ONE]})
    assert ask(SERVICE, 0) == Found((("127.0.0.1", 1002),), 60)


def test_a_huge_service_is_bounded(server: BadNameServer, ask: Asking) -> None:
    servers = [dns.Record_SRV(n, 0, n, f"n{n}.test", 60) for n in range(1, 900)]
    many = {f"n{n}.test": [dns.Record_A(f"127.1.{n}.{k}", 60) for k in range(20)] for n in range(9)}
    full = table({SERVICE: servers, **many})
    server.answers = lambda question, is_tcp: (
        full(question, is_tcp)
        if is_tcp or question.queries[0].type != dns.SRV
        else [answer(question, trunc=1)]
    )
    found = ask(SERVICE, 0)
    assert found is not None
    assert len(found.places) == 64
    assert found.places[0] == ("127.1.1.0", 1)
    assert server.questions < 50


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 5.0), (2**31 - 1, 86400.0), (2**31, 5.0)])
def test_times_to_live(server: BadNameServer, ask: Asking, ttl: int, seconds: float) -> None:
    server.answers = table({"up.test": [dns.Record_A("127.0.0.1", ttl)]})
    assert ask() == Found((("127.0.0.1", PORT),), seconds)


def test_an_address_of_somebody_else_is_none(server: BadNameServer, ask: Asking) -> None:
    server.answers = lambda question, is_tcp: [
        answer(question, [("other.test", dns.Record_A("127.6.6.6", 60))])
    ]
    assert ask() is None


def test_aliases_lead_to_an_address(server: BadNameServer, ask: Asking) -> None:
    records = [
        ("b.test", dns.Record_A("127.0.0.7", 60)),
        ("A.test", dns.Record_CNAME("b.test", 30)),
        ("up.test", dns.Record_CNAME("a.test", 90)),
    ]
    server.answers = lambda question, is_tcp: [answer(question, records)]
    assert ask() == Found((("127.0.0.7", PORT),), 30)


def _cycle(question: dns.Message, is_tcp: bool) -> Sequence[bytes]:
    records = [
        ("up.test", dns.Record_CNAME("a.test", 9)),
        ("a.test", dns.Record_CNAME("up.test", 9)),
    ]
    return [answer(question, records)]


def _compression_loop(question: dns.Message, is_tcp: bool) -> Sequence[bytes]:
    # A name of the answer that points to itself: 12 bytes of header, then 0xC00C.
    return [answer(question)[:4] + b"\0\0\0\1\0\0\0\0" + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + bytes(4)]


BROKEN: dict[str, Answers] = {
    "silence": lambda question, is_tcp: [],
    "nothing": lambda question, is_tcp: [answer(question)],
    "SERVFAIL": lambda question, is_tcp: [answer(question, rCode=dns.ESERVER)],
    "an unknown code": lambda question, is_tcp: [answer(question, rCode=11)],
    "truncated for ever": lambda question, is_tcp: [answer(question, trunc=1)],
    "silence by TCP": lambda question, is_tcp: [] if is_tcp else [answer(question, trunc=1)],
    "half an answer": lambda question, is_tcp: [answer(question, [("up.test", ONE)])[:-3]],
    "garbage": lambda question, is_tcp: [b"\xff" * 300],
    "garbage with its number": lambda question, is_tcp: [answer(question)[:2] + b"\xff" * 300],
    "garbage by TCP": lambda question, is_tcp: [
        answer(question)[:2] + b"\xff" * 300 if is_tcp else answer(question, trunc=1)
    ],
    "a cycle of aliases": _cycle,
    "a name that points to itself": _compression_loop,
    "another type": lambda question, is_tcp: [
        answer(question, [("up.test", dns.Record_TXT(b"127.0.0.1", ttl=5))])
    ],
    "another number": lambda question, is_tcp: [
        answer(dns.Message(question.id ^ 1), [("up.test", ONE)])
    ],
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_answers(server: BadNameServer, ask: Asking, how: str) -> None:
    server.answers = table({"up.test": [ONE]})
    good = ask()
    server.answers = BROKEN[how]
    found = ask()
    assert found is not None
    assert good is not None
    assert (found.places, found.is_fresh) == (good.places, False)
    assert len(ask.said) == 1
    assert server.questions < 100
    server.answers = table({"up.test": [dns.Record_A("127.0.0.2", 60)]})
    assert ask() == Found((("127.0.0.2", PORT),), 60)


def test_nobody_answers_by_tcp(server: BadNameServer, ask: Asking) -> None:
    server.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", server.port))

        def cut() -> None:
            for _ in range(2):
                data, sender = udp.recvfrom(4096)
                question = dns.Message()
                question.fromStr(data)
                udp.sendto(answer(question, trunc=1), sender)

        cutting = threading.Thread(target=cut, daemon=True)
        cutting.start()
        assert ask() is None
        cutting.join()


@pytest.mark.parametrize("host", ["a" * 64 + ".test", ".".join(["a" * 60] * 5), "a..test"])
def test_names_that_dns_cannot_ask_for(ask: Asking, host: str) -> None:
    assert ask(host) is None
