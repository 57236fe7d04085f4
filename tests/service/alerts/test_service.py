from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from relay.model.counters.peers import PeerTable
from relay.model.origin import Origin, Transport
from relay.service.alerts.outlets import Outlet
from relay.service.alerts.service import AlertService, new_alerts
from relay.service.configuration.model import (
    AlertLimits,
    AlertsConfiguration,
    Configuration,
    Url,
)
from tests.connections import RecordingNotices
from tests.observe.alerts.test_rules import destination, document, source
from tests.service.alerts.test_webhook import Endpoint
from tests.threads import Reactor

LIMITS = AlertLimits(down_after=60.0, silent_after=120.0)
OFF = AlertLimits(0, 10.0, 0, 0, 0, 0, 0, False)
CERTIFICATE = {"subject": "web", "certificate": "/a", "expires_days": 3.0, "problem": "soon"}


class Setup:
    """Alerts on a status that the test writes."""

    def __init__(self, folder: Path, limits: AlertLimits = LIMITS) -> None:
        self.reactor = Reactor()
        self.notices: Any = RecordingNotices()
        self.status: dict[str, Any] = {}
        self.table = PeerTable()
        self.told: list[dict[str, Any]] = []
        self.hangs = False
        self.service = AlertService(
            relay_name="web-1",
            limits=limits,
            status=self._document,
            tables={"net": self.table},
            outlets=[Outlet("program x", self._tell, clock=self.reactor, warn=lambda text: None)],
            path=str(folder / "alerts.json"),
            notices=self.notices,
            now=lambda: 1e9 + self.reactor.seconds(),
            clock=self.reactor,
        )

    def _document(self) -> dict[str, Any]:
        return document(**{"uptime_seconds": self.reactor.seconds(), **self.status})

    def _tell(self, body: bytes) -> Deferred[None]:
        if self.hangs:
            return Deferred()
        self.told.append(json.loads(body))
        return succeed(None)

    def pass_(self, seconds: float) -> list[tuple[str, str]]:
        """What is told in that time: begin or end, and the rule."""
        known = len(self.told)
        for _ in range(int(seconds / 5)):
            self.reactor.advance(5)
            self.reactor.advance(0)
        return [(each["event"], each["rule"]) for each in self.told[known:]]

    def came(self, peer: str) -> None:
        counters = self.table.of(Origin("net", Transport.UDP, peer))
        counters.records += 10
        counters.last_seen = self.reactor.seconds()

    def be(self, **status: Any) -> None:
        self.status = status

    def be_down(self) -> None:
        self.be(destinations=[destination(ready=False, state="refused")])


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    made.service.startService()
    yield made
    made.service.stopService()
    assert made.reactor.getDelayedCalls() == []


def test_an_incident_is_logged_told_and_reported_once_and_so_is_its_end(
    setup: Setup, logged: list[str]
) -> None:
    setup.pass_(20)
    setup.be_down()
    assert setup.pass_(600) == [("begin", "down")]
    since = setup.told[0]["since"]
    assert setup.told[0] == {
        "version": 1,
        "relay": "web-1",
        "event": "begin",
        "rule": "down",
        "subject": "destination out",
        "text": "refused; 1,200 records queued",
        "severity": "error",
        "since": since,
    }
    running = {key: setup.told[0][key] for key in ("rule", "subject", "text", "severity", "since")}
    assert setup.service.report()["running"] == [running]
    assert logged == ["alert: destination out: refused; 1,200 records queued (down)"]
    setup.be()
    assert setup.pass_(120) == [("end", "down")]
    assert setup.told[1]["ended"] - since == setup.service.report()["ended"][0]["ended"] - since
    assert setup.service.report()["running"] == []
    assert logged[1].startswith("alert ends after 9 m 55 s: destination out: refused")
    assert setup.service.report()["outlets"][0]["told"] == 2


TROUBLES: dict[str, dict[str, Any]] = {
    "down": {"destinations": [destination(ready=False)]},
    "errors": {"sources": [source(11.0)]},
    "full": {"admission": {"seconds_to_full": 60.0}},
    "expiry": {"certificates": [CERTIFICATE]},
    "drops": {"sources": [source(dropped_records={"kernel-buffer": 5})]},
}


