"""Requests in memory; `tests/end_to_end/test_alerts.py` has real ones, over TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError

from relay.model.errors import UpstreamError
from relay.service.alerts.webhook import new_webhook
from relay.service.configuration.model import AlertsConfiguration, TlsConfiguration, Url
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.names import HostResolver, ReactorWithNames
from tests.connections import RecordingNotices, Wire, fired
from tests.threads import Reactor

URL = Url("http", host="127.0.0.1", port=8080, path="/hook?key=secret")


class Endpoint:
    """Connects to a server in memory, or not yet."""

    made: ClassVar[list[Endpoint]] = []

    def __init__(self, reactor: ReactorWithNames, host: str, port: int, *, timeout: float) -> None:
        assert isinstance(reactor.nameResolver, HostResolver)
        self.place = (port, timeout)
        self.protocols: list[Any] = []
        self.wires: list[Wire] = []
        self.refusal: Exception | None = None
        self.made.append(self)

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refusal is not None:
            return fail(self.refusal)
        protocol = factory.buildProtocol(None)
        self.protocols.append(protocol)
        self.wires.append(Wire())
        protocol.makeConnection(self.wires[-1])
        return succeed(protocol)


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Twisted's own one imports the global reactor.
    monkeypatch.setattr("relay.service.alerts.webhook.HostnameEndpoint", Endpoint)


class Server:
    """A web server in memory, to which a webhook connects."""

    def __init__(self, **configuration: Any) -> None:
        self.reactor = Reactor()
        self.notices: Any = RecordingNotices()
        given = {"webhook": URL, "webhook_seconds_max": 5.0, **configuration}
        self.configuration = AlertsConfiguration(**given)
        certificates = CertificateWatch(
            notices=self.notices, now=self.reactor.seconds, clock=self.reactor
        )
        url: Any = self.configuration.webhook
        self.webhook = new_webhook(
            self.configuration, url, certificates, self.notices, self.reactor
        )

        self.endpoint = Endpoint.made[-1]

    def connect(self) -> tuple[Any, Wire]:
        """The connection that it has opened."""
        assert self.endpoint.place == (8080, 5.0)
        return self.endpoint.protocols[-1], self.endpoint.wires[-1]


def answered(status: bytes, **configuration: Any) -> tuple[list[Any], list[bytes]]:
    """What becomes of an alert if a server answers so, and the request."""
    server = Server(**configuration)
    results = fired(server.webhook(b'{"rule":"down"}'))
    protocol, wire = server.connect()
    request = wire.value().splitlines()
    protocol.dataReceived(b"HTTP/1.1 %s\r\nContent-Length: 6\r\n\r\nsecret" % status)
    return results, request


@pytest.mark.parametrize("status", [b"200 OK", b"202 Accepted", b"299 X"])
def test_an_alert_is_posted_as_json(status: bytes) -> None:
    results, request = answered(status)
    assert results == [None]
    assert request[0] == b"POST /hook?key=secret HTTP/1.1"
    assert b"Content-Type: application/json" in request
    assert b"Host: 127.0.0.1:8080" in request
    assert not [line for line in request if line.startswith(b"Authorization")]
    assert request[-1] == b'{"rule":"down"}'


@pytest.mark.parametrize("status", [b"302 Found", b"404 No", b"500 Oops", b"503 Later"])
def test_any_other_answer_is_a_failure_and_its_text_is_not_shown(status: bytes) -> None:
    ((error,), _) = answered(status)
    assert isinstance(error, UpstreamError)
    assert str(error) == f"answers {status.decode()[:3]}"


def test_the_token_is_read_anew_for_each_alert(tmp_path: Path) -> None:
    path = tmp_path / "token"
    server = Server(webhook_token_file=str(path))
    (error,) = fired(server.webhook(b"{}"))
    assert isinstance(error, UpstreamError) and "cannot read the token file" in str(error)
    path.write_text("first-token\n")
    server.webhook(b"{}")
    _, wire = server.connect()
    assert b"Authorization: Bearer first-token" in wire.value().splitlines()


def test_no_answer_in_time_is_a_failure() -> None:
    server = Server()
    results = fired(server.webhook(b"{}"))
    server.connect()
    server.reactor.advance(5.1)
    assert [str(each) for each in results] == ["no whole answer in 5 s"]


def test_no_connection_is_a_failure() -> None:
    server = Server()
    server.endpoint.refusal = ConnectionRefusedError()
    (error,) = fired(server.webhook(b"{}"))
    assert isinstance(error, UpstreamError)
    assert str(error) == "refused by 127.0.0.1:8080"


def test_files_of_tls_that_are_not_right_are_a_failure(tmp_path: Path) -> None:
    tls = TlsConfiguration(trusted_ca=str(tmp_path / "ca.pem"))
    server = Server(webhook=Url("https", host="127.0.0.1", port=8080, path="/"), tls=tls)
    (error,) = fired(server.webhook(b"{}"))
    assert isinstance(error, UpstreamError) and "ca.pem" in str(error)
    assert server.endpoint.wires == []
