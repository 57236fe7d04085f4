from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.python.failure import Failure

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Transport
from relay.queue.admission.backpressure import Admission
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.peers import PeerRates, PermittedPeers
from relay.transport.reception import Reception
from relay.transport.sockets import bind_unix
from tests.connections import RecordingIntake, RecordingNotices, lose

OURSELVES = (os.getpid(), os.getuid(), os.getgid())


class Source:
    """A reader of `bound` with everything it talks to."""

    def __init__(
        self, bound: Any, *, frame_bytes_max: int = 1000, transport: str, **limits: Any
    ) -> None:
        self.bound = bound
        self.intake = RecordingIntake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=1000)
        self.reader = DatagramReader(
            bound,
            Reception("in", self.intake, self.admission, self.counters, self.notices),
            transport=transport,
            frame_bytes_max=frame_bytes_max,
            **limits,
        )


class Peers:
    """A UDP socket by hand: what it says was received, from whom, with what beside it."""

    family = socket.AF_INET

    def __init__(self, *received: Any) -> None:
        self.received = list(received)
        self.closed = False
        self.drops = 0

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return struct.pack("9I", *[1] * 8, self.drops)

    def recvfrom_into(self, buffer: bytearray, size: int, flags: int) -> Any:
        assert flags == socket.MSG_TRUNC
        if not self.received:
            raise BlockingIOError
        item = self.received.pop(0)
        if isinstance(item, OSError):
            raise item
        data, address = item
        taken = data[: len(buffer)]
        buffer[: len(taken)] = taken
        return len(data), address

    def fileno(self) -> int:
        return 7

    def close(self) -> None:
        self.closed = True


def datagram(data: bytes, port: int, *, host: str = "192.0.2.1") -> Any:
    return data, (host, port)


def udp(*received: Any, **keywords: Any) -> Source:
    return Source(Peers(*received), transport=Transport.UDP, **keywords)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def local(path: Path) -> Iterator[Source]:
    bound = bind_unix(str(path), socket.SOCK_DGRAM, mode=0o600, receive_buffer_bytes=1_000_000)
    with bound:
        yield Source(bound, transport=Transport.UNIX, frame_bytes_max=100_000)


