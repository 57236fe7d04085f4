from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from relay.model.errors import UpstreamError
from relay.service.configuration.model import Url
from relay.service.probes import upstream as module
from relay.service.probes.probe import Probe
from relay.service.probes.upstream import (
    Connection,
    Upstream,
    greet_relp,
    greet_syslog,
    probe_datagrams,
    probe_upstream,
    tls_finding,
)
from relay.transport.tls.blocking import TlsBroken
from relay.transport.tls.failure import TlsFailure
from relay.wire.relp.server import RelpServerSession

URL = Url("relp", host="central.example.com", port=20514)
UPSTREAM = Upstream(URL, socket.AF_INET, ("192.0.2.1", 20514), None)


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


class Scripted:
    """A connection whose other end says what a test has written; None = nothing in time."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = [*answers]
        self.sent: list[bytes] = []

    def settimeout(self, value: float | None) -> None:
        assert value is not None and value > 0

    def recv(self, size: int) -> bytes:
        answer = self._answers.pop(0) if self._answers else b""
        if answer is None:
            raise TimeoutError
        return answer

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


def greeted(
    greet: Callable[[Probe, Upstream, Connection], None], *answers: bytes | None
) -> tuple[Probe, Scripted]:
    """What `greet` finds of a server that says `answers` and closes; and the connection."""
    connection, probe = Scripted(*answers), Probe("central", 5)
    greet(probe, UPSTREAM, connection)
    return probe, connection


def relp_answers() -> bytes:
    session = RelpServerSession(data_bytes_max=1000, software=b"test,1")
    session.receive(b"1 open 30 relp_version=0\ncommands=syslog\n")
    return session.data_to_send()


def test_relp() -> None:
    probe, _ = greeted(greet_relp, relp_answers(), b"2 rsp 0\n0 serverclose 0\n")
    assert faults(probe) == ["open"]
    assert "192.0.2.1:20514 opens sessions in " in probe.findings[0].text
    assert ": test,1, offers commands" in probe.findings[0].text


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ([b"\x15\x03\x01\x00\x02\x02\x46"], "relp-tls-port"),
        ([], "relp-closed"),
        ([b"1 rsp 20 500 you may not here\n"], "relp-refused"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "relp-refused"),
    ],
)
def test_no_relp(monkeypatch: pytest.MonkeyPatch, answers: Sequence[bytes], fault: str) -> None:
    monkeypatch.setattr(module, "_speaks_tls", lambda *_: False)
    assert faults(greeted(greet_relp, *answers)[0]) == [fault]


def test_relp_without_an_answer() -> None:
    assert faults(greeted(greet_relp, None)[0]) == ["relp-no-answer"]


def test_plain_syslog() -> None:
    probe, connection = greeted(greet_syslog, None, None)
    assert faults(probe) == ["lines"] and connection.sent == [b"\n" * 5]


@pytest.mark.parametrize(
    ("answers", "speaks_relp", "fault"),
    [
        ([b"\x15\x03\x01\x00\x02\x02\x46"], False, "syslog-tls-port"),
        ([b"220 mail.example.com ESMTP\r\n"], False, "syslog-other-port"),
        ([b""], True, "syslog-relp-port"),
        ([b""], False, "syslog-closed"),
    ],
)
def test_no_plain_syslog(
    monkeypatch: pytest.MonkeyPatch, answers: Sequence[bytes], speaks_relp: bool, fault: str
) -> None:
    monkeypatch.setattr(module, "_speaks_relp", lambda *_: speaks_relp)
    monkeypatch.setattr(module, "_speaks_tls", lambda *_: False)
    assert faults(greeted(greet_syslog, *answers)[0]) == [fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("certificate 'CN=a' is not accepted: it has expired at 2026", "tls-expired"),
        ("certificate 'CN=a' is not accepted: it is not valid before 2027", "tls-not-yet-valid"),
        ("the certificate is for a, expected b", "tls-wrong-name"),
        ("its issuer 'CN=x' is not among the trusted CAs in /ca.pem", "tls-unknown-ca"),
        ("its extended key usage is for something else", "tls-purpose"),
        ("it was revoked in /crl.pem", "tls-revoked"),
        ("X.509 error 99", "tls-failed"),
    ],
)
def test_refused_certificates(text: str, fault: str) -> None:
    error = TlsBroken(TlsFailure("tls-certificate", text))
    assert tls_finding(UPSTREAM, error).fault == fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TlsBroken(TlsFailure("tls-certificate-required", "x")), "tls-client-certificate"),
        (TlsBroken(TlsFailure("tls-wrong-version-number", "x")), "tls-plain-port"),
        (TlsBroken(TlsFailure("tls-unsupported-protocol", "x")), "tls-version"),
        (TimeoutError("timed out"), "tls-no-answer"),
        (ConnectionResetError(104, "reset"), "tls-closed"),
    ],
)
def test_other_failures_of_tls(error: OSError, fault: str) -> None:
    assert tls_finding(UPSTREAM, error).fault == fault


def resolved(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    def getaddrinfo(host: str, port: int, **_: object) -> Any:
        if not hosts:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class Pairs:
    """Connects to some addresses only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
        self._there = there
        self.others: list[socket.socket] = []
        monkeypatch.setattr(Upstream, "connect_plainly", lambda *args: self._connect(*args))

    def _connect(self, upstream: Upstream, seconds_max: float) -> socket.socket:
        if upstream.address[0] not in self._there:
            raise ConnectionRefusedError
        here, other = socket.socketpair()
        self.others.append(other)
        return here


