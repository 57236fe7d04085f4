from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Received, Transport
from relay.queue.admission.backpressure import Admission
from relay.transport.notices import Notices
from relay.transport.reception import ConvertedIntake, OversizePolicy, Reception
from relay.wire.framing.charset import Charset
from tests.connections import RecordingNotices, fired


class Log:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, message: str, **fields: object) -> None:
        self.texts.append(message.format(**fields))


def test_each_path_has_its_own_rate_limit() -> None:
    log = Log()
    notices = Notices(clock=Clock(), log=log, interval_seconds=60.0)  # type: ignore[arg-type]
    admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
    reception = Reception("app", object(), admission, SourceCounters(), notices)
    reception.warn("unreadable", "/a: no", about="/a")
    reception.warn("unreadable", "/b: no", about="/b")
    reception.warn("unreadable", "/a: no", about="/a")
    assert log.texts == ["source app: /a: no", "source app: /b: no"]


FRAMES = [b"a", b"bbbb", b"c"]


@pytest.fixture
def counters() -> SourceCounters:
    return SourceCounters()


def policy(name: str, counters: SourceCounters) -> OversizePolicy:
    return OversizePolicy(name, frame_bytes_max=4, counters=counters)


def counts(counters: SourceCounters) -> tuple[int, int, int]:
    return (counters.truncated_records, counters.split_records, counters.dropped["too-long"])


@pytest.mark.parametrize(
    ("name", "text", "kind", "expected"),
    [
        ("truncate", "cut there", "truncated", (1, 0, 0)),
        ("quarantine", "set aside", "too-long", (0, 0, 0)),
    ],
)
def test_what_was_cut_goes_on(
    counters: SourceCounters, name: str, text: str, kind: str, expected: tuple[int, int, int]
) -> None:
    settled = policy(name, counters).settle(FRAMES, {1: 9}, {})
    assert settled[:4] == (FRAMES, {1: 9}, {}, kind)
    assert settled.text == f"1 longer than frame_bytes_max (4 B): {text}"
    assert counts(counters) == expected
    assert counters.received_records == 0  # the intake counts them


def test_what_is_dropped_is_received_and_counted_here(counters: SourceCounters) -> None:
    settled = policy("drop", counters).settle(FRAMES, {1: 9}, {})
    assert settled[:4] == ([b"a", b"c"], {}, {}, "too-long")
    assert settled.text.endswith(": dropped")
    assert counts(counters) == (0, 0, 1)
    assert (counters.received_records, counters.received_bytes) == (1, 4)


def test_a_split_message_counts_once_with_its_first_piece(counters: SourceCounters) -> None:
    splitting = policy("split", counters)
    assert splitting.splits
    settled = splitting.settle(FRAMES, {}, {1: 1, 2: 2})
    assert settled[:4] == (FRAMES, {}, {1: 1, 2: 2}, "too-long")
    assert settled.text.endswith(": split")
    settled = splitting.settle([b"dddd"], {}, {0: 3})
    assert settled == ([b"dddd"], {}, {0: 3}, "", "")
    assert counts(counters) == (0, 1, 0)


def test_what_cannot_even_be_split_whole_counts_as_cut(counters: SourceCounters) -> None:
    settled = policy("split", counters).settle(FRAMES, {2: 99}, {1: 1, 2: 2})
    assert (settled.cut, settled.pieces) == ({2: 99}, {1: 1, 2: 2})
    assert counts(counters) == (1, 1, 0)


ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", 514)
LINE = "<13>Oct 11 22:14:15 h app: café"


class Queue:
    """Takes everything, when it is told to."""

    def __init__(self) -> None:
        self.accepted: list[tuple[Any, ...]] = []
        self.stored: Deferred[None] = Deferred()

    def accept_all(self, batches: Any, positions: Any = None) -> Deferred[None]:
        self.accepted += [
            (frames, dict(cut), dict(pieces), positions) for frames, _, cut, pieces, *_ in batches
        ]
        return self.stored


class Setup:
    def __init__(self, encoding: str, limit: int = 1000, oversize: str = "truncate") -> None:
        self.queue = Queue()
        self.counters = SourceCounters()
        self.notices = RecordingNotices()
        notices: Any = self.notices
        admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        self.intake = ConvertedIntake(
            Reception("in", self.queue, admission, self.counters, notices),
            charset=Charset(encoding),
            frame_bytes_max=limit,
            oversize=oversize,
        )

    def accepted(self, frames: list[bytes], **marks: Any) -> tuple[Any, ...]:
        self.intake.accept_all([Received(frames, ORIGIN, **marks)])
        (accepted,) = self.queue.accepted
        return accepted


@pytest.mark.parametrize(
    "encoding", ["utf-16le", "utf-16", "utf-32be", "cp037", "latin-1", "utf-7"]
)
def test_frames_go_on_in_utf8(encoding: str) -> None:
    frames = [LINE.encode(encoding), "x".encode(encoding), b""]
    assert Setup(encoding).accepted(frames) == ([LINE.encode(), b"x", b""], {}, {}, None)


