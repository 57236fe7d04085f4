"""A kind is its own module and one line in `relay/service/kinds.py`: here is one of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from relay.flow.pump import SessionDrain
from relay.model.errors import ConfigurationError
from relay.model.origin import Origin, Received
from relay.service.assembly import assemble
from relay.service.configuration.file import read_configuration
from relay.service.configuration.keys import key
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    Where,
)
from relay.service.configuration.table import Text, Whole
from relay.service.configuration.url import Host
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.destinations.service import DestinationService
from relay.service.kinds import KINDS
from relay.service.prerequisite import Prerequisite
from relay.service.relay_service import ConcurrentService
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.service import Receiving, SourceService
from tests.threads import Reactor

SAID = "<13>Oct 11 22:14:15 web su: {}"


@dataclass(frozen=True, slots=True)
class Parrot(SourceConfiguration):
    says: str = key(Text(), "hello", "what it says when it starts")
    times: int = key(Whole(1, 9), 1, "how often")

    def problems(self, where: Where, given: Iterable[str]) -> Iterable[str]:
        if self.says == "silence":
            yield f"{where('says')}: a parrot is not silent"


class ParrotSource(SourceService):
    def __init__(self, source: Parrot, receiving: Receiving) -> None:
        super().__init__(source, receiving)
        self._said = [SAID.format(source.says).encode()] * source.times
        self._intake = receiving.reception.intake

    def startService(self) -> None:
        origin = Origin(self.id, self.url.scheme)
        self._intake.accept_all([Received(self._said, origin)])


def make_parrot(source: Parrot, receiving: Receiving, parts: SourceParts) -> ParrotSource:
    return ParrotSource(source, receiving)


PARROT = SourceKind(
    scheme="parrot",
    address=Host(),
    configuration=Parrot,
    delivered="says something when it starts",
    medium="air",
    make=make_parrot,
)


@dataclass(frozen=True, slots=True)
class Ear(DestinationConfiguration):
    heard_max: int = key(Whole(1, 100), 10, "how much it takes at a time")

    def problems(self, where: Where, given: Iterable[str]) -> Iterable[str]:
        if self.heard_max == 13:
            yield f"{where('heard_max')}: nobody hears 13"


HEARD: list[bytes] = []


class Hearing:
    """A session of several connections: two ears that hear in turn, the first one slowly.

    So answers come in another order than records were sent: only a prefix is acknowledged.
    """

    def __init__(self, drain: SessionDrain, heard_max: int, later: Callable[..., object]) -> None:
        self._drain = drain
        self._heard_max = heard_max
        self._later = later
        self._unheard: list[int] = []
        self._sent = 0
        self._acknowledged = 0

    @property
    def room(self) -> int:
        return self._heard_max - (self._sent - self._acknowledged)

    def send(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self._unheard.append(self._sent)
            self._later(0.1 if self._sent % 2 else 0.2, self._hear, self._sent, payload)
            self._sent += 1

    def _hear(self, number: int, payload: bytes) -> None:
        HEARD.append(payload)
        self._unheard.remove(number)
        before, self._acknowledged = self._acknowledged, min([*self._unheard, self._sent])
        ACKNOWLEDGED.append(self._acknowledged - before)
        self._drain.acknowledged(self, self._acknowledged - before)

    def close(self) -> None:
        pass


ACKNOWLEDGED: list[int] = []
TO_WAKE: list[Prerequisite] = []


def make_ear(destination: Ear, parts: DestinationParts) -> Delivery:
    awake = Prerequisite("its messages wait until it is awake")
    awake.trouble = "the ear is asleep"
    TO_WAKE.append(awake)

    async def hear(outlet: Outlet, failed: Callable[[str], None]) -> Hearing:
        return Hearing(outlet.drain, destination.heard_max, parts.reactor.callLater)

    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, hear, how="listening", clock=parts.reactor),
        target="two ears",
        prerequisites=(awake,),
        details=lambda: [f"{len(HEARD)} heard"],
    )


EAR = DestinationKind(
    scheme="ear",
    address=Host(),
    configuration=Ear,
    delivered="somebody has heard it",
    medium="air",
    make=make_ear,
)

WITH_OURS = replace(
    KINDS, sources=(*KINDS.sources, PARROT), destinations=(*KINDS.destinations, EAR)
)

RELAY = """
[relay]
name = "web-1"
state_dir = "state"
allow_volatile_state = true
[sources.polly]
listen = "parrot://"
says = "{}"
times = 2
[destinations.out]
connect = "ear://left"
"""


def read(folder: Path, text: str) -> Configuration:
    (folder / "relay.toml").write_text(text)
    return read_configuration(str(folder / "relay.toml"), WITH_OURS)


def destinations_of(relay: Any) -> list[DestinationService]:
    services = [each for group in relay if isinstance(group, ConcurrentService) for each in group]
    return [each for each in services if isinstance(each, DestinationService)]


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    return "\n".join(caught.value.problems)


def test_its_configuration_is_read(tmp_path: Path) -> None:
    configuration = read(tmp_path, RELAY.format("hi"))
    (source,), (destination,) = configuration.sources, configuration.destinations
    assert isinstance(source, Parrot) and isinstance(destination, Ear)
    assert (source.says, source.times, destination.heard_max) == ("hi", 2, 10)


def test_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    text = RELAY.format("silence")
    assert "sources.polly.says: a parrot is not silent" in problems(tmp_path, text)
    found = problems(tmp_path, text.replace('ear://left"', 'ear://left"\nheard_max = 13'))
    assert "destinations.out.heard_max: nobody hears 13" in found
    found = problems(tmp_path, text.replace("times = 2", "times = 10\nsocket_mode = 0"))
    assert "times: expected a whole number from 1 to 9, found 10" in found
    assert "socket_mode: has no meaning for parrot, only for unixgram and unix" in found
    found = problems(tmp_path, text.replace("says", "sayz"))
    assert "sayz: unknown key, did you mean 'says'? Allowed here: listen, frame_bytes_max" in found
    found = problems(tmp_path, text.replace("parrot:", "parot:"))
    assert "unknown scheme 'parot', did you mean 'parrot'?" in found
    found = problems(tmp_path, text.replace("parrot:", "udp:").replace("udp://", "udp://:1"))
    assert "says: has no meaning for udp, only for parrot" in found
    found = problems(tmp_path, text.replace("ear://left", "parrot://"))
    assert "parrot can only be listened on; connect takes one of" in found


@pytest.mark.usefixtures("relays_end")
def test_a_message_passes_from_one_to_the_other(tmp_path: Path) -> None:
    HEARD.clear()
    ACKNOWLEDGED.clear()
    reactor = Reactor()
    relay = assemble(reactor, read(tmp_path, RELAY.format("hi")), now=lambda: 1e9, kinds=WITH_OURS)
    relay.privilegedStartService()
    relay.startService()
    (ear,) = destinations_of(relay)
    assert ear.state_text == "the ear is asleep; its messages wait until it is awake"
    TO_WAKE[-1].fulfil()
    for _ in range(100):
        if ear.lanes[0].drain.in_flight < 2:
            reactor.run_next()
    assert (ear.state_text, ear.lanes[0].state.target) == ("listening", "two ears")
    reactor.advance(0.1)
    reactor.advance(0.1)
    assert ACKNOWLEDGED == [0, 2]
    assert ear.report()["details"] == ["2 heard"]
    reactor.settle(relay.stopService())
    assert [SAID.format("hi").encode()] * 2 == HEARD


def test_kinds_do_not_disagree_about_what_a_key_may_hold() -> None:
    """Keys of the same name are one key for people; the reference shows where they differ."""
    differ = {"compress"}
    # Headers of HTTP and of Kafka's records; a stream of NATS has five replicas at most.
    differ |= {"headers", "replicas_min"}
    for role in ("listen", "connect"):
        known: dict[str, Any] = {}
        for kind in KINDS.by_scheme(role).values():  # type: ignore[arg-type]
            for name, declared in kind.keys.items():
                same = known.setdefault(name, declared.kind) == declared.kind
                assert same or name in differ, name


def test_defaults_are_in_their_ranges() -> None:
    for role in ("listen", "connect"):
        for kind in KINDS.by_scheme(role).values():  # type: ignore[arg-type]
            for name, declared in kind.keys.items():
                sized = name.endswith(("_max", "_min", "_bytes", "_records", "_mode", "_port"))
                if sized and declared.default is not None:
                    declared.kind.read(declared.default)
