from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.model.counters import SourceCounters
from relay.model.errors import QueueError
from relay.queue.admission.backpressure import Admission
from relay.transport.files.reader import FileDelivery
from relay.transport.reception import Reception
from relay.wire.framing.lines import Lines
from tests.connections import RecordingNotices, fired


class Queue:
    def __init__(self) -> None:
        self.calls: list[tuple[list[bytes], Any, Any]] = []
        self.answer: Deferred[None] = succeed(None)

    def accept(
        self,
        frames: list[bytes],
        origin: Any,
        *,
        cut: Mapping[int, int] | None = None,
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]:
        self.calls.append((frames, cut, positions))
        return self.answer


class Setup:
    def __init__(self, *, drop_long: bool = False) -> None:
        self.queue: Any = Queue()
        self.counters = SourceCounters()
        self.notices: Any = RecordingNotices()
        admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        self.delivery = FileDelivery(
            Reception("app", self.queue, admission, self.counters, self.notices),
            new_frames=lambda lines, path, read_at: [path + b": " + line for line in lines],
            drop_long=drop_long,
            now=Clock().seconds,
        )


def test_lines_and_positions_go_together() -> None:
    setup = Setup()
    done = setup.delivery.hand_over("/\udcff", Lines([b"one"], {}), {"1-2": b"{}"})
    assert fired(done) == [None]
    assert setup.queue.calls == [([b"/\xff: one"], None, {"app/1-2": b"{}"})]


@pytest.mark.parametrize("drop_long", [False, True])
def test_what_is_too_long(drop_long: bool) -> None:
    setup = Setup(drop_long=drop_long)
    setup.delivery.hand_over("/a", Lines([b"one", b"two"], {0: 99}), {})
    ((frames, cut, _),) = setup.queue.calls
    if drop_long:
        assert (frames, cut) == ([b"/a: two"], None)
        assert setup.counters.dropped == {"too-long": 1}
        assert (setup.counters.received_records, setup.counters.received_bytes) == (1, 7)
    else:
        assert (frames, cut) == ([b"/a: one", b"/a: two"], {0: 99})
        assert setup.counters.truncated_records == 1
    what = "dropped" if drop_long else "cut there"
    assert setup.notices.said[0][2] == f"/a: 1 line longer than frame_bytes_max: {what}"


def test_positions_alone() -> None:
    setup = Setup()
    setup.delivery.store({})
    assert setup.queue.calls == []
    setup.queue.answer = fail(QueueError("the queue is closed"))
    setup.delivery.store({"1-2": b""})
    assert setup.queue.calls == [([], None, {"app/1-2": b""})]
    assert fired(setup.queue.answer) == [None]  # nobody has to know
