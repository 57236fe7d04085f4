from __future__ import annotations

from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from relay.service.refusal import StartRefused
from relay.service.sequence import ConcurrentService, SequentialService
from tests.connections import fired


class Child(Service):
    """Writes down what happens to it, and stops when told."""

    def __init__(self, label: str, events: list[str], *, slow: bool = False) -> None:
        self.label = label
        self.events = events
        self.stopping: Deferred[None] | None = Deferred() if slow else None
        self.error: BaseException | None = None

    def startService(self) -> None:
        if self.error is not None:
            raise self.error
        super().startService()
        self.events.append(f"start {self.label}")

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        self.events.append(f"stop {self.label}")
        if self.error is not None:
            raise self.error
        return self.stopping


@pytest.fixture
def events() -> list[str]:
    return []


def test_children_start_in_order_and_stop_one_after_the_other(events: list[str]) -> None:
    children = [Child(label, events, slow=True) for label in ("a", "b", "c")]
    tree: Any = SequentialService(children)
    tree.startService()
    assert tree.running
    assert events == ["start a", "start b", "start c"]
    events.clear()
    stopped = fired(tree.stopService())
    for child in reversed(children):
        assert events[-1] == f"stop {child.label}"
        assert stopped == []
        assert child.stopping is not None
        child.stopping.callback(None)
    assert events == ["stop c", "stop b", "stop a"]
    assert (stopped, tree.running) == ([None], False)


def test_concurrent_children_stop_at_once_and_are_all_waited_for(events: list[str]) -> None:
    children = [Child(label, events, slow=True) for label in ("a", "b")]
    tree: Any = ConcurrentService(children)
    tree.startService()
    events.clear()
    stopped = fired(tree.stopService())
    assert events == ["stop b", "stop a"]
    for child in children:
        assert stopped == []
        assert child.stopping is not None
        child.stopping.callback(None)
    assert (stopped, tree.running) == ([None], False)


@pytest.mark.parametrize("kind", [SequentialService, ConcurrentService])
def test_one_that_fails_to_stop_does_not_keep_the_others(kind: Any, events: list[str]) -> None:
    children = [Child(label, events) for label in ("a", "b", "c")]
    tree = kind(children)
    tree.startService()
    children[1].error = ZeroDivisionError()
    events.clear()
    assert fired(tree.stopService()) == [None]
    assert events == ["stop c", "stop b", "stop a"]


@pytest.mark.parametrize("kind", [SequentialService, ConcurrentService])
def test_a_refused_start_stops_what_has_started(kind: Any, events: list[str]) -> None:
    children = [Child(label, events, slow=True) for label in ("a", "b", "c", "d")]
    tree = kind([kind(children[:2]), *children[2:]])
    children[2].error = StartRefused("no")
    with pytest.raises(StartRefused):
        tree.startService()
    assert events[:2] == ["start a", "start b"]
    assert events[2] == "stop b"  # its parent waits, where it is sequential, or goes on
    assert "stop c" not in events
    assert "start d" not in events


def test_an_empty_tree(events: list[str]) -> None:
    for tree in (SequentialService(), ConcurrentService()):
        tree.startService()
        assert fired(tree.stopService()) == [None]
