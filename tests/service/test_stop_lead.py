from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.task import Clock

from relay.service.stop_lead import StopLead
from tests.connections import fired


class Lead:
    """A lead with its clock, and what it has told the service manager."""

    def __init__(self, seconds: float) -> None:
        self.clock = Clock()
        self.told: list[Mapping[str, str]] = []
        self.lead = StopLead(seconds=lambda: seconds, tell=self.told.append, clock=self.clock)


def test_it_lasts_as_long_as_configured() -> None:
    of = Lead(20)
    assert not of.lead.has_begun
    done = fired(of.lead.wait())
    assert of.lead.has_begun
    of.clock.advance(19.9)
    assert done == []
    of.clock.advance(0.1)
    assert done == [None]


def test_the_service_manager_learns_how_long_the_stop_takes() -> None:
    of = Lead(20)
    of.lead.wait()
    (told,) = of.told
    assert int(told["EXTEND_TIMEOUT_USEC"]) >= 25_000_000
    assert "sources still take messages" in told["STATUS"]


def test_without_it_a_stop_begins_at_once() -> None:
    of = Lead(0)
    assert (fired(of.lead.wait()), of.told, of.lead.has_begun) == ([None], [], True)


def test_it_can_be_cut() -> None:
    of = Lead(20)
    of.lead.cut()  # before it begins
    done = fired(of.lead.wait())
    of.lead.cut()
    of.clock.advance(0)
    assert done == [None]
    of.lead.cut()  # after its end