@contextlib.contextmanager
def sender(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connected:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
        connected.connect(str(path))
        yield connected


def test_one_batch_for_each_sender_and_all_are_handed_over_together() -> None:
    source = udp(datagram(b"a", 1), datagram(b"b", 2), datagram(b"c", 1))
    source.reader.doRead()
    assert source.intake.batches == [[b"a", b"c"], [b"b"]]
    assert source.intake.handed_over == [2]
    assert [origin.peer for origin in source.intake.origins] == ["192.0.2.1:1", "192.0.2.1:2"]


def test_a_byte_order_mark_before_a_message_is_removed() -> None:
    mark = b"\xef\xbb\xbf"
    source = udp(*(datagram(data, 1) for data in (mark + b"<13>a", b"<13>" + mark, mark * 2)))
    source.reader.doRead()
    assert source.intake.batches == [[b"<13>a", b"<13>" + mark, mark]]


def test_ipv4_senders_of_a_socket_for_both_families() -> None:
    source = udp((b"a", ("::ffff:192.0.2.1", 514, 0, 0)))
    source.reader.doRead()
    assert source.intake.origins[0].peer == "192.0.2.1:514"


def test_a_wake_up_has_an_end() -> None:
    source = udp(*[datagram(b"a", 1)] * 250)
    source.reader.doRead()
    assert len(source.intake.batches[0]) == 200
    source.reader.doRead()
    assert len(source.intake.batches[1]) == 50


def test_a_long_datagram_is_cut_counted_and_said() -> None:
    source = udp(datagram(b"x" * 1001, 1), datagram(b"x" * 1000, 1))
    source.reader.doRead()
    assert source.intake.batches == [[b"x" * 1000, b"x" * 1000]]
    assert source.intake.cut == [{0: 1001}]
    assert (source.counters.truncated_records, source.notices.kinds) == (1, ["truncated"])
    assert "192.0.2.1:1" in source.notices.said[0][2]


def test_what_the_kernel_dropped_is_counted() -> None:
    source = udp(datagram(b"a", 1))
    for source.bound.drops in (5, 7, 7):
        source.reader.doRead()
    assert source.counters.dropped == {"kernel-buffer": 7}
    assert source.counters.received_records == 7  # the intake counts its own


def test_what_was_dropped_before_our_time_is_not_counted() -> None:
    source = udp()
    source.bound.drops = 5
    source.reader.forget_kernel_drops()
    source.reader.doRead()
    assert source.counters.dropped == {}


def test_the_kernels_count_wraps() -> None:
    source = udp()
    for source.bound.drops in (2**32 - 1, 2):
        source.reader.doRead()
    assert source.counters.dropped["kernel-buffer"] == 2**32 + 2


def test_local_sockets_block_instead_of_dropping(local: Source) -> None:
    local.reader.doRead()
    assert local.counters.dropped == {}


def test_datagrams_of_strangers_are_dropped_counted_and_said() -> None:
    source = udp(
        datagram(b"aa", 1),
        datagram(b"b", 2),
        datagram(b"c", 1, host="10.0.0.1"),
        permitted=PermittedPeers(allow=[ipaddress.ip_network("10.0.0.0/8")]),
    )
    source.reader.doRead()
    assert source.intake.batches == [[b"c"]]
    assert source.counters.dropped == {"not-allowed": 2}
    assert (source.counters.received_records, source.counters.received_bytes) == (2, 3)
    assert source.notices.said[0] == (
        "source in",
        "not-allowed",
        "1 datagram dropped, the last from 192.0.2.1:1: not allowed by allow and deny",
    )


def test_datagrams_above_the_rate_of_their_peer_are_dropped() -> None:
    rates = PeerRates(rate_max=3, now=lambda: 0.0)
    source = udp(
        *[datagram(b"a", 1)] * 2,
        *[datagram(b"b", 2)] * 2,
        datagram(b"c", 1, host="10.0.0.1"),
        rates=rates,
    )
    source.reader.doRead()
    assert source.intake.batches == [[b"a", b"a"], [b"b"], [b"c"]]
    assert source.counters.dropped == {"rate-limit": 1}
    assert source.notices.kinds == ["rate-limit"]
    source.bound.received.append(datagram(b"a", 1))
    source.reader.doRead()
    assert len(source.intake.batches) == 3


def test_long_datagrams_are_dropped_if_that_is_wanted() -> None:
    source = udp(datagram(b"x" * 1001, 1), datagram(b"x" * 1000, 1), oversize="drop")
    source.reader.doRead()
    assert source.intake.batches == [[b"x" * 1000]]
    assert source.counters.dropped == {"too-long": 1}
    assert (source.counters.received_records, source.counters.truncated_records) == (1, 0)
    assert source.notices.kinds == ["too-long"]


def test_long_datagrams_are_handed_on_for_the_quarantine() -> None:
    source = udp(datagram(b"a", 1), datagram(b"x" * 1500, 1), oversize="quarantine")
    source.reader.doRead()
    assert source.intake.batches == [[b"a", b"x" * 1000]]
    assert (source.intake.cut, source.counters.truncated_records) == ([{1: 1500}], 0)
    assert "set aside, the last from 192.0.2.1:1" in source.notices.said[0][2]


def test_long_datagrams_are_split() -> None:
    message = b"<13>Oct 11 22:14:15 h a: " + bytes(range(33, 127)) * 20
    source = udp(
        datagram(b"a", 1),
        datagram(message, 1),
        datagram(b"b", 1),
        datagram(b"c", 2),
        oversize="split",
    )
    source.reader.doRead()
    (a, first, second, b), other = source.intake.batches
    assert (a, b, other) == (b"a", b"b", [b"c"])
    assert first == message[:1000]
    assert second == message[:25] + message[1000:]
    assert source.intake.pieces == [{1: 1, 2: 2}, None]
    assert (source.counters.split_records, source.counters.truncated_records) == (1, 0)
    assert source.notices.kinds == ["too-long"]


def test_what_is_too_long_even_to_be_split_is_cut_and_counted() -> None:
    source = udp(datagram(b"x" * (2**20 + 1), 1), datagram(b"a", 1), oversize="split")
    source.reader.doRead()
    (frames,) = source.intake.batches
    assert b"".join(frames) == b"x" * 2**20 + b"a"
    assert source.intake.cut == [{len(frames) - 2: 2**20 + 1}]
    assert (source.counters.split_records, source.counters.truncated_records) == (1, 1)


def test_the_rate_can_end_between_pieces() -> None:
    rates = PeerRates(rate_max=2, now=lambda: 0.0)
    source = udp(datagram(b"a", 1), datagram(b"x" * 1001, 1), rates=rates, oversize="split")
    source.reader.doRead()
    assert source.intake.batches == [[b"a", b"x" * 1000]]
    assert source.intake.pieces == [{1: 1}]
    assert source.counters.dropped == {"rate-limit": 1}


def test_an_error_of_the_socket_does_not_end_it() -> None:
    source = udp(datagram(b"a", 1), ConnectionRefusedError("refused"), datagram(b"b", 1))
    source.reader.doRead()
    source.reader.doRead()
    assert source.intake.batches == [[b"a"], [b"b"]]
    assert source.notices.kinds == ["receive"]


def test_while_admission_is_closed_datagrams_are_dropped_and_counted() -> None:
    source = udp(datagram(b"aa", 1), datagram(b"b", 1))
    source.admission.set_pending_bytes(1000)
    source.reader.doRead()
    assert source.intake.batches == []
    assert source.counters.dropped == {"admission-closed": 2}
    assert (source.counters.received_records, source.counters.received_bytes) == (2, 3)
    assert "wait for the disk" in source.notices.said[0][2]


def test_urgent_datagrams_may_use_the_reserve() -> None:
    source = udp(datagram(b"<15>debug", 1), datagram(b"<10>crit", 1))
    source.reader._admission = Admission(
        pending_bytes_max=100, queue_bytes_max=1000, reserve_bytes=100
    )
    source.reader._admission.set_queue_bytes(950)
    source.reader.doRead()
    assert source.intake.batches == [[b"<10>crit"]]
    assert source.counters.dropped == {"admission-closed": 1}


def test_what_was_cut_is_still_known_when_others_were_dropped() -> None:
    source = udp(datagram(b"<15>debug", 1), datagram(b"<10>" + b"x" * 2000, 1))
    source.reader._admission = Admission(
        pending_bytes_max=100, queue_bytes_max=1000, reserve_bytes=100
    )
    source.reader._admission.set_queue_bytes(950)
    source.reader.doRead()
    assert [len(frame) for (frame,) in source.intake.batches] == [1000]
    assert source.intake.cut == [{0: 2004}]


def test_what_is_not_stored_is_said() -> None:
    source = udp(datagram(b"a", 1))
    source.reader.doRead()
    source.intake.stored[0].errback(Failure(QueueError("stopped")))
    assert source.notices.said == [("source in", "not-stored", "datagrams were lost: stopped")]


def test_the_end_takes_what_is_there_and_closes() -> None:
    source = udp(*[datagram(b"a", 1)] * 450)
    source.reader.drain_and_close()
    assert sum(map(len, source.intake.batches)) == 450
    assert source.bound.closed


def test_a_sender_that_goes_on_does_not_keep_us_from_ending() -> None:
    source = udp()
    source.bound.recvfrom_into = lambda *_: (0, ("192.0.2.1", 1))
    source.reader.drain_and_close()
    assert source.bound.closed


def test_the_reactors_goodbye_closes_the_socket() -> None:
    source = udp()
    lose(source.reader)
    assert source.bound.closed
    assert (source.reader.fileno(), source.reader.logPrefix()) == (7, "source in")


# A unix socket, with the kernel at the other end.


def test_the_kernel_vouches_for_local_senders(path: Path, local: Source) -> None:
    with sender(path) as log:
        log.send(b"<13>one")
        log.send(b"<13>two")
    local.reader.doRead()
    assert local.intake.batches == [[b"<13>one", b"<13>two"]]
    origin = local.intake.origins[0]
    assert (origin.pid, origin.uid, origin.gid) == OURSELVES
    assert origin.peer == f"local process {os.getpid()}"


def test_nothing_gets_lost_between_the_last_read_and_the_end(path: Path, local: Source) -> None:
    with sender(path) as log:
        for number in range(5):
            log.send(b"<13>%d" % number)
        log.send(b"")
        log.send(b"<13>5")
        read = local.reader.doRead

        def and_somebody_writes() -> None:
            read()
            with pytest.raises(BrokenPipeError):
                log.send(b"<13>late")

        local.reader.doRead = and_somebody_writes  # type: ignore[method-assign]
        local.reader.drain_and_close()
    assert [frame for batch in local.intake.batches for frame in batch if frame] == [
        b"<13>%d" % number for number in range(6)
    ]


def test_an_inherited_socket_goes_on_taking_datagrams(path: Path, local: Source) -> None:
    with local.bound.dup() as other, sender(path) as log:
        log.send(b"<13>one")
        local.reader.drain_and_close(inherited=True)
        log.send(b"<13>two")
        assert other.recv(100) == b"<13>two"
    assert local.intake.batches == [[b"<13>one"]]


@pytest.mark.parametrize("reads_rest", [False, True])
def test_a_socket_is_left_with_what_waits_in_it(
    path: Path, local: Source, reads_rest: bool
) -> None:
    with sender(path) as log:
        log.send(b"<13>one")
        local.reader.release(reads_rest=reads_rest)
        log.send(b"<13>two")
        waiting = [local.bound.recv(100) for _ in range(1 if reads_rest else 2)]
    assert local.intake.batches == ([[b"<13>one"]] if reads_rest else [])
    assert waiting[-1] == b"<13>two"


def test_what_would_be_dropped_is_left_in_the_socket(path: Path, local: Source) -> None:
    local.admission.set_pending_bytes(1000)
    with sender(path) as log:
        log.send(b"<13>one")
        local.reader.release(reads_rest=True)
    assert local.bound.recv(100) == b"<13>one"
    assert not local.counters.dropped


def test_local_datagrams_may_be_longer_than_udp_allows(path: Path, local: Source) -> None:
    with sender(path) as log:
        log.send(b"x" * 100_000)
        log.send(b"y" * 100_001)
    local.reader.doRead()
    assert local.intake.batches == [[b"x" * 100_000, b"y" * 100_000]]
    assert local.intake.cut == [{1: 100_001}]
    assert local.counters.truncated_records == 1


def test_descriptors_that_somebody_sends_are_closed(path: Path, local: Source) -> None:
    before = os.listdir("/proc/self/fd")
    with sender(path) as log, open("/dev/null") as null:
        socket.send_fds(log, [b"<13>gift"], [null.fileno()] * 5)
        socket.send_fds(log, [b"<13>gift"], [null.fileno()])
    local.reader.doRead()
    assert local.intake.batches == [[b"<13>gift", b"<13>gift"]]
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_where_nothing_is_taken_nothing_is_handed_over() -> None:
    permitted = PermittedPeers(deny=[ipaddress.ip_network("192.0.2.0/24")])
    source = udp(datagram(b"a", 1), datagram(b"b", 2), permitted=permitted)
    source.reader.doRead()
    assert source.intake.handed_over == []
    assert source.counters.dropped == {"not-allowed": 2}


def test_one_that_is_not_allowed_does_not_keep_back_the_others() -> None:
    permitted = PermittedPeers(deny=[ipaddress.ip_network("192.0.2.2/32")])
    received = [datagram(b"%d" % number, 1, host=f"192.0.2.{number}") for number in (1, 2, 3)]
    source = udp(*received, permitted=permitted)
    source.reader.doRead()
    assert (source.intake.batches, source.intake.handed_over) == ([[b"1"], [b"3"]], [2])


def test_a_batch_that_is_not_stored_is_said_once() -> None:
    source = udp(datagram(b"a", 1), datagram(b"b", 2))
    source.reader.doRead()
    source.intake.stored[0].errback(QueueError("no room"))
    assert source.notices.said == [
        ("source in", "not-stored", "datagrams were lost: no room"),
    ]
