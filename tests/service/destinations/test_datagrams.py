from __future__ import annotations

import socket
from typing import Any

import pytest

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
