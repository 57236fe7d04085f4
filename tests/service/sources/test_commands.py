from __future__ import annotations

import pytest
from twisted.internet.testing import MemoryReactorClock as Clock

from relay.model.counters.samples import Samples
from relay.model.errors import RelayError
from relay.model.origin import Origin, Transport
from relay.service.configuration.model import Url
from relay.service.sources.commands import SourceTools, WantedPeers, WantedSamples
from relay.service.sources.service import SourceService
from tests.configurations import new_source, receiving

SECRET = b"a-secret-of-twenty-b"
SHED = Samples()


@pytest.fixture
def tools() -> SourceTools:
    source = SourceService(new_source("in", Url("udp", host="127.0.0.1")), receiving(Clock()))
    for host, records in (("192.0.2.1", 3), ("192.0.2.2", 9)):
        peer = source.counters.peers.of(Origin("in", Transport.UDP, host, 1))
        peer.records, peer.last_seen = records, 5.0
    return SourceTools([source], elapsed=lambda: 7.0, secrets=lambda: [SECRET], shed={"in": SHED})


def test_the_peers_that_have_sent_most_come_first(tools: SourceTools) -> None:
    found = tools.peers(WantedPeers())["in"]
    assert list(found["peers"]) == ["192.0.2.2", "192.0.2.1"]
    assert found["peers"]["192.0.2.2"]["idle_seconds"] == 2.0
    assert (found["count"], found["others"]["records"]) == (2, 0)
    assert list(tools.peers(WantedPeers("in", 1))["in"]["peers"]) == ["192.0.2.2"]


def test_an_unknown_source_is_refused_with_those_that_there_are(tools: SourceTools) -> None:
    with pytest.raises(RelayError, match="no source x; sources: in"):
        tools.peers(WantedPeers("x"))
    with pytest.raises(RelayError, match="no source x; sources: in"):
        tools.samples(WantedSamples("x"))


def shown(tools: SourceTools, frame: bytes) -> str:
    tools._sources["in"].counters.samples.note("late", [frame], peer="192.0.2.1")
    sample = tools.samples(WantedSamples("in"))["in"]["late"][-1]
    assert (sample["at"], sample["peer"], sample["size"]) == (0.0, "192.0.2.1", len(frame))
    text: str = sample["text"]
    return text


def test_samples_are_printable_and_their_tokens_masked(tools: SourceTools) -> None:
    assert tools.samples(WantedSamples()) == {"in": {}, "destination in": {}}
    text = shown(tools, b"<13>x\x1b[2J\r\n" + SECRET + b" y\xff")
    assert text == r"<13>x\x1b[2J\r\na-se…ty-b y\xff"


@pytest.mark.parametrize("start", range(480, 513, 4))
def test_a_token_that_is_cut_does_not_show(tools: SourceTools, start: int) -> None:
    text = shown(tools, b"x" * start + SECRET + b" " * 600)
    assert "a-secr" not in text
    assert text.endswith("…")
