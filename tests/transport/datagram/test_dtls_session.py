from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.task import Clock

from relay.transport.datagram.dtls_session import DATAGRAM_BYTES_MAX, DtlsSession
from relay.transport.tls.endpoints import TlsUpstream, verified_identity
from tests.dtls import new_listener, new_upstream


class Both:
    """Both ends of a session, and the datagrams between them."""

    def __init__(self, upstream: TlsUpstream | None = None) -> None:
        self.clock = Clock()
        self.listener = new_listener(self.clock)
        self.listener.asking = b"client"
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.changes: list[str] = []
        made_by = upstream or new_upstream()
        self.client = DtlsSession(
            made_by.clientConnectionForTLS,
            clock=self.clock,
            send=self.to_server.append,
            changed=lambda: self.changes.append("client"),
        )
        self.server = DtlsSession(
            self.listener.serverConnectionForTLS, clock=self.clock, send=self.to_client.append
        )
        self.texts: list[bytes] = []

    def ask(self) -> None:
        """Up to the cookie that the server accepts."""
        self.client.start()
        assert not self.server.listen(self.to_server.pop())
        self.client.feed(self.to_client.pop())
        assert self.server.listen(self.to_server.pop())

    def exchange(self) -> None:
        while self.to_client or self.to_server:
            while self.to_client:
                self.client.feed(self.to_client.pop(0))
            while self.to_server:
                self.texts += self.server.feed(self.to_server.pop(0))

    def opened(self) -> Both:
        self.ask()
        self.exchange()
        assert self.client.is_open
        assert self.server.is_open
        return self


def test_a_session_carries_data_after_a_cookie_and_a_handshake() -> None:
    both = Both().opened()
    both.client.write(b"one")
    both.client.write(b"two")
    both.exchange()
    assert both.texts == [b"one", b"two"]
    assert both.client.version == "DTLSv1.2"
    assert both.client.chain[0].subject.rfc4514_string() == "CN=central.example.com"
    identity = verified_identity(both.server)
    assert identity is not None
    assert (identity.subject, identity.names) == ("web-1.example.com", ("web-1.example.com",))
    assert both.clock.getDelayedCalls() == []


def test_the_flights_of_a_handshake_fit_any_path() -> None:
    both = Both()
    both.ask()
    assert both.to_client
    assert all(len(datagram) <= DATAGRAM_BYTES_MAX for datagram in both.to_client)


def test_reordered_records_are_taken_and_duplicates_and_forgeries_are_not() -> None:
    both = Both().opened()
    for text in (b"one", b"two"):
        both.client.write(text)
    first, second = both.to_server
    forged = bytes([*second[:-1], second[-1] ^ 1])
    assert both.server.feed(forged) == []
    assert both.server.feed(second) == [b"two"]
    assert both.server.feed(first + second) == [b"one"]
    assert both.server.rejected == 2
    assert not both.server.is_over


def test_data_that_overtakes_the_end_of_the_handshake_is_kept() -> None:
    both = Both()
    both.ask()
    both.client.feed(both.to_client.pop(0))
    for datagram in both.to_client:
        both.client.feed(datagram)
    both.to_client.clear()
    *flight, last = both.to_server
    both.to_server.clear()
    for datagram in flight:
        both.server.feed(datagram)
    both.server.feed(last)
    for datagram in both.to_client:
        both.client.feed(datagram)
    assert both.client.is_open
    both.client.write(b"early")
    assert both.server.feed(both.to_server.pop()) == [b"early"]


def test_the_end_is_told_and_answered() -> None:
    both = Both().opened()
    both.client.close()
    both.exchange()
    assert (both.server.is_over, both.server.failure) == (True, None)
    assert (both.client.is_over, both.client.failure) == (True, None)


