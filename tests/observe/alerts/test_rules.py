from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from relay.observe.alerts.incidents import Finding
from relay.observe.alerts.rules import Drops, ErrorRate, Expiry, QueueFull, down, watch_rate

DAY = 86400.0


def source(errors: float = 0.0, **values: Any) -> dict[str, Any]:
    rates = {"60s": {"messages": 9.0, "warnings": 0.0, "errors": errors, "drops": 0.0}}
    return {"id": "net", "listen": "udp://:514", "rates": rates, "dropped_records": {}, **values}


def destination(**values: Any) -> dict[str, Any]:
    return {
        "id": "out",
        "ready": True,
        "paused": False,
        "state": "connected",
        "stalled_seconds": None,
        "queued_records": 1200,
        "dropped_records": {},
        "limit": None,
        **values,
    }


def document(**values: Any) -> dict[str, Any]:
    admission = {"open": True, "busy": False, "reason": "", "seconds_to_full": None}
    return {
        "uptime_seconds": 60.0,
        "admission": {**admission, **values.pop("admission", {})},
        "sources": [source()],
        "destinations": [destination()],
        "certificates": [],
        "watch": {"rules": []},
        **values,
    }


def test_a_quiet_relay_has_no_findings() -> None:
    for rule in (ErrorRate(10.0), QueueFull(3600.0), Expiry(DAY), Drops(), down, watch_rate):
        assert [*rule(document()), *rule(document())] == []


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (10.1, Finding("errors", "source net", "10.1 errors a second, more than 10", "error")),
        (10.0, Finding("errors", "source net", "10.0 errors a second", "error", begins=False)),
        (7.1, Finding("errors", "source net", "7.1 errors a second", "error", begins=False)),
        (7.0, None),
    ],
)
def test_errors_of_a_source(rate: float, expected: Finding | None) -> None:
    found = [*ErrorRate(10.0)(document(sources=[source(rate)]))]
    assert found == ([expected] if expected else [])


def test_rates_over_less_than_a_minute_and_those_of_the_own_log_say_nothing() -> None:
    rule = ErrorRate(10.0)
    assert [*rule(document(sources=[source(100.0)], uptime_seconds=59.0))] == []
    assert [*rule(document(sources=[source(100.0, listen="internal://")]))] == []
    rules = [{"id": "a", "per_second_max": 1.0, "60s": 5.0}]
    assert [*watch_rate(document(watch={"rules": rules}, uptime_seconds=59.0))] == []


def test_a_rule_of_watch_that_decides_too_much() -> None:
    rules = [
        {"id": "logins", "per_second_max": 2.0, "60s": 2.5},
        {"id": "free", "per_second_max": 0.0, "60s": 2.5},
        {"id": "calm", "per_second_max": 2.0, "60s": 1.0},
    ]
    (found,) = watch_rate(document(watch={"rules": rules}))
    text = "2.5 messages a second, more than 2"
    assert found == Finding("watch", "rule logins", text, "error")


@pytest.mark.parametrize(
    ("limit", "text", "begins"),
    [
        ({"fill_percent": 40, "seconds_to_full": 3599.0}, "its queue will be full in 59 m 59 s", 1),
        ({"fill_percent": None, "seconds_to_full": 7199.0}, "its queue will be full in 1 h 59", 0),
        ({"fill_percent": 40, "seconds_to_full": 7200.0}, "", 0),
        ({"fill_percent": 101, "seconds_to_full": None}, "101 % full", 1),
        ({"fill_percent": 99, "seconds_to_full": None}, "", 0),
    ],
)
def test_a_queue_that_will_be_full(limit: dict[str, Any], text: str, begins: int) -> None:
    found = [*QueueFull(3600.0)(document(destinations=[destination(limit=limit)]))]
    assert bool(found) is bool(text)
    for each in found:
        assert (each.rule, each.subject) == ("full", "destination out")
        assert each.text.startswith(text) and each.begins is bool(begins)


def test_the_queue_of_the_relay_that_will_be_full_or_is() -> None:
    rule = QueueFull(3600.0)
    (found,) = rule(document(admission={"seconds_to_full": 60.0}))
    assert found == Finding("full", "queue", "it will be full in 1 m", "error")
    (found,) = rule(document(admission={"open": False, "reason": "the queue is full"}))
    assert found == Finding("full", "queue", "not accepting messages: the queue is full", "error")
    assert [*rule(document(admission={"open": False, "busy": True, "reason": "busy"}))] == []