@pytest.mark.parametrize("rule", list(TROUBLES))
def test_each_rule_that_the_status_shows(rule: str, setup: Setup) -> None:
    assert setup.pass_(60) == []
    setup.be(**TROUBLES[rule])
    assert setup.pass_(90)[0] == ("begin", rule)
    setup.be()
    setup.pass_(120)
    assert [(each["event"], each["rule"]) for each in setup.told] == [
        ("begin", rule),
        ("end", rule),
    ]


LIMITED: dict[str, tuple[AlertLimits, dict[str, Any], int]] = {
    "errors": (AlertLimits(errors_per_second_max=2.0), {"sources": [source(3.0)]}, 60),
    "full": (AlertLimits(full_within=20.0), {"admission": {"seconds_to_full": 19.0}}, 60),
    "expiry": (AlertLimits(expires_within=2e6), {"certificates": [CERTIFICATE]}, 60),
    "down": (AlertLimits(down_after=20.0), {"destinations": [destination(ready=False)]}, 40),
}


@pytest.mark.parametrize("rule", list(LIMITED))
def test_limits_are_those_of_the_configuration(rule: str, tmp_path: Path) -> None:
    limits, trouble, seconds = LIMITED[rule]
    later = {**CERTIFICATE, "expires_days": 22.0}
    setup = Setup(tmp_path, limits)
    setup.service.startService()
    setup.pass_(60)
    setup.be(**({"certificates": [later]} if rule == "expiry" else trouble))
    assert setup.pass_(seconds) == [("begin", rule)]
    setup.service.stopService()


@pytest.mark.parametrize(("rate", "begins"), [(20.0, False), (26.0, True)])
def test_the_limits_of_an_increase_are_those_of_the_configuration(
    rate: float, begins: bool, tmp_path: Path
) -> None:
    """Usual are 9 messages a second: twice as many are too many, but not below 25."""
    limits = AlertLimits(increase=2.0, increase_per_second_min=25.0)
    setup = Setup(tmp_path, limits)
    setup.service.startService()
    setup.pass_(70 * 60)
    much = source()
    much["rates"]["60s"]["messages"] = rate
    setup.be(sources=[much])
    assert setup.pass_(10) == ([("begin", "increase")] if begins else [])
    setup.service.stopService()


def test_the_parts_are_those_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.service.alerts.webhook.HostnameEndpoint", Endpoint)
    url = Url("http", host="127.0.0.1", port=8080, path="/secret")
    alerts = AlertsConfiguration(
        LIMITS,
        *(url, "/token", 7.0),
        *(("/bin/true", "-x"), 9.0),
    )
    configuration = Configuration(name="web-1", state_dir=str(tmp_path), alerts=alerts)
    reactor, notices = Reactor(), RecordingNotices()
    given: Any = (configuration, dict, [], None, notices, reactor.seconds, reactor)
    made = new_alerts(*given)
    assert made is not None
    assert (made.relay_name, made.limits, made.path) == (
        "web-1",
        LIMITS,
        str(tmp_path / "alerts.json"),
    )
    webhook, program = made.outlets
    assert (webhook.name, program.name) == ("webhook 127.0.0.1:8080", "program /bin/true")
    assert Endpoint.made[-1].place == (8080, 7.0)
    runs: Any = program._send
    assert (runs._command, runs._seconds_max) == (("/bin/true", "-x"), 9.0)
    none = Configuration(name="web-1", state_dir=str(tmp_path))
    assert new_alerts(none, *given[1:]) is None


def test_a_rule_of_watch_a_silent_device_and_an_increase(setup: Setup) -> None:
    setup.came("192.0.2.1")
    assert setup.pass_(180) == [("begin", "silent")]
    setup.came("192.0.2.1")
    assert setup.pass_(100) == [("end", "silent")]
    rules = [{"id": "logins", "per_second_max": 2.0, "60s": 2.5}]
    setup.be(watch={"rules": rules})
    assert ("begin", "watch") in setup.pass_(10)
    setup.be()
    setup.pass_(70 * 60)
    much = source()
    much["rates"]["60s"]["messages"] = 500.0
    setup.be(sources=[much])
    assert setup.pass_(10) == [("begin", "increase")]


