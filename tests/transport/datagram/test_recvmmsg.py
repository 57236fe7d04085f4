from __future__ import annotations

import ctypes
import errno
import resource
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from relay.model.counters.source import SourceCounters
from relay.model.origin import Transport
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import (
    BYTES_MAX,
    CALLS_MAX,
    DATAGRAMS_MAX,
    ManyDatagrams,
    host_and_port,
)
from tests.connections import RecordingIntake, RecordingNotices, open_reception

NOBODY = ("", 0, None)
LIMIT = 10


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Where datagrams are received, and where they are sent; nothing goes over a network."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.setblocking(False)
    with here, there:
        yield here, there


both_ways = pytest.mark.parametrize("many", [ManyDatagrams, None], ids=["at once", "one by one"])


class Source:
    """A reader of `bound` with what it talks to."""

    def __init__(
        self, bound: socket.socket, many: type[ManyDatagrams] | None, oversize: str = "truncate"
    ) -> None:
        self.intake = RecordingIntake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.reader = DatagramReader(
            bound,
            open_reception(self.intake, self.counters, self.notices),
            transport=Transport.UDP,
            frame_bytes_max=LIMIT,
            oversize=oversize,
            many=many,
        )


@both_ways
def test_both_ways_take_the_same(
    ends: tuple[socket.socket, socket.socket], many: type[ManyDatagrams] | None
) -> None:
    here, there = ends
    source = Source(here, many)
    for data in (b"one", b"", b"0123456789", b"0123456789ab", b"last"):
        there.send(data)
    source.reader.doRead()
    source.reader.doRead()  # there is nothing
    assert source.intake.batches == [[b"one", b"", b"0123456789", b"0123456789", b"last"]]
    assert source.intake.cut == [{3: 12}]
    assert source.counters.truncated_records == 1
    assert source.notices.kinds == ["truncated"]


@both_ways
def test_both_ways_keep_what_is_to_be_split(
    ends: tuple[socket.socket, socket.socket], many: type[ManyDatagrams] | None
) -> None:
    here, there = ends
    source = Source(here, many, "split")
    there.send(b"<13>a 0123456789")
    there.send(b"short")
    source.reader.doRead()
    (frames,) = source.intake.batches
    assert len(frames) > 2
    assert b"".join(frame.removeprefix(b"<13>") for frame in frames) == b"a 0123456789short"