def nothing(probe: Probe, upstream: Upstream, connection: Connection) -> None:
    probe.passed("greeting", upstream.place)


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch)
    probe = Probe("central", 1)
    probe_upstream(probe, URL, None, nothing)
    probe_datagrams(probe, URL)
    assert faults(probe) == ["dns-unknown", "dns-unknown"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["192.0.2.1", "192.0.2.2"], ["dns", "connect", "greeting", "connect", "greeting"]),
        (["192.0.2.2"], ["dns", "tcp-partial", "connect", "greeting"]),
        ([], ["dns", "tcp-refused", "tcp-refused"]),
    ],
)
def test_every_address_is_tried(
    monkeypatch: pytest.MonkeyPatch, there: list[str], expected: list[str]
) -> None:
    resolved(monkeypatch, "192.0.2.1", "192.0.2.2")
    pairs = Pairs(monkeypatch, *there)
    probe = Probe("central", 5)
    probe_upstream(probe, URL, None, nothing)
    assert faults(probe) == expected
    for each in pairs.others:
        each.close()


def test_a_name_for_datagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "192.0.2.1")
    probe = Probe("central", 1)
    probe_datagrams(probe, URL)
    assert faults(probe) == ["dns", "datagrams"]


@pytest.mark.parametrize(
    ("bind", "fault"),
    [("127.0.0.1", "datagrams"), ("192.0.2.1", "bind-unknown"), ("::1", "bind-family")],
)
def test_the_address_that_datagrams_come_from(
    monkeypatch: pytest.MonkeyPatch, bind: str, fault: str
) -> None:
    resolved(monkeypatch, "127.0.0.1")
    probe = Probe("central", 1)
    probe_datagrams(probe, URL, bind=bind)
    assert faults(probe) == ["dns", fault]


def test_a_name_without_an_address_of_the_family_of_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "127.0.0.1")
    probe = Probe("central", 1)
    probe_upstream(probe, URL, None, lambda *_: None, bind="::1")
    assert faults(probe) == ["dns", "bind-family"]


@pytest.mark.parametrize(("counts", "expected"), [(True, "lines"), (False, "syslog-closed")])
def test_a_receiver_that_refuses_blank_lines(
    monkeypatch: pytest.MonkeyPatch, counts: bool, expected: str
) -> None:
    monkeypatch.setattr(module, "_speaks_relp", lambda *_: False)
    monkeypatch.setattr(module, "_speaks_tls", lambda *_: False)
    assert faults(greeted(partial(greet_syslog, counts=counts), None, b"")[0]) == [expected]


def test_all_servers_of_srv_records_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [("192.0.2.1", 20514), ("192.0.2.2", 20516), ("2001:db8::1", 20517)]
    monkeypatch.setattr(module, "servers_of", lambda *_: places)
    pairs = Pairs(monkeypatch, "192.0.2.2", "2001:db8::1")
    probe = Probe("central", 5)
    probe_upstream(probe, Url("relp", host="_syslog._tcp.example.com"), None, nothing)
    assert faults(probe) == ["dns", "tcp-partial", "connect", "greeting", "connect", "greeting"]
    assert [each.text for each in probe.findings if each.step == "greeting"] == [
        "192.0.2.2:20516",
        "[2001:db8::1]:20517",
    ]
    for each in pairs.others:
        each.close()


def test_srv_records_that_name_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def servers_of(name: str, seconds_max: float) -> Any:
        raise UpstreamError(f"the SRV records of {name} name no server")

    monkeypatch.setattr(module, "servers_of", servers_of)
    probe = Probe("central", 1)
    probe_upstream(probe, Url("relp", host="_syslog._tcp.example.com"), None, nothing)
    assert faults(probe) == ["srv-unknown"]
