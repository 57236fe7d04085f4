from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from relay.model.expression import TIMEOUTS
from relay.service.routes.expression_watch import ExpressionWatch


class Notices:
    def __init__(self) -> None:
        self.warned: list[tuple[str, str]] = []

    def warn(self, subject: str, kind: str, text: str) -> None:
        self.warned.append((subject, text))


@pytest.fixture(autouse=True)
def counted_anew() -> Iterator[None]:
    TIMEOUTS.clear()
    yield
    TIMEOUTS.clear()


def test_an_expression_that_reached_its_limit_is_warned_of_with_the_number() -> None:
    clock, notices = Clock(), Notices()
    watch = ExpressionWatch(notices=notices, clock=clock)  # type: ignore[arg-type]
    watch.startService()
    TIMEOUTS["(?=a)(a|aa)+$"] = 3
    clock.advance(10)
    clock.advance(10)
    ((subject, text),) = notices.warned
    assert subject == "expression '(?=a)(a|aa)+$'"
    assert "longer than 50 ms for 3 values" in text
    TIMEOUTS["(?=a)(a|aa)+$"] = 4
    clock.advance(10)
    assert "for 1 value, and" in notices.warned[1][1]
    watch.stopService()
    assert clock.getDelayedCalls() == []
