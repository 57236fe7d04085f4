from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from relay import __version__
from relay.model.errors import RelayError
from relay.service.handover import service as module
from relay.service.handover.arrival import CONNECTIONS, STATE, Arrival
from relay.service.handover.document import Document, read_document
from relay.service.handover.program import Trial, TrialFailed
from relay.service.handover.service import Handover
from relay.service.handover.store import DescriptorStore
from relay.transport.held_sockets import HeldConnection, HeldSocket, HeldSockets, StreamState
from relay.transport.sockets import bind_datagram
from tests.connections import fired
from tests.descriptor_store import DescriptorStoreStandIn

NAME = "held datagram 127.0.0.1%3A0"


class Program:
    """The new version, as far as this process sees it."""

    executable = "/v/python"

    def __init__(self, outcome: Trial | Exception) -> None:
        self.outcome = outcome
        self.became: list[Mapping[str, str]] = []

    def try_out(self, environment: Mapping[str, str], descriptors: Sequence[int]) -> Trial:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def become(self, environment: Mapping[str, str]) -> None:
        if isinstance(self.outcome, OSError):
            raise self.outcome
        self.became.append(environment)


class Relay:
    def __init__(
        self, arrival: Arrival | None = None, outcome: Trial | Exception | None = None
    ) -> None:
        self.arrival = arrival or Arrival()
        self.reactor = MemoryReactorClock()
        self.program: Any = None
        if outcome is not None:
            self.program = self.arrival.program = Program(outcome)  # type: ignore[assignment]
        self.ended: list[int] = []
        reactor: Any = self.reactor
        self.handover = Handover(
            self.arrival,
            state_dir="/state",
            listening=list,
            reactor=reactor,
            now=lambda: 1000.0,
            end_process=self.ended.append,
        )

    def command(self, name: str) -> Any:
        command: Any = self.handover.commands()[name]
        return command()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet.defer import maybeDeferred

    monkeypatch.setattr(module, "in_thread", lambda reactor, call: maybeDeferred(call))


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with bind_datagram("127.0.0.1", 0, receive_buffer_bytes=65536) as bound:
        yield bound


FITS = Trial("9.9", "/state")


def test_an_upgrade_tries_answers_and_stops() -> None:
    relay = Relay(outcome=FITS)
    (answer,) = fired(relay.handover.upgrade())
    assert (answer["version"], answer["version_before"]) == ("9.9", __version__)
    assert relay.handover.is_upgrade and answer["id"] and answer["pid"] == os.getpid()
    assert not relay.reactor.hasStopped
    relay.reactor.advance(1)
    assert relay.reactor.hasStopped
    with pytest.raises(RelayError, match="under way already"):
        relay.handover.upgrade()


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (TrialFailed("no such key"), "refused, and the relay goes on as it is: no such key"),
        (Trial("9.9", "/other"), "state_dir was /state and would be /other"),
        (OSError("no memory"), "the new version cannot be tried: no memory"),
    ],
)
def test_a_refused_upgrade_changes_nothing(outcome: Any, problem: str) -> None:
    relay = Relay(outcome=outcome)
    (failure,) = fired(relay.handover.upgrade())
    assert problem in str(failure.value if hasattr(failure, "value") else failure)
    relay.reactor.advance(10)
    assert not relay.handover.is_upgrade and not relay.reactor.hasStopped
    relay.handover.upgrade().addErrback(lambda _: None)  # may be tried again
    relay.handover.last.stopService()
    assert not relay.arrival.held.keeps_all


def test_without_a_command_line_there_is_no_upgrade() -> None:
    with pytest.raises(RelayError, match="restart it instead"):
        Relay().handover.upgrade()


def upgraded(relay: Relay) -> None:
    relay.handover.upgrade()
    relay.handover.last.stopService()


