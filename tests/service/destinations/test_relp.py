from __future__ import annotations

import pytest

from relay.service.configuration.model import (
    Url,
)
from relay.service.destinations import relp
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.upstream import Timeouts
from tests.destination_setup import Setup, lane_of, protocol_of
from tests.recording import record


def test_relp(setup: Setup) -> None:
    service = setup.build(
        Url("relp", host="up.example.com", port=20514),
        window_records=7,
        answer_seconds_max=8.0,
        connect_seconds_max=9.0,
    )
    assert lane_of(service).state.target == "up.example.com:20514"
    protocol = protocol_of(service)
    assert isinstance(protocol, RelpClientProtocol)
    assert protocol._timeouts.answer_seconds_max == 8.0
    assert protocol._timeouts.prepare_seconds_max == 9.0
    assert not protocol._secure


@pytest.mark.parametrize("scheme", ["relp", "relp+tls"])
def test_a_session_is_told_what_is_configured(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    made = record(monkeypatch, relp, "RelpClientProtocol")
    service = setup.build(
        Url(scheme, host="up", port=20514), window_records=7, connect_seconds_max=9.0
    )
    lane = lane_of(service)
    lane.link.new_protocol()  # type: ignore[attr-defined]
    keywords = made[0].keywords
    assert keywords.pop("software").startswith(b"syslogrelay,")
    assert keywords.pop("secure") is (scheme == "relp+tls")
    assert keywords == {
        "window_records": 7,
        "numbering": lane.numbering,
        "drain": lane.drain,
        "state": lane.state,
        "clock": setup.reactor,
        "timeouts": Timeouts(9.0, 60.0),
    }
