from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher

from relay.model.counters.peers import SEVERITIES
from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Transport
from relay.queue.ledger import Ledger
from relay.service.configuration.model import Url
from relay.service.prerequisite import Prerequisite
from relay.service.refusal import StartRefused
from relay.service.sampling import SOURCE_RATES
from relay.service.sources.service import DatagramSource, ListeningSource, StreamSource
from relay.transport.held_sockets import HeldSockets
from relay.transport.sockets import bind_datagram, bind_stream, bind_unix
from tests.configurations import new_source, receiving
from tests.connections import fired

ANY_PORT = Url("tcp", host="127.0.0.1")


class Port:
    def __init__(self, reactor: Reactor, bound: socket.socket) -> None:
        self._reactor = reactor
        self.bound = bound
        self.closing: Deferred[None] = Deferred()

    def fileno(self) -> int:
        return self.bound.fileno()

    def doRead(self) -> None:
        self.bound.accept()[0].close()
        self._reactor.events.append("accept")

    def stopListening(self) -> Deferred[None]:
        self._reactor.events.append("stop listening")
        self.bound.close()
        return self.closing


class Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.ports: list[Port] = []

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Port:
        self.events.append(factory)
        self.ports.append(Port(self, socket.socket(fileno=os.dup(fileDescriptor))))
        return self.ports[-1]