def test_each_of_them_can_be_switched_off(tmp_path: Path) -> None:
    setup = Setup(tmp_path, OFF)
    setup.service.startService()
    setup.came("192.0.2.1")
    setup.pass_(70 * 60)
    for trouble in TROUBLES.values():
        setup.be(**trouble)
        assert setup.pass_(600) == []
    assert setup.service.report()["running"] == []
    setup.service.stopService()


def test_a_restart_is_neither_an_end_nor_a_beginning(tmp_path: Path) -> None:
    before = Setup(tmp_path)
    before.service.startService()
    before.be_down()
    before.came("192.0.2.1")
    assert before.pass_(100) == [("begin", "down")]
    before.service.stopService()
    after = Setup(tmp_path)
    after.be_down()
    after.service.startService()
    (alert,) = after.service.report()["running"]
    assert (alert["rule"], alert["since"]) == ("down", before.told[0]["since"])
    assert after.pass_(50) == [("begin", "silent")]  # the device that was there before
    after.be()
    assert ("end", "down") in after.pass_(120)
    after.service.stopService()


def test_what_was_not_told_is_told_after_the_restart(tmp_path: Path) -> None:
    before = Setup(tmp_path)
    before.hangs = True
    before.service.startService()
    before.be(**TROUBLES["full"])
    before.pass_(40)
    before.service.stopService()
    after = Setup(tmp_path)
    after.be(**TROUBLES["full"])
    after.service.startService()
    assert [(each["event"], each["rule"]) for each in after.told] == [("begin", "full")]
    assert after.pass_(100) == []
    after.service.stopService()


def test_what_is_usual_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    before = Setup(tmp_path)
    before.service.startService()
    before.pass_(70 * 60)
    after = Setup(tmp_path)  # the first one was not stopped
    after.service.startService()
    found = after.service._increase.baselines["net"].every
    assert found.samples > 60 and found.mean == pytest.approx(9.0)
    after.service.stopService()


def test_a_damaged_file_is_reported_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    path.write_text('{"version": 1, "baselines": {')
    setup = Setup(tmp_path)
    setup.service.startService()
    ((_, kind, text),) = setup.notices.said
    assert kind == "memory"
    assert text.startswith(f"{path} is damaged: ") and text.endswith("is learnt anew")
    setup.service.stopService()
    assert json.loads(path.read_text())["version"] == 1


def test_a_file_that_cannot_be_written_is_warned_of(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "nothing")
    setup.service.startService()
    setup.service.stopService()
    ((_, _, text),) = setup.notices.said
    assert "cannot write" in text and "No such file or directory" in text


def test_too_many_silent_devices_are_counted_and_warned_of(setup: Setup) -> None:
    for number in range(300):
        setup.came(f"10.0.{number // 100}.{number % 100}")
    assert setup.pass_(150) == [("begin", "silent")] * 50
    assert setup.service.report()["left_out"] == {"silent": 250}
    assert any("250 more alerts of silent are not told" in each[2] for each in setup.notices.said)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=80), st.integers(0, 2000)), max_size=8))
def test_whatever_peers_send_alerts_and_the_file_stay_small(
    tmp_path_factory: pytest.TempPathFactory, peers: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("bounded")
    setup = Setup(folder)
    setup.service.startService()
    for peer, seconds in peers:
        for number in range(70):
            setup.came(f"{peer}{number}")
        setup.reactor.advance(seconds)
    setup.pass_(300)
    report = setup.service.report()
    assert len(report["running"]) <= 50 and len(report["ended"]) <= 100
    assert len([each for each in setup.told if each["event"] == "begin"]) <= 60 * 5
    assert all(each["subject"].isprintable() for each in setup.told)
    setup.service.stopService()
    assert (folder / "alerts.json").stat().st_size < 2**20


def test_what_waits_for_a_receiver_that_is_gone_is_warned_of(tmp_path: Path) -> None:
    waiting = {"program \x1by": [{"rule": "down"}] * 2, "program x": [{"rule": "full"}]}
    (tmp_path / "alerts.json").write_text(json.dumps({"version": 1, "waiting": waiting}))
    setup = Setup(tmp_path)
    setup.service.startService()
    ((_, _, text),) = setup.notices.said
    assert text == "program \\x1by is not configured any more; 2 alerts for it are dropped"
    assert setup.told == [{"rule": "full"}]
    setup.service.stopService()
