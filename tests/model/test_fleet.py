from __future__ import annotations

from relay.model.fleet import NAMES_MAX, REPORT_SECONDS, FleetTable


def states(table: FleetTable, now: float) -> list[str]:
    return [member["state"] for member in table.report(now)]


def test_a_relay_that_connects_and_reports_is_shown() -> None:
    table = FleetTable()
    table.seen("web-1", "web-1.example.com", "1.2", 100.0)
    (member,) = table.report(110.0)
    assert (member["queued_records"], member["oldest_seconds"]) == (None, None)
    table.reported("web-1", "web-1.example.com", 57, 64, 120.0)
    assert table.report(130.0) == [
        {
            "host": "web-1",
            "peer": "web-1.example.com",
            "version": "1.2",
            "queued_records": 57,
            "oldest_seconds": 64,
            "last_seen_seconds": 10.0,
            "state": "ok",
        }
    ]


def test_the_name_of_another_changes_nothing_of_it() -> None:
    table = FleetTable()
    table.seen("web-1", "192.0.2.1", "1", 0.0)
    table.reported("web-1", "192.0.2.1", 5, 5, 0.0)
    table.seen("web-1", "192.0.2.66", "1", 1.0)
    table.reported("web-1", "192.0.2.66", 0, None, 1.0)
    shown = {member["peer"]: member["queued_records"] for member in table.report(2.0)}
    assert shown == {"192.0.2.1": 5, "192.0.2.66": 0}


def test_a_silent_one_is_said_and_forgotten_after_a_week() -> None:
    table = FleetTable()
    table.seen("web-1", "192.0.2.1", "1", 0.0)
    assert states(table, 3 * REPORT_SECONDS) == ["ok"]
    assert states(table, 3 * REPORT_SECONDS + 1) == ["not seen for 3 m 1 s"]
    assert states(table, 7 * 86400.0 + 1) == []


def test_a_queue_grows_if_each_report_says_more() -> None:
    table = FleetTable()
    now = 0.0
    table.seen("web-1", "192.0.2.1", "1", now)
    for queued in (1, 2, 3):
        table.reported("web-1", "192.0.2.1", queued, 1, now := now + REPORT_SECONDS)
        assert states(table, now) == ["ok"]
    # Another connection of the same relay says the same: that is no report of its own.
    table.reported("web-1", "192.0.2.1", 3, 1, now + 1)
    assert states(table, now) == ["ok"]
    table.reported("web-1", "192.0.2.1", 4, 1, now := now + REPORT_SECONDS)
    assert states(table, now) == ["queue grows"]
    table.reported("web-1", "192.0.2.1", 4, 1, now := now + REPORT_SECONDS)
    assert states(table, now) == ["ok"]


def test_those_unseen_for_longest_leave_first() -> None:
    table = FleetTable(relays_max=3)
    for number in range(3):
        table.seen(f"web-{number}", f"192.0.2.{number}", "1", float(number))
    table.reported("web-0", "192.0.2.0", 1, 1, 5.0)
    table.seen("web-9", "192.0.2.9", "1", 6.0)
    assert [member["host"] for member in table.report(7.0)] == ["web-0", "web-2", "web-9"]


def test_a_peer_with_many_names_pushes_no_other_out() -> None:
    table = FleetTable()
    table.seen("web-1", "192.0.2.1", "1", 0.0)
    for number in range(3 * NAMES_MAX):
        table.seen(f"fake-{number}", "192.0.2.66", "1", 1.0)
    hosts = [member["host"] for member in table.report(2.0)]
    assert len(hosts) == NAMES_MAX + 1 and "web-1" in hosts
