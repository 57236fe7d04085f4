from __future__ import annotations

from typing import Any

import pytest

from relay.observe.health import RecentLosses, degradations

SOURCE: dict[str, Any] = {"id": "in", "dropped_records": {}}
DESTINATION: dict[str, Any] = {
    "id": "out",
    "state": "connected to far:1",
    "ready": True,
    "stalled_seconds": None,
    "quarantined_records": 0,
    "dropped_records": {},
    "limit": None,
}
ADMISSION = {
    "open": True,
    "busy": False,
    "reason": "",
    "queue_bytes": 79,
    "queue_bytes_max": 100,
}
CERTIFICATE = {"subject": "source in", "expires_days": 14.1, "problem": "/a.pem expires"}
UNUSABLE = {"subject": "source in", "kind": "unusable", "problem": "no new key"}
REVOCATIONS = {"subject": "source in", "is_due": False, "problem": "/r.pem expires"}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "admission": ADMISSION,
        "sources": [SOURCE],
        "destinations": [DESTINATION],
        "recently": {"seconds": 900.0, "lost_records": {}},
        "certificates": [CERTIFICATE, REVOCATIONS],
        "tables": [],
        "orphans": [],
        "damaged_files": [],
        **changes,
    }


def test_nothing_is_wrong() -> None:
    assert degradations(document()) == []


def alert(rule: str, subject: str, severity: str = "error") -> dict[str, Any]:
    text = f"{rule} it is"
    return {"rule": rule, "subject": subject, "text": text, "severity": severity, "since": 1.0}


def test_alerts_are_as_bad_as_they_say() -> None:
    alerts = [alert("full", "queue"), alert("silent", "source in", "warning")]
    down = [{**DESTINATION, "ready": False, "state": "refused"}]
    assert degradations(document(alerts=alerts, destinations=down)) == [
        "queue: full it is (alert full)",
        "out: refused",
        "source in: silent it is (alert silent)",
    ]


def test_what_an_alert_tells_is_not_told_again() -> None:
    alerts = [
        alert("down", "destination out"),
        alert("drops", "source in"),
        alert("drops", "destination out"),
        alert("expiry", "source in, /a.pem", "warning"),
        alert("expiry", "source in, /r.pem", "warning"),
    ]
    lost = {id: {"not-stored": 1} for id in ("source/in", "out", "source/other", "other")}
    others = [{**DESTINATION, "id": "other", "ready": False, "state": "refused"}]
    certificate = {**CERTIFICATE, "certificate": "/a.pem", "expires_days": 1.0}
    found = degradations(
        document(
            alerts=alerts,
            destinations=[{**DESTINATION, "ready": False, "stalled_seconds": 9.0}, *others],
            recently={"seconds": 60.0, "lost_records": lost},
            certificates=[
                certificate,
                {**certificate, "subject": "source other"},
                {**REVOCATIONS, "crl": "/r.pem", "is_due": True},
            ],
        )
    )
    assert [each for each in found if "(alert" not in each] == [
        "source/other: lost 1 (not-stored) in the last 1 m",
        "other: lost 1 (not-stored) in the last 1 m",
        "other: refused",
        "source other: /a.pem expires",
    ]
    assert len([each for each in found if "(alert" in each]) == len(alerts)


def test_the_worst_comes_first() -> None:
    closed = {**ADMISSION, "open": False, "reason": "no space left"}
    found = degradations(
        document(
            admission=closed,
            damaged_files=["/q"],
            recently={"seconds": 60.0, "lost_records": {"in": {"not-stored": 1}}},
            destinations=[{**DESTINATION, "ready": False, "state": "refused"}],
            sources=[{**SOURCE, "ready": False, "state": "does not listen"}],
            certificates=[{**CERTIFICATE, "expires_days": 1.0}],
        )
    )
    begins = ["not accepting", "damaged", "in: lost", "out: refused", "in: does not", "source in"]
    assert len(found) == len(begins)
    assert all(text.startswith(begin) for text, begin in zip(found, begins, strict=True)), found


