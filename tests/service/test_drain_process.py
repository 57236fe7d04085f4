from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from relay.flow.drain import BY_PURGE, Drain
from relay.model.clock import Clock as AnyClock
from relay.model.errors import QueueError
from relay.queue.lineage import Lineage
from relay.service.configuration import DestinationConfiguration, TlsConfiguration, Url
from relay.service.drain_messages import (
    Acknowledged,
    Alive,
    Answer,
    Began,
    Begin,
    BreakLink,
    Evicted,
    Heard,
    Hold,
    KeepLineage,
    LetGo,
    LetItGo,
    LineageKept,
    Release,
    Renew,
    Reopen,
    Said,
    Skip,
    State,
    Stop,
    Stored,
    TakeUp,
    Task,
    task_configuration,
)
from relay.service.drain_process import DrainProcess, HandedCertificates
from relay.transport.tls_context import TlsMaterial

CONFIGURATION = DestinationConfiguration(
    id="out", connect=Url("relp", "far", 20514), sources=("in",)
)
BEGIN = Begin("/queue", 1000, [Task(task_configuration(CONFIGURATION), 5, 8, None, [], None)])


class Store:
    def __init__(self) -> None:
        self.closed = False

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        return [b"%d" % seq for seq in range(start, 8)]

    def close(self) -> None:
        self.closed = True


class Session:
    room = 100

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payloads: Sequence[bytes]) -> None:
        self.sent += payloads


class Connected:
    """Stands for `UpstreamState`."""

    words, ready, exactly_once = "connected", True, False
    connects, failures, truncated_records, answers = 1, 0, 0, 7


class Destination:
    """Its service, without a link of its own."""

    def __init__(self, configuration: DestinationConfiguration, **keywords: Any) -> None:
        self.id = configuration.id
        self.queue = keywords["queue"]
        self.certificates = keywords["certificates"]
        self.clock: AnyClock = keywords["reactor"]
        self.state = Connected()
        self.events: list[Any] = []
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        ledger = self.queue.ledger(self.id)
        self.drain = Drain(
            destination=self.id,
            cursor=self.queue.cursor(self.id),
            queue=self.queue,
            acknowledged=ledger.acknowledged_seq,
            stored=ledger.next_seq,
            refusals_max=1,
            clock=self.clock,
            on_progress=lambda: None,
            on_trouble=self.events.append,
        )
        self.queue.subscribe(self.id, self.drain.stored, self.drain.evicted)
        self.session = Session()

    def break_link(self, why: str) -> None:
        self.events.append(why)

    def reopen(self) -> None:
        self.events.append("reopen")

    def stopService(self) -> Deferred[None]:
        return self.stopped


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.said: list[Any] = []
        self.store = Store()
        self.opened: list[Any] = []
        self.trouble: QueueError | None = None
        self.ends = 0
        self.process = DrainProcess(
            self.clock,
            tell=self.said.append,
            open_store=self.open,
            run_in_thread=execute,
            on_stopped=self.end,
            new_service=self.new,  # type: ignore[arg-type]
        )

    def new(self, configuration: DestinationConfiguration, **keywords: Any) -> Destination:
        self.destination = Destination(configuration, **keywords)
        return self.destination

    def open(self, path: str, **keywords: Any) -> Store:
        if self.trouble is not None:
            raise self.trouble
        self.opened.append((path, keywords))
        return self.store

    def end(self) -> None:
        self.ends += 1

    def obey(self, *orders: Any) -> list[Any]:
        """What is said at once."""
        self.said.clear()
        self.process.obey(orders)
        return list(self.said)

    def later(self, seconds: float = 0.1) -> list[Any]:
        """What is said after a while."""
        self.said.clear()
        self.clock.advance(seconds)
        return list(self.said)


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.obey(BEGIN)
    setup.later()
    return setup


def state(**changed: Any) -> State:
    return State("out", words="connected", ready=True, connects=1, answers=7, **changed)


def test_it_begins() -> None:
    setup = Setup()
    assert setup.obey(BEGIN) == [Began(""), state(could_send=True)]
    assert setup.opened == [("/queue", {"destinations": ["out"], "map_bytes": 1000})]
    setup.destination.drain.attach(setup.destination.session)
    assert setup.destination.session.sent == [b"5", b"6", b"7"]


