from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.hops import OwnHop, joined_hops
from relay.model.origin import Origin, Received, Transport
from relay.wire.hops import (
    LOOP,
    TOO_MANY,
    LoopGuard,
    hop_in,
    hops_in,
    parted,
    records_with_hops,
    split_hops,
    with_hops,
)

A, B, C = (b"%016x@%c" % (number, ord("a") + number) for number in range(3))
AB = A + b" " + B


@given(st.lists(st.binary(min_size=1)), st.sampled_from([b"", A, AB]))
def test_records_give_their_payloads_and_hops_back(payloads: list[bytes], hops: bytes) -> None:
    back, found = parted(records_with_hops(payloads, hops))
    assert list(back) == payloads
    assert found == (dict.fromkeys(range(len(payloads)), hops) if hops else {})


def test_a_payload_that_looks_like_a_record_is_none() -> None:
    forged = with_hops(b"text", A)
    assert parted(records_with_hops([forged], b"")) == ([forged], {})


@pytest.mark.parametrize(
    "record", [b"", b"\0", b"\0HOPS ", b"\0HOPS x\0y", b"\0HOPS " + A, b"text", b"\0KEY a\0b"]
)
def test_other_bytes_are_no_hops(record: bytes) -> None:
    assert split_hops(record) == (b"", record)


def test_empty_payloads_stay_empty() -> None:
    assert records_with_hops([b"", b"x"], A) == [b"", with_hops(b"x", A)]


@pytest.mark.parametrize(
    ("frame", "hops"),
    [
        (b'<13>1 - h a - - [syslogrelay@32473 hops="%b"] text' % AB, AB),
        (b'17 <13>1 - h a - - [x@1 a="\\"]"][syslogrelay@32473 from="f" hops="%b"]' % A, A),
        (b'<13>1 - h a - - [syslogrelay@32473 from="\\" hops=" hops="%b"]' % B, B),
        (b'<13>1 - r @syslog-ng - - - {"A":"b",".syslogrelay":{"peer":"x","hops":"%b"}}' % A, A),
        (b'<13>1 - r @syslog-ng - - - {".syslogrelay.hops":"%b"}' % AB, AB),
        (b'<13>1 - r @syslog-ng - - - {".syslogrelay": {"hops": "%b"}}' % AB, AB),
        (b'<13>Oct 11 22:14:15 r @syslog-ng: {".syslogrelay":{"hops":"%b"}}' % A, A),
        (
            b'<13>1 - r @syslog-ng - - [syslogrelay@32473 hops="%b"] {".syslogrelay":{"hops":"%b"}}'
            % (A, B),
            AB,
        ),
        # They count in their places only, and only if they are some.
        (b'<13>1 - h a - - - [syslogrelay@32473 hops="%b"]' % A, b""),
        (b'<13>1 - h a - - [x@1 a="[syslogrelay@32473 hops=%b"]' % A, b""),
        (b'<13>h a: [syslogrelay@32473 hops="%b"]' % A, b""),
        (b'<13>1 - h a - - [syslogrelay@32473 hops="x"]', b""),
        (b'<13>1 - h a - - [syslogrelay@324731 hops="%b"]' % A, b""),
        (b'<13>1 - h app - - - {".syslogrelay":{"hops":"%b"}}' % A, b""),
        (
            b'<13>1 - r @syslog-ng - - - {"MESSAGE":"\\".syslogrelay\\":{\\"hops\\":\\"%b\\"}"}'
            % A,
            b"",
        ),
        (b"", b""),
    ],
)
def test_hops_are_found_in_messages(frame: bytes, hops: bytes) -> None:
    assert hops_in(frame) == hops


@given(st.binary())
def test_any_frame_can_be_looked_at(frame: bytes) -> None:
    assert hops_in(frame) == b""
    assert hops_in(b"<13>1 - h a - - [syslogrelay@32473 " + frame) == b""


def test_long_hostile_frames_are_looked_at_in_linear_time() -> None:
    for part in (b'[a b="', b"[a ", b'" ', b"\\", b'[syslogrelay@32473 a="'):
        assert hops_in(b"<13>1 - h @syslog-ng - - " + part * 20_000) == b""
    assert hops_in(b"<13>@syslog-ng " + b'".syslogrelay":{' * 20_000) == b""


