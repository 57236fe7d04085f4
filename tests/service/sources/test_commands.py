from __future__ import annotations

import pytest
from twisted.internet.testing import MemoryReactorClock as Clock

from relay.model.errors import RelayError
from relay.model.origin import Origin, Transport
from relay.service.configuration.model import Url
from relay.service.sources.commands import SourceTools, WantedPeers
from relay.service.sources.service import SourceService
from tests.configurations import new_source, receiving


@pytest.fixture
def tools() -> SourceTools:
    source = SourceService(new_source("in", Url("udp", host="127.0.0.1")), receiving(Clock()))
    for host, records in (("192.0.2.1", 3), ("192.0.2.2", 9)):
        peer = source.counters.peers.of(Origin("in", Transport.UDP, host, 1))
        peer.records, peer.last_seen = records, 5.0
    return SourceTools([source], elapsed=lambda: 7.0)


def test_the_peers_that_have_sent_most_come_first(tools: SourceTools) -> None:
    found = tools.peers(WantedPeers())["in"]
    assert list(found["peers"]) == ["192.0.2.2", "192.0.2.1"]
    assert found["peers"]["192.0.2.2"]["idle_seconds"] == 2.0
    assert (found["count"], found["others"]["records"]) == (2, 0)
    assert list(tools.peers(WantedPeers("in", 1))["in"]["peers"]) == ["192.0.2.2"]


def test_an_unknown_source_is_refused_with_those_that_there_are(tools: SourceTools) -> None:
    with pytest.raises(RelayError, match="no source x; sources: in"):
        tools.peers(WantedPeers("x"))
