from __future__ import annotations

import json

from relay.model.counters.peers import PeerTable
from relay.model.origin import Origin, Transport
from relay.observe.web.live import LiveView, Senders


class Tables:
    """One source with peers, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.table = PeerTable()
        self.senders = Senders({"in": self.table}, lambda: self.now)

    def send(self, peer: str, records: int) -> None:
        counters = self.table.of(Origin("in", Transport.UDP, peer))
        counters.records += records
        counters.last_seen = self.now

    def top(self) -> list[tuple[str, float]]:
        return [(each["peer"], each["per_second"]) for each in self.senders.report()["top"]]


def test_who_sends_most_now_comes_first() -> None:
    tables = Tables()
    tables.send("10.0.0.1", 1000)
    tables.send("10.0.0.2", 10)
    assert tables.top() == [("10.0.0.1", 0.0), ("10.0.0.2", 0.0)]
    tables.now += 10
    tables.send("10.0.0.2", 50)
    assert tables.top() == [("10.0.0.2", 5.0), ("10.0.0.1", 0.0)]
    tables.now += 1  # not looked at again so soon
    tables.send("10.0.0.1", 9000)
    assert tables.top()[0] == ("10.0.0.2", 5.0)


def test_after_a_long_time_there_is_no_rate() -> None:
    tables = Tables()
    tables.send("10.0.0.1", 1000)
    tables.top()
    tables.now += 3600
    tables.send("10.0.0.1", 36000)
    assert tables.top() == [("10.0.0.1", 0.0)]


def test_silent_peers_are_those_of_more_than_five_minutes() -> None:
    tables = Tables()
    tables.send("10.0.0.1", 5)
    tables.send("10.0.0.2", 500)
    tables.now += 290
    tables.send("10.0.0.3", 1)
    assert tables.senders.report()["silent"] == []
    tables.now += 10
    found = [(each["peer"], each["idle_seconds"]) for each in tables.senders.report()["silent"]]
    assert found == [("10.0.0.2", 300.0), ("10.0.0.1", 300.0)]


def test_at_most_ten_of_each_are_shown() -> None:
    tables = Tables()
    for number in range(50):
        tables.send(f"10.0.0.{number}", number)
    tables.now += 400
    report = tables.senders.report()
    assert (len(report["top"]), len(report["silent"]), report["count"]) == (10, 10, 50)


def test_an_event_is_one_line_with_what_the_page_shows() -> None:
    status = {
        "name": "web-1",
        "degraded": [],
        "secret": "not shown",
        "alerts": [{"rule": "x"}],
        "alerts_ended": [{"rule": str(number)} for number in range(100)],
        "sources": [{"id": "in", "latencies": {}, "received_records": 3}],
        "destinations": [{"id": "out", "state": "a\nb", "latencies": {}}],
    }
    view = LiveView(
        lambda: status,
        lambda: {"messages": 3},
        Senders({}, lambda: 0.0),
        {"out": ["in"]},
        now=lambda: 12.5,
        has_actions=True,
    )
    event = view.event()
    assert b"\n" not in event
    found = json.loads(event)
    assert found["destinations"] == [{"id": "out", "state": "a\nb", "sources": ["in"]}]
    assert found["sources"] == [{"id": "in", "received_records": 3}]
    assert (found["at"], found["actions"], found["totals"]) == (12.5, True, {"messages": 3})
    assert found["alerts"] == [{"rule": "x"}]
    assert len(found["alerts_ended"]) == 20
    assert (found["fleet"], found["fleet_count"]) == ([], 0)
    assert "secret" not in found


def test_of_a_large_fleet_those_that_are_not_well_are_shown() -> None:
    fleet = [{"host": f"h{number}", "state": "ok"} for number in range(1000)]
    fleet[777]["state"] = "queue grows"
    status = {"sources": [], "destinations": [], "fleet": fleet}
    view = LiveView(
        lambda: status, dict, Senders({}, lambda: 0.0), {}, now=lambda: 0.0, has_actions=False
    )
    document = view.document()
    assert (len(document["fleet"]), document["fleet_count"]) == (100, 1000)
    assert document["fleet"][0]["host"] == "h777"