def test_one_call_takes_many(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    datagrams = ManyDatagrams(here, frame_bytes_max=LIMIT, kept_bytes_max=LIMIT)
    for number in range(3):
        there.send(b"%d" % number)
    received = datagrams.receive()
    assert received.batches == {NOBODY: [b"0", b"1", b"2"]}
    assert (received.long, received.more, received.error) == ({}, False, None)
    assert datagrams.receive() == ({}, {}, False, None)


def test_what_no_datagram_has_touched_takes_no_memory(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Asks mincore(2) about the 8 MiB for the longest datagrams, which ctypes would fill."""
    here, there = ends
    datagrams: Any = ManyDatagrams(here, frame_bytes_max=65_535, kept_bytes_max=65_535)
    size = len(datagrams._all_data)
    address = ctypes.c_void_p(ctypes.addressof(datagrams._data))
    pages = (ctypes.c_ubyte * -(-size // resource.getpagesize()))()

    def resident() -> int:
        assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(size), pages) == 0
        return sum(page & 1 for page in pages)

    assert size == 65_535 * DATAGRAMS_MAX
    assert resident() == 0
    there.send(b"one")
    assert datagrams.receive().batches == {NOBODY: [b"one"]}
    assert 0 < resident() < len(pages)


class Calls:
    """Stands for recvmmsg: each call brings so many datagrams of so many bytes."""

    def __init__(self, datagrams: Any, *counts: int, size: int = 1) -> None:
        self.counts = list(counts)
        self._datagrams = datagrams
        self._size = size
        datagrams._call = self

    def __call__(self, *_: object) -> int:
        if not self.counts:
            ctypes.set_errno(errno.EAGAIN)
            return -1
        count = self.counts.pop(0)
        for index in range(count):
            self._datagrams._sizes[index] = self._size
            at = index * self._datagrams._slot_bytes
            self._datagrams._all_data[at] = ord("a") + len(self.counts)
        return count


@pytest.mark.parametrize("counts", [[DATAGRAMS_MAX, 2], [DATAGRAMS_MAX, DATAGRAMS_MAX]])
def test_a_wake_up_empties_the_socket(
    ends: tuple[socket.socket, socket.socket], counts: list[int]
) -> None:
    datagrams = ManyDatagrams(ends[0], frame_bytes_max=LIMIT, kept_bytes_max=LIMIT)
    calls = Calls(datagrams, *counts)
    received = datagrams.receive()
    assert received.batches == {NOBODY: [b"b"] * DATAGRAMS_MAX + [b"a"] * counts[1]}
    assert (received.more, received.error, calls.counts) == (False, None, [])


def test_a_wake_up_has_an_end(ends: tuple[socket.socket, socket.socket]) -> None:
    datagrams = ManyDatagrams(ends[0], frame_bytes_max=LIMIT, kept_bytes_max=LIMIT)
    calls = Calls(datagrams, *[DATAGRAMS_MAX] * (CALLS_MAX + 1))
    received = datagrams.receive()
    assert (len(received.batches[NOBODY]), received.more) == (CALLS_MAX * DATAGRAMS_MAX, True)
    assert (datagrams.receive().more, calls.counts) == (False, [])


def test_a_wake_up_takes_so_many_bytes(ends: tuple[socket.socket, socket.socket]) -> None:
    size = BYTES_MAX // DATAGRAMS_MAX // 2  # two calls bring the limit
    datagrams = ManyDatagrams(ends[0], frame_bytes_max=size, kept_bytes_max=size)
    calls = Calls(datagrams, *[DATAGRAMS_MAX] * 3, size=size)
    assert datagrams.receive().more
    assert len(calls.counts) == 1


def test_bytes_of_an_earlier_call_do_not_come_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    datagrams = ManyDatagrams(here, frame_bytes_max=LIMIT, kept_bytes_max=LIMIT)
    for data in (b"012345678", b"x"):
        there.send(data)
        frames = datagrams.receive().batches[NOBODY]
        assert frames == [data]


def test_datagrams_are_sorted_by_sender() -> None:
    datagrams = ManyDatagrams.__new__(ManyDatagrams)
    datagrams._frame_bytes_max = datagrams._slot_bytes = 3
    datagrams._all_data = memoryview(b"one" + b"two" + b"3__" + b"fou")
    a, b = ipv4("192.0.2.1", 5), ipv4("192.0.2.2", 5)
    batches: Any = {}
    long: Any = {}
    datagrams._sort([3, 3, 1, 4], a + b + b + a, batches, long)
    assert batches == {
        ("192.0.2.1", 5, None): [b"one", b"fou"],
        ("192.0.2.2", 5, None): [b"two", b"3"],
    }
    assert long == {("192.0.2.1", 5, None): {1: 4}}
    # The next call of the same wake-up; two names stand for one sender.
    c, d = ipv6("2001:db8::1", 5, flow=7), ipv6("2001:db8::1", 5, flow=8)
    datagrams._sort([3, 3, 4, 4], c + a + d + a, batches, long)
    assert batches["2001:db8::1", 5, None] == [b"one", b"3__"]
    assert batches["192.0.2.1", 5, None] == [b"one", b"fou", b"two", b"fou"]
    assert long == {("192.0.2.1", 5, None): {1: 4, 3: 4}, ("2001:db8::1", 5, None): {1: 4}}


def test_two_senders_of_one_call_are_told_apart(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    datagrams = ManyDatagrams(here, frame_bytes_max=LIMIT, kept_bytes_max=LIMIT)
    # The kernel does not write there for a socket without a name.
    datagrams._all_names[:56] = ipv4("192.0.2.1", 5) + ipv4("192.0.2.2", 6)
    there.send(b"one")
    there.send(b"two")
    assert datagrams.receive().batches == {
        ("192.0.2.1", 5, None): [b"one"],
        ("192.0.2.2", 6, None): [b"two"],
    }


def test_an_error_is_handed_on(ends: tuple[socket.socket, socket.socket]) -> None:
    here, _ = ends
    datagrams = ManyDatagrams(here, frame_bytes_max=LIMIT, kept_bytes_max=LIMIT)
    here.close()
    received = datagrams.receive()
    assert received.error is not None
    assert (received.error.errno, received.more) == (errno.EBADF, False)


def ipv4(host: str, port: int) -> bytes:
    data = socket.inet_aton(host)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s20x", port, data)


def ipv6(host: str, port: int, flow: int = 7) -> bytes:
    data = socket.inet_pton(socket.AF_INET6, host)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, flow, data, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (ipv4("192.0.2.1", 514), ("192.0.2.1", 514)),
        (ipv6("2001:db8::1", 65535), ("2001:db8::1", 65535)),
        (ipv6("::ffff:192.0.2.1", 514), ("192.0.2.1", 514)),
        (bytes(28), ("", 0)),
    ],
    ids=["IPv4", "IPv6", "IPv4 in IPv6", "none"],
)
def test_who_it_was(name: bytes, expected: tuple[str, int]) -> None:
    assert host_and_port(name) == expected
