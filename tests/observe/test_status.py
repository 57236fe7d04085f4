from __future__ import annotations

from typing import Any

import pytest

from relay.observe.status import Identity, Status, statistics_line
from relay.queue.admission.backpressure import Admission


class Reporter:
    def __init__(self, **report: Any) -> None:
        self.values = report

    def report(self) -> dict[str, Any]:
        return dict(self.values)


def source(**values: Any) -> Reporter:
    return Reporter(**{"id": "in", "received_records": 10, "dropped_records": {}, **values})


def destination(**values: Any) -> Reporter:
    defaults = {
        "id": "out",
        "received_records": 12,
        "delivered_records": 5,
        "queued_records": 7,
        "quarantined_records": 0,
        "dropped_records": {},
        "ready": True,
        "state": "connected",
    }
    return Reporter(**{**defaults, **values})


class Setup:
    def __init__(self) -> None:
        self.now = 1000.0
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=1000)
        self.source, self.destination = source(), destination()
        self.status = Status(
            Identity("web-1", "1.2", is_compiled=True, state_dir="/var/lib/x"),
            sources=[self.source],
            destinations=[self.destination],
            admission=self.admission,
            sections={
                "orphans": lambda: ["old"],
                "sources_gone": lambda: ["app"],
                "damaged_files": lambda: ["/q/data.mdb.damaged-1"],
                "tables": lambda: [{"path": "/m.csv", "problem": "has one column"}],
                "certificates": lambda: [
                    {"subject": "source in", "expires_days": 3.5, "problem": "/a.pem expires"}
                ],
            },
            elapsed=lambda: self.now,
            last_errors=lambda owner: [{"text": f"error of {owner}"}],
        )


def test_the_document_has_everything() -> None:
    setup = Setup()
    setup.now = 1060.0
    setup.admission.set_pending_bytes(101)
    setup.admission.set_queue_bytes(50)
    assert setup.status.document() == {
        "status_version": 1,
        "name": "web-1",
        "version": "1.2",
        "compiled": True,
        "state_dir": "/var/lib/x",
        "uptime_seconds": 60.0,
        "admission": {
            "open": False,
            "reason": "101 B wait for the disk",
            "busy": True,
            "since": None,
            "pending_bytes": 101,
            "queue_bytes": 50,
            "queue_bytes_max": 1000,
            "history_bytes": 0,
            "allocated_bytes": 0,
            "free_bytes": None,
            "seconds_to_full": None,
        },
        "sources": [{**setup.source.report(), "last_errors": [{"text": "error of source in"}]}],
        "destinations": [
            {**setup.destination.report(), "last_errors": [{"text": "error of destination out"}]}
        ],
        "orphans": ["old"],
        "sources_gone": ["app"],
        "damaged_files": ["/q/data.mdb.damaged-1"],
        "certificates": [
            {"subject": "source in", "expires_days": 3.5, "problem": "/a.pem expires"}
        ],
        "tables": [{"path": "/m.csv", "problem": "has one column"}],
        "expression_timeouts": {},
        "recently": {"seconds": 0.0, "lost_records": {}},
        "degraded": [
            "damaged queue file /q/data.mdb.damaged-1",
            "source in: /a.pem expires",
            "table /m.csv: has one column",
            "old: has records but no destination",
        ],
    }


def test_losses_are_recent_as_long_as_they_are() -> None:
    setup = Setup()
    setup.status.document()
    setup.source.values["dropped_records"] = {"kernel-buffer": 3}
    setup.now += 600
    assert (
        "source/in: lost 3 (kernel-buffer) in the last 10 m"
        in (setup.status.document()["degraded"])
    )
    setup.now += 900
    assert not [text for text in setup.status.document()["degraded"] if "lost" in text]


def test_a_quiet_minute_on_one_line() -> None:
    document = Setup().status.document()
    assert (
        statistics_line(document, document)
        == "statistics: in: received 0; out: delivered 0, queued 7"
    )


@pytest.mark.parametrize(
    ("percent", "text"), [(None, ""), (49, ""), (50, " (50 % full)"), (101, " (101 % full)")]
)
def test_a_queue_that_fills_up_shows(percent: int | None, text: str) -> None:
    setup = Setup()
    setup.destination.values["limit"] = {"fill_percent": percent}
    document = setup.status.document()
    assert statistics_line(document, document).endswith(f"queued 7{text}")


def test_a_stall_shows() -> None:
    setup = Setup()
    setup.destination.values["stalled_seconds"] = 130.4
    document = setup.status.document()
    assert statistics_line(document, document).endswith("queued 7 (nothing acknowledged for 130 s)")


def test_a_bad_minute_on_one_line() -> None:
    setup = Setup()
    before = setup.status.document()
    setup.source.values.update(received_records=15, dropped_records={"empty": 1, "not-stored": 2})
    setup.source.values.update(ready=False, state="it does not listen")
    setup.destination.values.update(
        delivered_records=8,
        queued_records=9,
        quarantined_records=1,
        dropped_records={"expired": 4},
        ready=False,
        state="refused by up:514, next try in 4 s",
    )
    setup.admission.set_pending_bytes(101)
    assert statistics_line(before, setup.status.document()) == (
        "statistics: admission closed: 101 B wait for the disk; in: received 5, dropped 3 "
        "(it does not listen); "
        "out: delivered 3, queued 9, set aside 1, dropped 4 (refused by up:514, next try in 4 s)"
    )


def test_what_cannot_be_stored_comes_first_in_words_and_with_its_beginning() -> None:
    setup = Setup()
    before = setup.status.document()
    setup.admission.set_failure("nothing can be stored: No space left on device", 1005.0)
    setup.admission.set_failure("nothing can be stored: Disk quota exceeded", 1007.0)
    after = setup.status.document()
    admission = after["admission"]
    assert (admission["open"], admission["since"]) == (False, 1005.0)
    assert admission["reason"] == "nothing can be stored: Disk quota exceeded"
    line = statistics_line(before, after)
    assert line.startswith("statistics: admission closed: nothing can be stored: Disk quota")
    setup.admission.clear_failure()
    admission = setup.status.document()["admission"]
    assert (admission["open"], admission["reason"], admission["since"]) == (True, "", None)