def destination(**changes: Any) -> dict[str, Any]:
    return {"destinations": [{**DESTINATION, **changes}]}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"admission": {**ADMISSION, "open": False, "reason": "the queue is full"}},
            "not accepting messages: the queue is full",
        ),
        ({"admission": {**ADMISSION, "queue_bytes": 80}}, "the queue is 80 % full"),
        (destination(ready=False, state="refused by far:1"), "out: refused by far:1"),
        (
            destination(stalled_seconds=130.0),
            "out: nothing acknowledged in 2 m 10 s of being connected",
        ),
        (destination(limit={"fill_percent": 80}), "out: its queue is 80 % full"),
        (destination(quarantined_records=1), "out: 1 record in quarantine"),
        (
            {"sources": [{**SOURCE, "ready": False, "state": "journalctl ended"}]},
            "in: journalctl ended",
        ),
        ({"sources": [{**SOURCE, "files_unreadable": 1}]}, "in: 1 file cannot be read"),
        (
            {"sources": [{**SOURCE, "files_refused": 2}]},
            "in: 2 files not read (files_max or descriptors)",
        ),
        (
            {"recently": {"seconds": 900.0, "lost_records": {"in": {"too-old": 1200}}}},
            "in: lost 1,200 (too-old) in the last 15 m",
        ),
        (
            {"certificates": [{**CERTIFICATE, "expires_days": 14.0}]},
            "source in: /a.pem expires",
        ),
        (
            {"certificates": [{**CERTIFICATE, "expires_days": -0.1}]},
            "source in: /a.pem expires",
        ),
        (
            {"certificates": [{**REVOCATIONS, "is_due": True}]},
            "source in: /r.pem expires",
        ),
        (
            {"tables": [{"path": "/m.csv", "problem": "line 1: expected a key and a value"}]},
            "table /m.csv: line 1: expected a key and a value",
        ),
        (
            {"certificates": [CERTIFICATE, UNUSABLE]},
            "source in: no new key",
        ),
        (
            {"web": {"ready": False, "state": "no certificate"}},
            "web server: no certificate",
        ),
        ({"orphans": ["old"]}, "old: has records but no destination"),
        ({"damaged_files": ["/q/damaged"]}, "damaged queue file /q/damaged"),
    ],
)
def test_each_thing_that_is_wrong_is_said(changes: dict[str, Any], text: str) -> None:
    assert degradations(document(**changes)) == [text]


@pytest.mark.parametrize(
    "changes",
    [
        {"admission": {**ADMISSION, "open": False, "busy": True, "reason": "a burst"}},
        {"admission": {**ADMISSION, "queue_bytes_max": 0}},
        destination(limit={"fill_percent": 79}),
        destination(limit={"fill_percent": None}),
        {"sources": [{**SOURCE, "quarantined_records": 5}]},
    ],
)
def test_what_is_as_it_was_wanted_is_no_degradation(changes: dict[str, Any]) -> None:
    assert degradations(document(**changes)) == []


def lost(losses: RecentLosses, at: float, **dropped: int) -> tuple[float, dict[str, Any]]:
    reasons = {reason.replace("_", "-"): count for reason, count in dropped.items()}
    found = losses.report([], [{"id": "a", "dropped_records": reasons}], at)
    return found["seconds"], found["lost_records"]


def test_losses_are_recent_for_a_quarter_of_an_hour() -> None:
    losses = RecentLosses()
    assert lost(losses, 0, queue_full=7) == (0, {})  # before this start
    assert lost(losses, 60, queue_full=9) == (60, {"a": {"queue-full": 2}})
    for minute in range(2, 16):
        assert lost(losses, 60.0 * minute, queue_full=9)[1] == {"a": {"queue-full": 2}}
    assert lost(losses, 960, queue_full=9) == (900, {})


def test_where_nobody_asks_for_long_all_of_that_time_counts() -> None:
    losses = RecentLosses()
    lost(losses, 0, too_old=0)
    assert lost(losses, 7200, too_old=3) == (7200, {"a": {"too-old": 3}})
    assert lost(losses, 7300, too_old=3) == (7300, {"a": {"too-old": 3}})
    assert lost(losses, 8200, too_old=3) == (900, {})


def test_who_asks_all_the_time_takes_no_memory() -> None:
    losses = RecentLosses()
    for second in range(5000):
        lost(losses, float(second), too_old=second)
    assert lost(losses, 5000.0, too_old=5000)[0] < 1000
    assert len(losses._kept) < 20


@pytest.mark.parametrize("reason", ["operator", "not-allowed", "rate-limit", "empty", "noise"])
def test_what_was_configured_or_is_up_to_peers_is_no_loss(reason: str) -> None:
    losses = RecentLosses()
    lost(losses, 0)
    assert lost(losses, 60, **{reason: 5}) == (60, {})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"quarantine": {"dropped_records": {"quarantine-full": 5}}}, "quarantine-full"),
        ({"dropped_records": {"queue-full-debug": 5}}, "queue-full-debug"),
        ({"missing_records": 5}, "missing"),
        ({"gaps": 5}, "gap-in-the-journal"),
    ],
)
def test_every_kind_of_loss(more: dict[str, Any], reason: str) -> None:
    losses = RecentLosses()
    losses.report([SOURCE], [DESTINATION], 0.0)
    found = losses.report([{**SOURCE, **more}], [{**DESTINATION, "id": "in"}], 60.0)
    assert found["lost_records"] == {"source/in": {reason: 5}}


def test_what_a_reload_could_not_use_degrades_and_a_key_that_waits_does_not() -> None:
    reload = {"at": 1.0, "restart": ["relay.name"], "failures": [], "refused": []}
    assert degradations(document(reload=reload)) == []
    found = degradations(document(reload={**reload, "failures": ["source in: x"]}))
    assert found == ["reload: source in: x"]
    refused = ["/f:1: wrong", "/f:2: too"]
    assert degradations(document(reload={**reload, "refused": refused})) == [
        "the configuration file was read again and refused: 2 problems: /f:1: wrong"
    ]