@pytest.mark.parametrize(
    ("upstream", "kind", "text"),
    [
        (
            new_upstream(certificate=False),
            "tls-did-not-return-a-certificate",
            "sent no certificate",
        ),
        (new_upstream(ciphers="ECDHE-RSA-AES128-GCM-SHA256"), "tls-no-shared-cipher", "no cipher"),
    ],
)
def test_why_a_client_is_refused(upstream: TlsUpstream, kind: str, text: str) -> None:
    both = Both(upstream)
    both.ask()
    both.exchange()
    assert both.server.failure is not None
    assert both.server.failure.kind == kind
    assert text in both.server.failure.text
    assert both.client.is_over


def test_why_a_server_is_refused() -> None:
    both = Both(new_upstream(server_name="other.example.com"))
    both.ask()
    both.exchange()
    assert both.client.failure is not None
    assert "expected other.example.com" in both.client.failure.text
    assert both.server.is_over


def test_a_handshake_waits_for_the_time_of_its_next_retransmission() -> None:
    both = Both()
    both.client.start()
    (call,) = both.clock.getDelayedCalls()
    assert 0 < call.getTime() <= 1
    both.client.close()
    assert both.clock.getDelayedCalls() == []


def test_the_timer_that_openssl_finds_too_early_is_set_again() -> None:
    both = Both()
    both.client.start()
    both.to_server.clear()
    both.clock.advance(1)  # and no real time
    assert both.to_server == []
    assert len(both.clock.getDelayedCalls()) == 1


def test_a_cookie_of_another_address_is_not_accepted() -> None:
    both = Both()
    both.client.start()
    both.server.listen(both.to_server.pop())
    both.client.feed(both.to_client.pop())
    both.listener.asking = b"another"
    assert not both.server.listen(both.to_server.pop())


def test_one_session_asks_many_clients_for_cookies() -> None:
    both = Both()
    for _ in range(5):
        other = Both()
        other.client.start()
        assert not both.server.listen(other.to_server.pop())
        assert both.to_client.pop()
    both.ask()
    both.exchange()
    assert both.server.is_open


def test_a_kernel_that_takes_nothing_does_not_end_a_handshake() -> None:
    both = Both()

    def busy(datagram: bytes) -> None:
        raise BlockingIOError

    both.client.send = busy
    both.client.start()
    assert not both.client.is_over


def test_a_kernel_that_takes_nothing_is_told_to_who_writes() -> None:
    both = Both().opened()

    def refused(datagram: bytes) -> None:
        raise ConnectionRefusedError

    both.client.send = refused
    with pytest.raises(ConnectionRefusedError):
        both.client.write(b"lost")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=100), st.integers(0, 10_000), st.integers(1, 255))))
def test_no_packet_ends_an_open_session(packets: list[tuple[bytes, int, int]]) -> None:
    both = Both().opened()
    both.client.write(b"one")
    (record,) = both.to_server
    for packet, place, change in packets:
        both.server.feed(packet)
        damaged = bytearray(record)
        damaged[place % len(record)] ^= change
        assert both.server.feed(bytes(damaged)) in ([], [b"one"])
        both.server.feed(record[:3] + packet)
    assert not both.server.is_over
    both.client.write(b"two")
    assert both.server.feed(both.to_server[-1]) == [b"two"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1))
def test_any_damaged_hello_is_answered_refused_or_ignored(changes: list[tuple[int, int]]) -> None:
    both = Both()
    both.client.start()
    damaged = bytearray(both.to_server.pop())
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with suppress(SSL.Error):
        assert not both.server.listen(bytes(damaged))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.integers(0, 10_000), max_size=12))
def test_damage_to_a_handshake_never_raises(places: list[int | None]) -> None:
    both = Both()
    both.ask()
    while both.to_client or both.to_server:
        for way, end in ((both.to_client, both.client), (both.to_server, both.server)):
            if way:
                datagram = bytearray(way.pop(0))
                place = places.pop() if places else None
                if place is not None:
                    datagram[place % len(datagram)] ^= 1
                end.feed(bytes(datagram))
    assert not (both.client.is_over and both.client.is_open)
