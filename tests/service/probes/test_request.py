from __future__ import annotations

import socket
import threading
import time
from email.utils import formatdate

import pytest

from relay.service.configuration.model import Url
from relay.service.kinds import KINDS
from relay.service.probes.probe import Probe
from relay.service.probes.request import Asking
from relay.service.probes.upstream import Upstream

URL = Url("http", host="logs.example.com", port=80)
UPSTREAM = Upstream(URL, socket.AF_INET, ("192.0.2.1", 80), None)


def asked(answer: bytes, *, method: str = "POST") -> tuple[Probe, bytes]:
    """What is found of a server that says `answer`, and what it was asked."""
    here, there = socket.socketpair()
    requests = []

    def serve() -> None:
        with there:
            requests.append(there.recv(65536))
            there.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    probe = Probe("logs", 10)
    with here:
        Asking(method, "/_bulk", {"Authorization": "Bearer s3cret"}, (b"s3cret",))(
            probe, UPSTREAM, here
        )
    thread.join()
    return probe, requests[0]


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


def test_the_request_has_no_body() -> None:
    _, request = asked(b"HTTP/1.1 200 OK\r\n\r\n")
    assert request == (
        b"POST /_bulk HTTP/1.0\r\nHost: logs.example.com\r\nAuthorization: Bearer s3cret\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        ("200 OK", "", "request"),
        ("400 Bad Request", "request body is required", "request"),
        ("401 Unauthorized", "", "http-unauthorised"),
        ("403 Forbidden", '{"text":"Invalid token s3cret","code":4}', "http-forbidden"),
        ("400 Bad Request", "Application not found for token s3cret", "token-unknown"),
        ("404 Not Found", "", "http-not-found"),
        ("301 Moved", "", "http-refused"),
        ("503 Unavailable", "", "http-busy"),
        ("429 Too Many", "", "http-too-many"),
        ("502 Bad Gateway", "", "http-down"),
    ],
)
def test_what_the_server_says(status: str, body: str, fault: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    probe, _ = asked((head + body).encode())
    assert faults(probe) == [fault]
    assert "s3cret" not in probe.findings[0].text


@pytest.mark.parametrize(
    ("health", "found"),
    [
        (b"200 OK", ["request", "health"]),
        (b"503 HEC is unhealthy, queues are full", ["request", "http-not-ready"]),
        (b"404 Not here", ["request"]),
        (b"403 Not for you", ["request"]),
        (b"", ["request"]),
    ],
)
def test_a_server_is_asked_for_its_health(health: bytes, found: list[str]) -> None:
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for status in (b"200 OK", health):
                connection, _ = server.accept()
                with connection:
                    requests.append(connection.recv(65536).partition(b" HTTP")[0])
                    connection.sendall(b"HTTP/1.1 %s\r\n\r\n" % status if status else b"")

        thread = threading.Thread(target=serve)
        thread.start()
        url = Url("http", host="127.0.0.1", port=server.getsockname()[1])
        upstream = Upstream(url, socket.AF_INET, ("127.0.0.1", url.port), None)
        probe = Probe("logs", 10)
        asking = Asking(
            "POST", "/services/collector/event", {}, health="/services/collector/health"
        )
        with upstream.connected(10) as connection:
            asking(probe, upstream, connection)
        thread.join()
    assert faults(probe) == found
    assert requests[1] == b"GET /services/collector/health"


def test_a_server_that_takes_other_methods_is_there() -> None:
    probe, _ = asked(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", method="HEAD")
    assert faults(probe) == ["request"]


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 9\r\n\r\n"])
def test_no_http(answer: bytes) -> None:
    probe, _ = asked(answer)
    assert faults(probe) == ["http-no-answer"]


@pytest.mark.parametrize(
    ("ahead", "fault"), [(0, "clock"), (3600, "clock-differs"), (-3600, "clock-differs")]
)
def test_the_clocks(ahead: float, fault: str) -> None:
    date = formatdate(time.time() - ahead, usegmt=True)
    probe, _ = asked(f"HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n".encode())
    assert faults(probe) == ["request", fault]
    if ahead:
        assert ("ahead of" if ahead > 0 else "behind") in probe.findings[1].text


def test_every_kind_has_a_probe() -> None:
    kinds = (*KINDS.sources, *KINDS.destinations)
    assert [kind.scheme for kind in kinds if kind.probe is None] == []