def test_a_mark_is_removed_where_no_transport_can_see_it() -> None:
    wide = b"\xff\xfe" + "x".encode("utf-16le")
    assert Setup("utf-16be").accepted([wide, wide])[0] == [b"x", b"x"]
    assert Setup("utf-8").accepted([b"\xef\xbb\xbfx"])[0] == [b"\xef\xbb\xbfx"]


def test_an_answer_is_that_of_the_queue() -> None:
    setup = Setup("latin-1")
    answer = setup.intake.accept_all([Received([b"x"], ORIGIN)], {"a": b"b"})
    assert setup.queue.accepted == [([b"x"], {}, {}, {"a": b"b"})]
    assert not fired(answer)
    setup.queue.stored.callback(None)
    assert fired(answer)


def test_the_limit_counts_bytes_of_utf8() -> None:
    setup = Setup("latin-1", limit=5)
    frames, cut, pieces, _ = setup.accepted([b"\xe9\xe9\xe9", b"\xe9\xe9a", b"abcd\xe9"])
    assert frames == ["éé".encode(), "ééa".encode(), b"abcd"]  # no half characters
    assert (cut, pieces) == ({0: 6, 2: 6}, {})
    assert setup.counters.truncated_records == 2
    ((subject, kind, text),) = setup.notices.said
    assert (subject, kind) == ("source in, 192.0.2.1:514", "truncated")
    assert text == "2 longer than frame_bytes_max (5 B): cut there"
    wide = Setup("utf-16le", limit=5)
    assert wide.accepted(["abcde".encode("utf-16le")])[:2] == ([b"abcde"], {})


def test_what_the_transport_has_cut_stays_cut_and_is_not_counted_again() -> None:
    setup = Setup("latin-1", limit=4)
    frames, cut, _, _ = setup.accepted([b"abcd", b"\xe9\xe9\xe9\xe9", b"a"], cut={0: 99, 1: 98})
    assert (frames, cut) == ([b"abcd", "éé".encode(), b"a"], {0: 99, 1: 98})
    assert setup.counters.truncated_records == 0
    assert setup.notices.said == []


def test_long_ones_are_dropped() -> None:
    setup = Setup("latin-1", limit=4, oversize="drop")
    assert setup.accepted([b"\xe9\xe9\xe9", b"a"]) == ([b"a"], {}, {}, None)
    assert setup.counters.dropped == {"too-long": 1}
    assert setup.counters.received_records == 1  # the intake counts the rest
    alone = Setup("latin-1", limit=4, oversize="drop")
    assert fired(alone.intake.accept_all([Received([b"\xe9\xe9\xe9"], ORIGIN)]))
    assert alone.queue.accepted == []


def test_long_ones_are_split() -> None:
    setup = Setup("latin-1", limit=20, oversize="split")
    line = b"<13>1 - - - - - - " + b"\xe9" * 12
    frames, cut, pieces, _ = setup.accepted([b"x", line, b"y"])
    text = line.decode("latin-1")
    assert (frames[0], frames[-1], cut) == (b"x", b"y", {})
    assert b"".join(frames[1:-1]).decode().replace("<13>", "").count("é") == text.count("é")
    assert all(len(frame) <= 20 and frame.decode() for frame in frames)
    assert pieces == dict(enumerate(range(1, len(frames) - 1), 1))
    assert setup.counters.split_records == 1


def test_pieces_of_a_transport_are_split_further() -> None:
    setup = Setup("latin-1", limit=20, oversize="split")
    frames, _, pieces, _ = setup.accepted([b"\xe9" * 20, b"\xe9" * 4], pieces={0: 1, 1: 2})
    assert b"".join(frames).decode() == "é" * 24
    assert pieces.keys() == set(range(len(frames)))
    assert setup.counters.split_records == 0


def test_long_ones_can_be_set_aside() -> None:
    setup = Setup("latin-1", limit=4, oversize="quarantine")
    assert setup.accepted([b"a", b"\xe9\xe9\xe9"])[:2] == ([b"a", "éé".encode()], {1: 6})


def test_each_batch_is_converted_by_itself() -> None:
    setup = Setup("latin-1", limit=4, oversize="drop")
    other = Origin("in", Transport.UDP, "192.0.2.2", 514)
    frames = ([b"\xe9"], [b"\xe9\xe9\xe9"], [b"a", b"\xe9\xe9\xe9", b"b"])
    origins = (ORIGIN, ORIGIN, other)
    setup.intake.accept_all([Received(*batch) for batch in zip(frames, origins, strict=True)])
    assert setup.queue.accepted == [(["é".encode()], {}, {}, None), ([b"a", b"b"], {}, {}, None)]
    assert setup.counters.dropped == {"too-long": 2}
