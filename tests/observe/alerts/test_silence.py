from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.peers import PEERS_MAX, PeerTable
from relay.model.origin import Origin, Transport
from relay.observe.alerts.silence import EARLIER_MAX, FORGOTTEN_SECONDS, Silence

HOUR = 3600.0


class Setup:
    def __init__(self, after_seconds: float = HOUR) -> None:
        self.table = PeerTable()
        self.silence = Silence(after_seconds, {"net": self.table})

    def came(self, peer: str, now: float, records: int = 10) -> None:
        counters = self.table.of(Origin("net", Transport.UDP, peer))
        counters.records += records
        counters.last_seen = now

    def found(self, now: float) -> dict[str, str]:
        return {finding.subject: finding.text for finding in self.silence.look(now)}


def test_a_device_is_silent_once_nothing_came_for_so_long() -> None:
    setup = Setup()
    setup.came("192.0.2.1", 100.0)
    setup.came("192.0.2.2", 100.0)
    assert setup.found(100.0 + HOUR - 31) == {}
    setup.came("192.0.2.2", 2000.0)
    (finding,) = setup.silence.look(200.0 + HOUR)
    assert finding.rule == "silent" and finding.severity == "warning" and finding.begins
    assert finding.subject == "source net, 192.0.2.1"
    assert finding.text == "nothing has come for 1 h 1 m"


def test_it_is_silent_no_more_once_it_sends() -> None:
    setup = Setup()
    setup.came("192.0.2.1", 0.0)
    assert len(setup.found(2 * HOUR)) == 1
    setup.came("192.0.2.1", 2 * HOUR, records=1)
    assert len(setup.found(2 * HOUR + 1)) == 1  # as it was half a minute ago
    assert setup.found(2 * HOUR + 31) == {}


def test_local_senders_are_their_source() -> None:
    setup = Setup()
    setup.came("", 0.0)
    assert list(setup.found(2 * HOUR)) == ["source net"]


def test_who_has_hardly_sent_anything_is_nobody_s_device() -> None:
    setup = Setup()
    setup.came("192.0.2.1", 0.0, records=9)
    assert setup.found(2 * HOUR) == {}


def test_after_a_week_a_device_is_gone_for_good() -> None:
    setup = Setup()
    setup.came("192.0.2.1", 0.0)
    assert len(setup.found(HOUR + FORGOTTEN_SECONDS - 60)) == 1
    assert setup.found(HOUR + FORGOTTEN_SECONDS + 60) == {}


def test_a_device_that_dies_during_a_restart_is_missed() -> None:
    before = Setup()
    before.came("192.0.2.1", 1000.0)
    before.came("192.0.2.2", 1000.0)
    after = Setup()
    after.silence.restore(before.silence.idle(1000.0 + HOUR / 2), 50.0)
    assert after.found(50.0) == {}
    after.came("192.0.2.2", 60.0, records=1)  # one of those that were known
    assert after.found(50.0 + HOUR / 2) == {"source net, 192.0.2.1": "nothing has come for 1 h"}
    assert len(after.found(70.0 + HOUR)) == 2


def test_while_the_relay_did_not_run_nobody_was_silent() -> None:
    before = Setup()
    before.came("192.0.2.1", 1000.0)
    after = Setup()
    after.silence.restore(before.silence.idle(1001.0), 9e9)
    assert after.found(9e9) == {}


def test_senders_of_a_source_that_is_gone_are_forgotten_and_nonsense_is() -> None:
    setup = Setup()
    long = "x" * 1000
    setup.silence.restore([("old", "192.0.2.1", 5.0), ("net", long, 5.0), ("net", "y", -1.0)], 0.0)
    assert setup.silence.idle(10.0) == []


def test_what_is_remembered_is_bounded_and_the_latest() -> None:
    setup = Setup()
    for number in range(5000):
        setup.came(f"10.1.{number // 250}.{number % 250}", float(number), records=10 + number)
    assert len(setup.table) <= 2 * PEERS_MAX
    many = [("net", str(number), float(number)) for number in range(9000)]
    setup.silence.restore(many, 9000.0)
    idle = setup.silence.idle(9000.0)
    assert len(idle) == EARLIER_MAX
    assert idle == sorted(idle, key=lambda each: each[2])


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 5000)), max_size=60))
def test_whoever_has_sent_within_the_time_is_not_silent(steps: list[tuple[int, float]]) -> None:
    setup, now, last = Setup(after_seconds=40.0), 0.0, dict[str, float]()
    for peer, seconds in steps:
        now += seconds
        setup.came(str(peer), now)
        last[str(peer)] = now
        for name in setup.found(now):
            assert now - last[name.rpartition(" ")[2]] >= 40.0 - 10.0 or seconds < 10.0