class Connections:
    """An InboundFactory as far as a service needs one."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.closing: Deferred[None] = Deferred()
        self.stopping = False

    def leave_connections(self, *, reads_rest: bool, most: int | None) -> list[Any]:
        return []

    def shut_down(self, *, seconds_max: float) -> Deferred[None]:
        self._reactor.events.append(("shut down", seconds_max))
        return self.closing


class Reader:
    def __init__(self, bound: socket.socket) -> None:
        self.bound = bound

    def drain_and_close(self, *, inherited: bool) -> None:
        self.bound.close()

    def release(self, *, reads_rest: bool) -> int:
        self.read_rest = reads_rest
        return 7

    def forget_kernel_drops(self, before: int | None = None) -> None:
        self.counted_before = before


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def refuse() -> socket.socket:
    raise OSError(errno.EACCES, "Permission denied")


def stream(
    reactor: Reactor,
    bind: Callable[[], socket.socket] = lambda: bind_stream("127.0.0.1", 0),
    url: Url = ANY_PORT,
    prerequisite: Prerequisite | None = None,
) -> tuple[StreamSource, Connections]:
    factory: Any = Connections(reactor)
    service = StreamSource(
        new_source("in", url),
        receiving(reactor),
        bind=bind,
        factory=factory,
        wrap=lambda inner: ("wrapped", inner),
        prerequisite=prerequisite or Prerequisite("it waits"),
    )
    return service, factory


def datagrams(
    reactor: Reactor, bind: Callable[[], socket.socket], url: Url
) -> tuple[DatagramSource, list[Reader]]:
    readers: list[Any] = []

    def new_reader(bound: socket.socket) -> Any:
        readers.append(Reader(bound))
        return readers[-1]

    service = DatagramSource(
        new_source("in", url),
        receiving(reactor),
        bind=bind,
        new_reader=new_reader,
    )
    return service, readers


def test_it_binds_with_privileges_and_listens_later(reactor: Reactor) -> None:
    service, factory = stream(reactor)
    service.privilegedStartService()
    assert reactor.events == []
    assert service.address == "tcp://127.0.0.1:0"
    service.startService()
    assert reactor.events == [("wrapped", factory)]
    assert service.address.startswith("tcp://127.0.0.1:")
    assert not service.address.endswith(":0")
    assert service._socket.fileno() == -1


def test_it_binds_when_it_starts_if_nobody_asked_before(reactor: Reactor) -> None:
    service, factory = stream(reactor)
    service.startService()
    assert reactor.events == [("wrapped", factory)]


@pytest.mark.parametrize("start", ["privilegedStartService", "startService"])
def test_a_socket_that_cannot_be_bound_refuses_the_start(reactor: Reactor, start: str) -> None:
    service, _ = stream(reactor, refuse, Url("tcp", host="127.0.0.1", port=514))
    with pytest.raises(StartRefused) as refused:
        getattr(service, start)()
    assert refused.value.text == (
        "source in: cannot listen on tcp://127.0.0.1:514: Permission denied; ports below 1024 need "
        "CAP_NET_BIND_SERVICE, as in deploy/syslogrelay.service, or a socket that systemd passes "
        "(systemd://)"
    )


@pytest.mark.parametrize("owner", ["", "queue /q is in use by process 7"])
def test_a_port_of_a_relay_that_has_the_same_queue_is_said_to_be_so(
    reactor: Reactor, owner: str
) -> None:
    with bind_stream("127.0.0.1", 0) as taken:
        url = Url("tcp", host="127.0.0.1", port=taken.getsockname()[1])
        service = ListeningSource(
            new_source("in", url),
            replace(receiving(reactor), other_owner=lambda: owner),
            bind=lambda: bind_stream(url.host, url.port),
        )
        with pytest.raises(StartRefused) as refused:
            service.startService()
    message = f"source in: cannot listen on {url}: Address already in use"
    assert refused.value.text == (f"{message}: {owner}" if owner else message)


def test_a_socket_that_may_not_be_bound_for_another_reason(reactor: Reactor) -> None:
    service, _ = stream(reactor, refuse, Url("unix", path="/run/log"))
    with pytest.raises(StartRefused) as refused:
        service.startService()
    assert refused.value.text == ("source in: cannot listen on unix:///run/log: Permission denied")


def test_without_its_files_it_holds_its_port_and_refuses_connections(reactor: Reactor) -> None:
    files = Prerequisite("it waits")
    files.trouble = "no certificate"
    service, factory = stream(
        reactor, lambda: bind_stream("127.0.0.1", 0, listens=False), prerequisite=files
    )
    service.startService()
    where = service._socket.getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)
    assert reactor.events == []
    report = service.report()
    assert (report["state"], report["ready"]) == ("no certificate; it waits", False)

    files.fulfil()
    assert reactor.events == [("wrapped", factory)]
    assert service.address == f"tcp://127.0.0.1:{where[1]}"
    assert "state" not in service.report()
    files.fulfil()
    assert len(reactor.events) == 1


def test_a_port_that_somebody_took_meanwhile_is_tried_again(reactor: Reactor) -> None:
    files = Prerequisite("it waits")
    files.trouble = "no certificate"
    port = 0

    def bind() -> socket.socket:
        return bind_stream("127.0.0.1", port, listens=not files.trouble)

    service, factory = stream(reactor, bind, prerequisite=files)
    service.startService()
    port = service._socket.getsockname()[1]
    with bind_stream("127.0.0.1", port):
        for _ in range(2):
            files.fulfil()
            assert files.trouble == ("cannot listen on tcp://127.0.0.1:0: Address already in use")
    files.fulfil()
    assert (files.trouble, reactor.events) == ("", [("wrapped", factory)])


def test_it_stops_without_ever_having_had_its_files(reactor: Reactor) -> None:
    files = Prerequisite("it waits")
    files.trouble = "no certificate"
    service, _ = stream(reactor, prerequisite=files)
    service.startService()
    assert fired(service.stopService()) == [None]
    assert service._socket.fileno() == -1
    files.fulfil()
    assert reactor.events == []


def test_it_stops_listening_and_then_lets_connections_end(reactor: Reactor) -> None:
    service, factory = stream(reactor)
    service.startService()
    reactor.events.clear()
    stopped = fired(service.stopService())
    assert reactor.events == ["stop listening"]
    reactor.ports[0].closing.callback(None)
    assert reactor.events == ["stop listening", ("shut down", 1.5)]
    assert stopped == []
    factory.closing.callback(None)
    assert stopped == [None]


@pytest.mark.parametrize(("inherited", "accepted"), [("", ["accept"]), ("log", [])])
def test_who_has_connected_before_the_stop_is_accepted_unless_the_socket_stays(
    reactor: Reactor, inherited: str, accepted: list[str]
) -> None:
    url = Url("tcp", host="127.0.0.1", inherited=inherited)
    service, factory = stream(reactor, url=url)
    service.startService()
    reactor.events.clear()
    with socket.create_connection(reactor.ports[0].bound.getsockname()):
        service.stopService()
    assert reactor.events == [*accepted, "stop listening"]
    assert factory.stopping


def test_a_unix_socket_keeps_its_mode_and_goes_with_the_service(
    tmp_path: Path, reactor: Reactor
) -> None:
    path = tmp_path / "log"
    service, factory = stream(
        reactor,
        lambda: bind_unix(str(path), socket.SOCK_STREAM, mode=0o620, receive_buffer_bytes=0),
        Url("unix", path=str(path)),
    )
    service.startService()
    assert len(reactor.getReaders()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert service.address == f"unix://{path}"
    stopped = fired(service.stopService())
    factory.closing.callback(None)
    assert (stopped, reactor.getReaders(), path.exists()) == ([None], [], False)


def test_a_datagram_socket_is_read_until_it_stops(reactor: Reactor) -> None:
    service, readers = datagrams(
        reactor,
        lambda: bind_datagram("127.0.0.1", 0, receive_buffer_bytes=1),
        Url("udp", host="127.0.0.1"),
    )
    service.startService()
    assert reactor.getReaders() == readers
    assert not service.address.endswith(":0")
    service.stopService()
    assert reactor.getReaders() == []
    assert readers[0].bound.fileno() == -1


def successor_of(service: ListeningSource, held: HeldSockets, before: HeldSockets) -> None:
    """Have `service` take the socket that another one has left."""
    for each in before:
        held.put(each)
    service._held = held


def test_a_socket_that_is_kept_is_the_next_sources(reactor: Reactor) -> None:
    first, _ = stream(reactor)
    first.startService()
    with socket.create_connection(where := reactor.ports[0].bound.getsockname()) as early:
        first._held.keep({first.socket_name})
        first.stopService()
        second, _ = stream(reactor, refuse)
        successor_of(second, HeldSockets(), first._held)
        with socket.create_connection(where):  # while nobody listens
            second.startService()
        assert second.address == f"tcp://127.0.0.1:{where[1]}"
        assert reactor.ports[1].bound.accept()[1] == early.getsockname()
    reactor.ports[1].bound.close()


def test_a_socket_of_another_address_is_closed_at_the_stop(reactor: Reactor) -> None:
    service, _ = stream(reactor)
    service.startService()
    service._held.keep({"held stream :514"})
    service.stopService()
    assert [*service._held] == []


def test_a_unix_socket_that_is_kept_keeps_its_file(tmp_path: Path, reactor: Reactor) -> None:
    url = Url("unix", path=str(tmp_path / "log"))
    first, _ = stream(
        reactor,
        lambda: bind_unix(url.path, socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0),
        url,
    )
    first.startService()
    inode = os.stat(url.path).st_ino
    first._held.keeps_all = True
    first.stopService()
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(url.path)
        second, _ = stream(reactor, refuse, url)
        second._socket_mode = 0o660
        successor_of(second, HeldSockets(), first._held)
        second.startService()
        assert (os.stat(url.path).st_ino, stat.S_IMODE(os.stat(url.path).st_mode)) == (inode, 0o660)
        assert "state" not in second.report()
        second.stopService()
        assert not os.path.exists(url.path)


def test_a_unix_socket_that_nobody_reaches_is_not_kept(tmp_path: Path, reactor: Reactor) -> None:
    url = Url("unix", path=str(tmp_path / "log"))
    service, _ = stream(
        reactor,
        lambda: bind_unix(url.path, socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0),
        url,
    )
    service.startService()
    os.unlink(url.path)
    service._held.keeps_all = True
    service.stopService()
    assert [*service._held] == []


@pytest.mark.parametrize("reads_rest", [False, True])
def test_datagrams_wait_in_a_socket_that_is_kept(reactor: Reactor, reads_rest: bool) -> None:
    url = Url("udp", host="127.0.0.1")
    first, readers = datagrams(
        reactor, lambda: bind_datagram("127.0.0.1", 0, receive_buffer_bytes=65536), url
    )
    first.startService()
    first._held.keeps_all, first._held.reads_rest = True, reads_rest
    first.stopService()
    assert readers[0].read_rest is reads_rest
    assert reactor.getReaders() == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", readers[0].bound.getsockname())
    second, others = datagrams(reactor, refuse, url)
    successor_of(second, HeldSockets(), first._held)
    second.startService()
    assert (others[0].bound.recv(9), others[0].counted_before) == (b"x", 7)
    second.stopService()


def test_a_socket_that_never_listened_is_kept_as_well(reactor: Reactor) -> None:
    files = Prerequisite("it waits")
    files.trouble = "no certificate"
    first, _ = stream(
        reactor, lambda: bind_stream("127.0.0.1", 0, listens=False), prerequisite=files
    )
    first.startService()
    first._held.keeps_all = True
    first.stopService()
    second, _ = stream(reactor, refuse)
    successor_of(second, HeldSockets(), first._held)
    second.startService()
    socket.create_connection(reactor.ports[0].bound.getsockname()).close()
    reactor.ports[0].bound.close()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (Url("tls", host="::1", port=6514), "held stream %3A%3A1%3A6514"),
        (Url("relp", port=514), "held stream %3A514"),
        (Url("unix", path="/run/log"), "held stream /run/log"),
        (Url("tcp", inherited="syslog.socket"), "held inherited syslog.socket"),
    ],
)
def test_sockets_are_known_by_kind_and_address(reactor: Reactor, url: Url, name: str) -> None:
    assert stream(reactor, url=url)[0].socket_name == name


class Store:
    """Keeps descriptors, as a service manager does."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []

    def add(self, name: str, descriptors: Sequence[int]) -> bool:
        self.events += [("add", name, os.fstat(each).st_ino) for each in descriptors]
        return True

    def remove(self, name: str) -> None:
        self.events.append(("remove", name, 0))


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_store_has_a_socket_as_long_as_somebody_may_use_it(
    reactor: Reactor, is_kept: bool
) -> None:
    store, url = Store(), Url("udp", host="127.0.0.1")
    service, _ = datagrams(
        reactor, lambda: bind_datagram("127.0.0.1", 0, receive_buffer_bytes=65536), url
    )
    service._held = HeldSockets(store)
    service.startService()
    name = service.socket_name
    added = ("add", name, os.fstat(service.descriptor).st_ino)
    assert store.events == [added]
    service._held.keeps_all = is_kept
    service.stopService()
    assert store.events == ([added] if is_kept else [added, ("remove", name, 0)])
    for each in service._held:
        each.bound.close()


