"""An upstream that refuses whatever it gets is down: nothing is put aside, all of it arrives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import numbered, numbers
from tests.end_to_end.picky import PickyUpstream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2, "refusals_max": 2}
WORDS = b"500 \x1b[2Jindex is\x07 read-only\r\xe2\x80\xae"
SHOWN = r"500 \x1b[2Jindex is\x07 read-only\r\u202e"


class ReadOnly(PickyUpstream):
    """Refuses every message while it `is_down`, and poison always."""

    def __init__(self, port: int, poison: bytes = b"\0never") -> None:
        super().__init__(port, poison)
        self.is_down = True
        self.refused = 0

    def _response(self, txnr: bytes, command: bytes, data: bytes) -> bytes:
        if command != b"syslog" or not self.is_down:
            return super()._response(txnr, command, data)
        self.refused += 1
        return b"%s rsp %d %s\n" % (txnr, len(WORDS), WORDS)


class Site:
    def __init__(self, programs: Programs, folder: Path, **keys: Any) -> None:
        self.port, self.upstream, self.arrived = free_port(), free_port(), folder / "received.log"
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={
                "central": {"connect": f"relp://127.0.0.1:{self.upstream}", **RETRY, **keys},
                "file": {"connect": f"file://{self.arrived}"},
            },
            relay={"statistics_seconds": 1},
        )

    def feed(self, messages: list[bytes]) -> None:
        with RelpSender(self.port) as sender:
            sender.send(messages)
            sender.close()

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = ask(str(self.relay.state_dir), "status")["destinations"][0]
        return report

    def said(self, *arguments: str) -> str:
        program = str(Path(sys.executable).with_name("syslogrelay"))
        command = [program, *arguments, "--state-dir", str(self.relay.state_dir)]
        return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()

    def is_held(self) -> bool:
        return self.report()["refuses_everything"] is not None


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, id="in order"),
        pytest.param({"window_records": 1}, id="one at a time"),
        pytest.param({"order": "live-first", "backlog_share": 25}, id="live first"),
    ],
)
def test_what_an_upstream_refuses_while_it_is_down_arrives_when_it_is_up(
    programs: Programs, tmp_path: Path, keys: dict[str, Any]
) -> None:
    site = Site(programs, tmp_path, **keys)
    messages = numbered("app", 600)
    with ReadOnly(site.upstream) as upstream:
        site.feed(messages[:300])
        wait_until(site.is_held, "the upstream to be held", 60)
        before = upstream.refused
        wait_until(lambda: upstream.refused > before + 2, "more tries")
        site.feed(messages[300:])
        report = site.report()
        assert (report["queued_records"], report["quarantined_records"]) == (600, 0)
        assert not report["ready"]
        assert report["state"].startswith("refuses everything since 20")
        assert f" UTC: {SHOWN}; the queue is kept" in report["state"]
        assert f"UTC: {SHOWN};" in site.said("status")
        assert f"UTC: {SHOWN};" in site.said("audit")
        line = "queued 600 (refuses everything since "
        wait_until(lambda: line in site.relay.log(), "statistics")
        assert wait_for_lines(site.arrived, 600) == messages  # nobody else waits for it
        upstream.is_down = False
        wait_until(lambda: len(upstream.taken) >= 600, "everything", 60)
        wait_until(lambda: not site.is_held() and site.report()["ready"], "it to be well")
    if "order" not in keys:
        taken = numbers(upstream.taken, "app")
        if taken[0]:  # came up between two messages: this one told, and came again in its place
            del taken[0]
        assert taken == list(range(600))
    assert sorted(set(numbers(upstream.taken, "app"))) == list(range(600))
    assert site.report()["quarantined_records"] == 0
    log = site.relay.log_path.read_bytes()
    assert b"the upstream refuses everything since" in log
    assert b"the upstream takes messages again" in log
    assert b"set aside in the quarantine" not in log
    for raw in (b"\x1b", b"\x07", b"\r", "\u202e".encode()):
        assert raw not in log
    site.relay.stop()


def test_one_message_that_is_refused_is_put_aside_also_after_an_outage(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path)
    messages = numbered("app", 100)
    with ReadOnly(site.upstream, b"number 0") as upstream:
        site.feed(messages)
        wait_until(site.is_held, "the upstream to be held")
        upstream.is_down = False
        wait_until(lambda: len(set(upstream.taken)) == 99, "the others")
        wait_until(lambda: site.report()["quarantined_records"] == 1, "the one")
        wait_until(lambda: site.report()["queued_records"] == 0, "the answers")
    assert list(dict.fromkeys(numbers(upstream.taken, "app"))) == list(range(1, 100))
    site.relay.stop()