def test_sources_leave_their_sockets_and_the_process_becomes_the_program(
    udp: socket.socket,
) -> None:
    relay = Relay(outcome=FITS)
    upgraded(relay)
    held = relay.arrival.held
    assert held.keeps_all and not held.reads_rest and held.connections_max is None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        held.put(HeldSocket(NAME, udp, "in", 5))
        held.put_connection(HeldConnection(NAME, ours, StreamState(unread=b"x")))
        relay.handover.first.stopService()
        relay.handover.become()
        (environment,) = relay.program.became
        document = read_document(int(environment["SYSLOGRELAY_HANDOVER"]))
        assert document.descriptors == {str(udp.fileno()): NAME, str(ours.fileno()): CONNECTIONS}
        assert os.get_inheritable(udp.fileno()) and os.get_inheritable(ours.fileno())
        assert [(each.source, each.kernel_drops) for each in document.sockets] == [("in", 5)]
        assert document.connections[0].inode == os.fstat(ours.fileno()).st_ino
        assert (document.stopped_at, document.version) == (1000.0, __version__)


def test_a_stop_that_hangs_ends_in_the_new_program() -> None:
    relay = Relay(outcome=FITS)
    relay.handover.end(3)
    assert (relay.ended, relay.program.became) == ([3], [])
    upgraded(relay)
    relay.handover.end(1)
    assert len(relay.program.became) == 1


def test_a_program_that_is_gone_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    relay = Relay(outcome=FITS)
    upgraded(relay)
    relay.program.outcome = OSError(2, "No such file or directory")
    relay.handover.become()
    assert relay.ended == [1]
    assert "cannot become the new version: /v/python: No such file" in capsys.readouterr().err


def test_the_manager_is_not_told_of_a_stop_that_is_none() -> None:
    relay = Relay(outcome=FITS)
    assert relay.handover.farewell() == {"STOPPING": "1", "STATUS": "stopping"}
    upgraded(relay)
    told = relay.handover.farewell()
    assert "STOPPING" not in told and told["RELOADING"] == "1" and int(told["MONOTONIC_USEC"]) > 0


def test_what_no_source_takes_is_closed_and_reported(udp: socket.socket) -> None:
    held = HeldSockets()
    held.put(HeldSocket(NAME, udp))
    ours, theirs = socket.socketpair()
    held.put_connection(HeldConnection("held stream /gone", ours, StreamState(unread=b"abc")))
    held.taken = 2
    document = Document(id="x", version="0.0.1", stopped_at=998.5)
    relay = Relay(Arrival(held, document=document, connections=4, inherited=1))
    relay.handover.first.startService()
    relay.handover.last.startService()
    report = relay.command("handover")
    assert report == {
        "id": "x",
        "pid": os.getpid(),
        "version": __version__,
        "version_before": "0.0.1",
        "seconds": 1.5,
        "sockets": 3,
        "connections": 3,
        "connections_closed": 1,
        "sockets_closed": [NAME],
    }
    assert udp.fileno() == -1
    assert theirs.recv(1) == b""
    theirs.close()


def test_every_stop_leaves_what_there_is_in_systemds_store(
    tmp_path: Path, udp: socket.socket
) -> None:
    manager = DescriptorStoreStandIn(tmp_path)
    store = DescriptorStore(manager.path, 10)
    held = HeldSockets(store)
    relay = Relay(Arrival(held, store=store))
    held.note_use(NAME, udp)
    relay.handover.last.stopService()
    assert held.keeps_all and held.reads_rest and held.connections_max == 8
    ours, theirs = socket.socketpair()
    held.put(HeldSocket(NAME, udp.dup(), "in", 5))
    held.put_connection(HeldConnection(NAME, ours, StreamState(unread=b"x")))
    relay.handover.first.stopService()
    assert manager.names == [CONNECTIONS, NAME, STATE]
    assert ours.fileno() == -1
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):  # systemd has it open
        theirs.recv(1)
    theirs.close()

    numbers = {os.dup(number): name for name, number in manager.stored}
    arrival = module_arrive(numbers)
    assert [each.source for each in arrival.held] == ["in"]
    again = Relay(Arrival(HeldSockets(store), store=store))
    again.handover.last.startService()
    store.wait()
    assert manager.names == [NAME]  # whatever is used is noted anew; the rest has had its time
    manager.close()


def module_arrive(numbers: dict[int, str]) -> Arrival:
    from relay.service.handover.arrival import arrive
    from relay.service.process.systemd import Systemd

    arrival = arrive({}, Systemd(numbers), None)
    for each in arrival.held:
        each.bound.close()
    arrival.held.close_connections()
    return arrival
