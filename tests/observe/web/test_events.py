from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.observe.web.access import Denied
from relay.observe.web.events import READERS_MAX, EventStream
from relay.observe.web.server import Query


class FakeOutlet:
    def __init__(self) -> None:
        self.is_full = False
        self.on_gone: Any = None
        self.got: list[bytes] = []
        self.ended = self.aborted = False

    def write(self, data: bytes) -> None:
        assert not self.is_full
        self.got.append(data)

    def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True
        self.on_gone()


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.computed = 0
        self.stream = EventStream(self._event, self.clock)

    def _event(self) -> bytes:
        self.computed += 1
        return b"%d" % self.computed

    def open(self) -> Any:
        outlet: Any = FakeOutlet()
        self.stream.open(Query(), outlet)
        return outlet

    def pass_seconds(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)


def test_an_event_is_computed_once_for_all_readers() -> None:
    setup = Setup()
    first, second = setup.open(), setup.open()
    setup.clock.advance(0)
    setup.pass_seconds(2)
    assert setup.computed == 3
    assert first.got == second.got == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]


def test_nothing_is_computed_for_nobody() -> None:
    setup = Setup()
    reader = setup.open()
    setup.clock.advance(0)
    reader.on_gone()
    setup.pass_seconds(10)
    assert setup.computed == 1
    assert setup.clock.getDelayedCalls() == []
    assert len(setup.stream) == 0


def test_a_slow_reader_misses_events_and_gets_the_latest() -> None:
    setup = Setup()
    reader = setup.open()
    setup.clock.advance(0)
    reader.is_full = True
    setup.pass_seconds(10)
    reader.is_full = False
    setup.pass_seconds(1)
    assert reader.got == [b"data: 1\n\n", b"data: 12\n\n"]
    assert not reader.aborted


def test_a_stopped_reader_is_let_go_and_others_go_on() -> None:
    setup = Setup()
    stopped, other = setup.open(), setup.open()
    setup.clock.advance(0)
    stopped.is_full = True
    setup.pass_seconds(17)
    assert stopped.aborted
    assert len(other.got) == 18
    assert len(setup.stream) == 1


def test_the_number_of_readers_is_bounded() -> None:
    setup = Setup()
    readers = [setup.open() for _ in range(READERS_MAX)]
    with pytest.raises(Denied, match="pages are open"):
        setup.open()
    readers[0].on_gone()
    setup.open()


def test_after_an_hour_a_reader_has_to_ask_again() -> None:
    setup = Setup()
    reader = setup.open()
    setup.pass_seconds(3590)
    assert not reader.ended
    setup.pass_seconds(20)
    assert reader.ended
    assert len(setup.stream) == 0