def test_certificates_and_revocation_lists_that_expire() -> None:
    reports: list[Mapping[str, Any]] = [
        {"subject": "source a", "certificate": "/a", "expires_days": 13.9, "problem": "soon"},
        {"subject": "source b", "certificate": "/b", "expires_days": 14.1, "problem": "later"},
        {"subject": "source c", "certificate": "/c", "expires_days": 0.5, "problem": "now"},
        {"subject": "source d", "crl": "/d", "days_left": 0.1, "is_due": True, "problem": "crl"},
        {"subject": "source e", "crl": "/e", "days_left": 5, "is_due": False, "problem": "no"},
        {"subject": "source f", "kind": "unusable", "problem": "unusable"},
    ]
    assert [*Expiry(14 * DAY)(document(certificates=reports))] == [
        Finding("expiry", "source a, /a", "soon", "warning"),
        Finding("expiry", "source c, /c", "now", "error"),
        Finding("expiry", "source d, /d", "crl", "warning"),
    ]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, ""),
        ({"ready": False, "state": "refused by up:1"}, "refused by up:1; 1,200 records queued"),
        ({"ready": False, "paused": True, "state": "paused"}, ""),
        (
            {"stalled_seconds": 90.0},
            "nothing acknowledged in 1 m 30 s of being connected; 1,200 records queued",
        ),
    ],
)
def test_a_destination_that_is_down(values: dict[str, Any], text: str) -> None:
    found = [*down(document(destinations=[destination(**values)]))]
    assert found == ([Finding("down", "destination out", text, "error")] if text else [])


class Losing:
    """A rule and what is lost, every 5 s."""

    def __init__(self) -> None:
        self.rule = Drops()
        self.now = 0.0
        self.at_source: dict[str, Any] = {"dropped_records": {"kernel-buffer": 7}}
        self.at_destination: dict[str, Any] = {"dropped_records": {"queue-full": 9}}

    def look(self, seconds: float = 5.0) -> list[str]:
        self.now += seconds
        sources, destinations = [source(**self.at_source)], [destination(**self.at_destination)]
        status = document(sources=sources, destinations=destinations, uptime_seconds=self.now)
        found = [*self.rule(status)]
        assert all(each.rule == "drops" and each.severity == "error" for each in found)
        return [f"{each.subject}: {each.text}" for each in found]


def test_losses_of_an_earlier_process_are_no_news_and_later_ones_are() -> None:
    losing = Losing()
    assert losing.look() == losing.look() == []
    losing.at_source = {"dropped_records": {"kernel-buffer": 8}}
    losing.at_destination = {"dropped_records": {"queue-full": 9, "queue-full-debug": 2000}}
    assert losing.look() == [
        "source net: lost 1 message: 1 (kernel-buffer)",
        "destination out: lost 2,000 messages: 2,000 (queue-full-debug)",
    ]
    assert losing.look() == []
    losing.at_source = {"dropped_records": {"kernel-buffer": 9, "no-destination": 5}}
    assert losing.look(50) == ["source net: lost 7 messages: 2 (kernel-buffer), 5 (no-destination)"]
    losing.look(60)
    losing.at_source = {"dropped_records": {"kernel-buffer": 10, "no-destination": 5}}
    assert losing.look() == ["source net: lost 1 message: 1 (kernel-buffer)"]


@pytest.mark.parametrize(
    ("at_source", "at_destination"),
    [
        ({"empty": 5, "not-allowed": 5}, {}),
        ({}, {"sampled": 5, "my own reason": 5, "operator": 5, "grouped": 1, "rate-limit": 7}),
    ],
)
def test_what_somebody_asked_for_is_no_loss(
    at_source: dict[str, int], at_destination: dict[str, int]
) -> None:
    losing = Losing()
    losing.look()
    losing.at_source["dropped_records"] = {"kernel-buffer": 7, **at_source}
    losing.at_destination["dropped_records"] = {"queue-full": 9, **at_destination}
    assert losing.look() == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"missing_records": 3}, "missing"),
        ({"gaps": 3}, "gap-in-the-journal"),
        ({"quarantine": {"dropped_records": {"quarantine-full": 3}}}, "quarantine-full"),
        ({"dropped_records": {"kernel-buffer": 7, "rate-limit": 3}}, "rate-limit"),
    ],
)
def test_other_losses_of_a_source(values: dict[str, Any], reason: str) -> None:
    losing = Losing()
    losing.look()
    losing.at_source |= values
    assert losing.look() == [f"source net: lost 3 messages: 3 ({reason})"]


@pytest.mark.parametrize(
    "reason", ["too-old", "not-stored", "too-long", "type-cast", "quarantine-full"]
)
def test_other_losses_of_a_destination(reason: str) -> None:
    losing = Losing()
    losing.look()
    losing.at_destination["dropped_records"] = {"queue-full": 9, reason: 4}
    assert losing.look() == [f"destination out: lost 4 messages: 4 ({reason})"]