def test_a_socket_of_a_unit_is_not_stored(reactor: Reactor) -> None:
    store = Store()
    service, _ = stream(reactor, url=Url("tcp", host="127.0.0.1", inherited="a"))
    service._held = HeldSockets(store)
    service.startService()
    service.stopService()
    assert [each for each in store.events if each[0] == "add"] == []


def test_binding_can_be_tried_without_leaving_anything(tmp_path: Path, reactor: Reactor) -> None:
    url = Url("unix", path=str(tmp_path / "log"))
    service, _ = stream(
        reactor,
        lambda: bind_unix(url.path, socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0),
        url,
    )
    service.try_to_bind()
    assert os.listdir(tmp_path) == []
    (tmp_path / "log").write_text("of somebody else")
    with pytest.raises(StartRefused, match="this path is a file"):
        service.try_to_bind()
    assert os.listdir(tmp_path) == ["log"]


def test_a_trial_does_not_blame_the_relay_that_runs(reactor: Reactor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        url = Url("tcp", host="127.0.0.1", port=port)
        service, _ = stream(reactor, lambda: bind_stream("127.0.0.1", port), url)
        service._other_owner = lambda: "the queue is in use by process 7"
        with pytest.raises(StartRefused, match=r"Address already in use$"):
            service.try_to_bind()


def said_about_buffer(reactor: Reactor, asked: int, granted: int) -> list[str]:
    said: list[str] = []

    def observe(event: Any) -> None:
        if "receive buffer" in event["log_format"]:
            said.append(formatEvent(event))

    service = DatagramSource(
        new_source("in", Url("udp", host="127.0.0.1")),
        receiving(reactor),
        bind=lambda: bind_datagram("127.0.0.1", 0, receive_buffer_bytes=granted),
        new_reader=Reader,  # type: ignore[arg-type]
        receive_buffer_bytes=asked,
    )
    globalLogPublisher.addObserver(observe)
    try:
        service.startService()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert service.report()["receive_buffer_bytes"] == granted
    service.stopService()
    return said


def test_a_receive_buffer_that_is_much_too_small_is_said(reactor: Reactor) -> None:
    assert said_about_buffer(reactor, asked=65536, granted=32768) == []
    assert said_about_buffer(reactor, asked=8 * 2**20, granted=65536) == [
        "source in: asked for a receive buffer of 8 MiB, the kernel grants 64 KiB; raise it "
        "with: sysctl -w net.core.rmem_max=8388608"
    ]


def test_a_unix_datagram_socket_removes_its_file(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "log"
    service, _ = datagrams(
        reactor,
        lambda: bind_unix(str(path), socket.SOCK_DGRAM, mode=0o666, receive_buffer_bytes=1),
        Url("unixgram", path=str(path)),
    )
    service.startService()
    service.stopService()
    assert not path.exists()
    service, _ = datagrams(
        reactor,
        lambda: bind_unix(str(path), socket.SOCK_DGRAM, mode=0o666, receive_buffer_bytes=1),
        Url("unixgram", path=str(path)),
    )
    service.startService()
    path.unlink()
    service.stopService()  # somebody else has removed it: no trouble


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_socket_that_programs_no_longer_find_is_no_healthy_source(
    tmp_path: Path, reactor: Reactor, kind: socket.SocketKind
) -> None:
    path = tmp_path / "log"
    new, scheme = (stream, "unix") if kind == socket.SOCK_STREAM else (datagrams, "unixgram")
    service, _ = new(
        reactor,
        lambda: bind_unix(str(path), kind, mode=0o666, receive_buffer_bytes=1),
        Url(scheme, path=str(path)),
    )
    service.startService()
    assert "state" not in service.report()
    path.unlink()
    why = f"{path}, so programs cannot reach this source; restart the relay"
    report = service.report()
    assert (report["ready"], report["state"]) == (False, f"somebody removed the socket {why}")
    path.write_text("of somebody else")
    message = f"another file has taken the place of the socket {why}"
    assert service.report()["state"] == message
    service.stopService()
    assert path.read_text() == "of somebody else"


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_end_of_a_source_is_no_loss_of_its_socket(
    tmp_path: Path, reactor: Reactor, kind: socket.SocketKind
) -> None:
    path = tmp_path / "log"
    new, scheme = (stream, "unix") if kind == socket.SOCK_STREAM else (datagrams, "unixgram")
    service, _ = new(
        reactor,
        lambda: bind_unix(str(path), kind, mode=0o666, receive_buffer_bytes=1),
        Url(scheme, path=str(path)),
    )
    service.startService()
    service.stopService()
    path.unlink(missing_ok=True)  # the listener of a stream is a fake here
    assert "state" not in service.report()


def test_the_report_has_every_counter(reactor: Reactor) -> None:
    service, _ = stream(reactor)
    names = set(SourceCounters.__dataclass_fields__)
    others = {"peers", "samples", "stored_seconds", "earlier_severities"}
    counted = names - others - {"dropped", "apps", "connections_closed", "requests_refused"}
    for number, name in enumerate(sorted(counted), 1):
        setattr(service.counters, name, number)
    service.counters.dropped["empty"] = 99
    service.counters.apps["web"] = 98
    service.counters.connections_closed["relp-protocol"] = 97
    peer = service.counters.peers.of(Origin("in", Transport.TCP, "192.0.2.1"))
    peer.severities[3] = 96
    service.counters.stored_seconds.observe(0.1, 95)
    report = service.report()
    expected = {name: getattr(service.counters, name) for name in names - others - {"dropped"}}
    assert report == {
        "id": "in",
        "listen": "tcp://127.0.0.1:0",
        "address": "tcp://127.0.0.1:0",
        "dropped_records": {"empty": 99},
        "quarantine": None,
        "severities": {**dict.fromkeys(SEVERITIES, 0), "error": 96},
        "peers": 1,
        "rates": {span: dict.fromkeys(SOURCE_RATES, 0.0) for span in ("10s", "60s")},
        "stored_seconds": service.counters.stored_seconds.report(),
        **expected,
    }


def test_a_sample_has_losses_of_the_quarantine_too(reactor: Reactor) -> None:
    service, _ = stream(reactor)
    service._quarantine = lambda: Ledger(dropped={"quarantine-full": 2, "quarantine-aged": 9})
    service.counters.received_records = 50
    service.counters.dropped.update({"empty": 3, "no-destination": 4})
    peer = service.counters.peers.of(Origin("in", Transport.TCP, "192.0.2.1"))
    peer.severities[:] = [1, 2, 3, 4, 5, 6, 7, 8]
    assert service.sample(100.0) == (50, 5, 10, 9)
    service.counters.watched.note("error", [0, 0, 0, 1, 2, 0, 0, 0])
    assert service.sample(100.5) == (50, 3, 12, 9)
    service.counters.received_records = 60
    service.sample(101.0)
    assert service.report()["rates"]["10s"]["messages"] == 10.0


def test_the_report_shows_the_account_of_its_quarantine(reactor: Reactor) -> None:
    service, _ = stream(reactor)
    account = Ledger(quarantined=2, quarantine_bytes=300, dropped={"quarantine-full": 1})
    service._quarantine = lambda: account
    assert service.report()["quarantine"] == {
        "records": 2,
        "bytes": 300,
        "dropped_records": {"quarantine-full": 1},
    }
