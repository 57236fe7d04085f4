from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.service.configuration.model import (
    Url,
)
from relay.service.destinations import datagrams
from tests.connections import fired
from tests.destination_setup import Setup
from tests.recording import record


def test_udp(setup: Setup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.bind(("127.0.0.1", 0))
        port = upstream.getsockname()[1]
        service = setup.build(Url("udp", host="127.0.0.1", port=port))
        service.startService()
        for _ in range(3):
            setup.run()
        text = f"sending to 127.0.0.1:{port}, delivered when sent: nobody answers"
        assert service.state_text == text
        assert setup.queue.upto == 3
        assert fired(service.stopService()) == [None]


def test_an_upstream_that_cannot_be_resolved(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    service = setup.build(Url("udp", host="nowhere.invalid", port=514))
    service.startService()
    setup.run()
    assert service.state_text.startswith(
        "nowhere.invalid:514: Name or service not known, next try in "
    )


def test_a_session_over_udp_is_told_all_it_needs(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = record(monkeypatch, datagrams, "DatagramSession")
    service = setup.build(Url("udp", host="127.0.0.1", port=514))
    service.startService()
    setup.run()
    (connected,) = made[0].arguments
    with connected:
        assert connected.type & socket.SOCK_DGRAM
        assert connected.gettimeout() == 0.0
    keywords = made[0].keywords
    assert callable(keywords.pop("on_failure"))
    assert keywords == {
        "drain": service.lanes[0].drain,
        "state": service.lanes[0].state,
        "clock": setup.reactor,
        "notices": setup.notices,
    }


def test_an_address_that_cannot_be_sent_to_is_a_failure(setup: Setup) -> None:
    service = setup.build(Url("udp", host="255.255.255.255", port=514))
    service.startService()
    setup.run()
    assert "Permission denied, next try in " in service.state_text


class Dtls:
    """A `DtlsSocket` whose handshake the test ends."""

    on_failure: Any = None

    def __init__(self, connected: socket.socket, **keywords: Any) -> None:
        self.connected = connected
        self.keywords = keywords
        self.done: Deferred[Any] = Deferred()
        self.sent: list[bytes] = []

    def handshake(self) -> Deferred[Any]:
        return self.done

    def send(self, message: bytes) -> None:
        self.sent.append(self.keywords["encode"](message))

    def getsockopt(self, level: int, option: int) -> int:
        return 0

    def close(self) -> None:
        self.connected.close()


@pytest.mark.parametrize(
    ("keys", "sent"),
    [({}, [b"3 one", b"3 two"]), ({"octet_counting": False}, [b"one", b"two"])],
)
def test_dtls_sends_after_its_handshake(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], sent: list[bytes]
) -> None:
    made: list[Dtls] = []

    def new(*arguments: Any, **keywords: Any) -> Dtls:
        made.append(Dtls(*arguments, **keywords))
        return made[-1]

    monkeypatch.setattr(datagrams, "DtlsSocket", new)
    service = setup.build(Url("dtls", host="127.0.0.1", port=6514), **keys)
    service.startService()
    setup.run()
    (dtls,) = made
    assert service.state_text == "connecting to 127.0.0.1:6514"
    dtls.done.callback(dtls)
    for _ in range(3):
        setup.run()
    text = "sending to 127.0.0.1:6514 by DTLS, delivered when sent: nobody answers"
    assert service.state_text == text
    assert (dtls.sent, setup.queue.upto) == (sent, 3)
    dtls.on_failure("the receiver ended the session")
    assert "the receiver ended the session, next try in " in service.state_text
    assert dtls.connected.fileno() == -1


def test_a_dtls_handshake_that_fails_is_tried_again(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Dtls] = []

    def new(*arguments: Any, **keywords: Any) -> Dtls:
        made.append(Dtls(*arguments, **keywords))
        return made[-1]

    monkeypatch.setattr(datagrams, "DtlsSocket", new)
    service = setup.build(Url("dtls", host="127.0.0.1", port=6514))
    service.startService()
    setup.run()
    made[0].close()
    made[0].done.errback(OSError(errno.ECONNABORTED, "no answer"))
    assert "127.0.0.1:6514: no answer, next try in " in service.state_text
    setup.reactor.advance(2)
    setup.run()
    assert len(made) == 2
    made[1].close()


@pytest.mark.parametrize("scheme", ["udp", "dtls"])
@pytest.mark.parametrize(
    ("host", "bind", "words"),
    [
        ("127.0.0.1", "192.0.2.1", "cannot send from 192.0.2.1: Cannot assign requested address"),
        ("127.0.0.1", "::1", "no address of 127.0.0.1 can be reached from ::1; correct bind"),
        ("::1", "127.0.0.1", "no address of ::1 can be reached from 127.0.0.1; correct bind"),
    ],
)
def test_an_address_of_this_host_that_does_not_fit(
    setup: Setup, scheme: str, host: str, bind: str, words: str
) -> None:
    service = setup.build(Url(scheme, host=host, port=514), bind=bind)
    service.startService()
    setup.run()
    assert words in service.state_text and ", next try in " in service.state_text


def test_datagrams_come_from_the_address_that_is_chosen(setup: Setup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.bind(("127.0.0.1", 0))
        upstream.settimeout(10)
        port = upstream.getsockname()[1]
        service = setup.build(Url("udp", host="127.0.0.1", port=port), bind="127.0.0.2")
        service.startService()
        for _ in range(3):
            setup.run()
        data, (host, _) = upstream.recvfrom(100)
        assert (data, host) == (b"one", "127.0.0.2")
        assert fired(service.stopService()) == [None]