def test_it_cannot_begin() -> None:
    setup = Setup()
    setup.trouble = QueueError("no queue")
    assert setup.obey(BEGIN) == [Began("no queue")]
    assert setup.ends == 1


def test_a_drain_that_is_held_from_the_beginning() -> None:
    setup = Setup()
    task = Task(task_configuration(CONFIGURATION), 5, 8, None, ["hand"], None)
    setup.obey(Begin("/queue", 1000, [task]))
    setup.destination.drain.attach(setup.destination.session)
    assert setup.destination.session.sent == []
    setup.obey(Release("out", "hand"))
    assert setup.destination.session.sent == [b"5", b"6", b"7"]


def test_what_is_acknowledged_is_said_at_once_and_the_state_soon(setup: Setup) -> None:
    drain, session = setup.destination.drain, setup.destination.session
    drain.attach(session)
    setup.said.clear()
    drain.acknowledged(session, 2)
    assert setup.said == [Acknowledged("out", 7)]
    assert setup.later() == [state(in_flight=1, sent_records=3)]
    assert setup.later(5) == []  # nothing has changed


def test_orders_for_a_drain(setup: Setup) -> None:
    drain, session = setup.destination.drain, setup.destination.session
    setup.obey(Hold("out", BY_PURGE))
    assert setup.later() == [state(holds=1)]
    drain.attach(session)
    setup.obey(Skip("out", 7), Stored("out", 8), Release("out", BY_PURGE))
    assert session.sent == [b"7"]
    assert setup.obey(Evicted("out", 8, "too-old")) == [Heard("out", 8)]
    setup.obey(BreakLink("out", "because"), Reopen("out"))
    assert setup.destination.events == ["because", "reopen"]
    assert setup.obey(Answer()) == [Alive()]


def test_a_lineage(setup: Setup) -> None:
    lineage = Lineage.new(1)
    kept = setup.destination.queue.keep_lineage("out", lineage)
    assert setup.said[-1] == KeepLineage("out", lineage.encode())
    setup.obey(LineageKept("out", ""))
    assert kept.called


def test_the_queue_is_let_go(setup: Setup) -> None:
    assert setup.obey(LetGo()) == [LetItGo()]
    assert setup.store.closed
    setup.obey(TakeUp(2000))
    assert setup.opened[-1] == ("/queue", {"destinations": ["out"], "map_bytes": 2000})


def test_states_change_with_time(setup: Setup) -> None:
    setup.destination.state.words = "next try in 3 s"
    (said,) = setup.later(1)
    assert said.words == "next try in 3 s"


def test_the_log(setup: Setup) -> None:
    event = {"log_namespace": "relay", "log_level": LogLevel.warn, "log_format": "{a}", "a": 1}
    setup.said.clear()
    setup.process.say(event)
    assert setup.said == [Said("relay", "warn", "1")]


def test_the_end(setup: Setup) -> None:
    drain, session = setup.destination.drain, setup.destination.session
    drain.attach(session)
    setup.obey(Stop())
    assert setup.ends == 0
    drain.acknowledged(session, 3)
    setup.destination.stopped.callback(None)
    assert setup.said == [Acknowledged("out", 8), state(sent_records=3)]
    assert setup.ends == 1
    assert setup.clock.getDelayedCalls() == []


def test_certificates_are_those_that_were_handed_over() -> None:
    class Target:
        def __init__(self, material: TlsMaterial) -> None:
            self.materials = [material]

        def renew(self, material: TlsMaterial) -> None:
            self.materials.append(material)

    certificates = HandedCertificates()
    first, second = TlsMaterial(b"first"), TlsMaterial(b"second")
    certificates.give("out", first)
    target = certificates.keep("destination out", TlsConfiguration(), lambda *_: [], Target)
    certificates.renew("out", second)
    assert target.materials == [first, second]


def test_new_certificates(setup: Setup) -> None:
    targets: list[Any] = []

    class Target:
        def renew(self, material: TlsMaterial) -> None:
            targets.append(material)

    setup.destination.certificates.give("out", TlsMaterial())
    setup.destination.certificates.keep(
        "destination out", TlsConfiguration(), list, lambda material: Target()
    )
    setup.obey(Renew("out", TlsMaterial(b"new")))
    assert targets == [TlsMaterial(b"new")]