@pytest.mark.parametrize(
    ("values", "hop"),
    [([A], A), ([b""], b""), ([A, b"x"], b""), ([AB], b""), ([b"junk"], b"")],
)
def test_an_offer_names_one_hop(values: list[bytes], hop: bytes) -> None:
    assert hop_in({b"syslogrelay_hop": values}) == hop
    assert hop_in({}) == b""


class Guarded:
    def __init__(self, *, hops_max: int = 3, carries: bool = True) -> None:
        own = OwnHop("b")
        own.begin(f"{1:016x}")
        self.drops: list[tuple[str, int, str]] = []
        self.guard = LoopGuard(
            own,
            hops_max=hops_max,
            carries=carries,
            on_drop=lambda *drop: self.drops.append(drop),
        )


ORIGIN = Origin("s", Transport.TCP, "192.0.2.1", 1)
PLAIN = [b"<13>one", b"<13>two", b"<13>three"]


def test_messages_without_hops_are_left_alone() -> None:
    batch = Received(PLAIN, ORIGIN)
    (kept,), dropped = Guarded().guard.sorted_out([batch])
    assert kept is batch
    assert not dropped


def test_what_was_here_before_is_dropped_and_the_ring_is_named() -> None:
    guarded = Guarded()
    batch = Received(PLAIN, ORIGIN._replace(hops=C), {2: 99}, {}, {1: AB})
    kept, dropped = guarded.guard.sorted_out([batch])
    assert [frame for part in kept for frame in part.frames] == [PLAIN[0], PLAIN[2]]
    assert [part.cut for part in kept if part.cut] == [{0: 99}]
    assert dropped == {LOOP: [PLAIN[1]]}
    assert guarded.drops == [
        (LOOP, 1, "b (0000000000000001) → c (0000000000000002) → b (0000000000000001)")
    ]


def test_a_session_with_oneself_is_a_loop() -> None:
    kept, dropped = Guarded().guard.sorted_out([Received(PLAIN, ORIGIN._replace(hops=B))])
    assert not kept
    assert dropped == {LOOP: PLAIN}


def test_too_many_hops_end_a_message() -> None:
    guarded = Guarded(hops_max=1)
    batch = Received(PLAIN, ORIGIN._replace(hops=C), hops={0: A})
    kept, dropped = guarded.guard.sorted_out([batch])
    assert dropped == {TOO_MANY: [PLAIN[0]]}
    assert [part.frames for part in kept] == [PLAIN[1:]]


def test_the_way_goes_on_with_the_origin_in_order() -> None:
    element = b'<13>1 - h a - - [syslogrelay@32473 hops="%b"] x' % A
    batch = Received([*PLAIN, element], ORIGIN, hops={1: A, 2: A})
    kept, _ = Guarded().guard.sorted_out([batch])
    assert [(list(part.frames), part.origin.hops) for part in kept] == [
        ([PLAIN[0]], b""),
        ([*PLAIN[1:], element], A),
    ]


def test_batches_stay_whole_where_no_destination_sends_hops_on() -> None:
    batch = Received(PLAIN, ORIGIN, hops={1: A})
    kept, _ = Guarded(carries=False).guard.sorted_out([batch])
    assert kept == [batch]


def test_a_relay_without_an_id_drops_nothing() -> None:
    guard = LoopGuard(OwnHop(), hops_max=0, carries=True, on_drop=lambda *drop: None)
    batch = Received(PLAIN, ORIGIN._replace(hops=AB))
    assert guard.sorted_out([batch]) == ([batch], {})


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.sampled_from([b"", A, C, AB]))),
    st.booleans(),
)
def test_every_message_is_kept_or_dropped(
    messages: list[tuple[bytes, bytes]], carries: bool
) -> None:
    frames = [frame for frame, _ in messages]
    hops = {index: way for index, (_, way) in enumerate(messages) if way}
    kept, dropped = Guarded(carries=carries).guard.sorted_out([Received(frames, ORIGIN, hops=hops)])
    assert [frame for part in kept for frame in part.frames] == [
        frame for frame, way in messages if B not in way
    ]
    assert [frame for part in dropped.values() for frame in part] == [
        frame for frame, way in messages if B in way
    ]
    if carries:
        ways = [part.origin.hops or part.hops.get(0, b"") for part in kept for _ in part.frames]
        assert ways == [joined_hops(way) for _, way in messages if B not in way]
