from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.control_client import AskFailed
from relay.cli.main import main
from relay.cli.screen import SEVERE, WARNING, Screen
from relay.cli.status import _notes, show

SOURCE = {
    "id": "net",
    "address": "tcp://127.0.0.1:514",
    "received_records": 18211,
    "stored_records": 18200,
    "connections_open": 3,
    "protocol_errors": 1,
    "connections_refused": 1,
    "truncated_records": 4,
    "dropped_records": {"empty": 11},
}
DESTINATION = {
    "id": "central",
    "state": "refused by 10.0.0.5:20514, next try in 4 s",
    "ready": False,
    "received_records": 18200,
    "delivered_records": 17890,
    "queued_records": 307,
    "queued_bytes": 62700,
    "oldest_seconds": 64.2,
    "in_flight_records": 0,
    "resent_records": 5,
    "quarantined_records": 3,
    "dropped_records": {},
}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "web-1",
        "version": "0.1.0",
        "uptime_seconds": 93784.0,
        "admission": {"open": True, "reason": ""},
        "sources": [SOURCE],
        "destinations": [DESTINATION],
        "orphans": [],
        **changes,
    }


def shown(width: int | None = 80, **changes: Any) -> list[str]:
    output = io.StringIO()
    with redirect_stdout(output):
        show(document(**changes), Screen(width))
    return output.getvalue().splitlines()


def test_a_source_that_is_gone_shows() -> None:
    line = "app: source is gone; how far it has read is kept under that name"
    assert line in shown(width=120, sources_gone=["app"])


HOSTILE = "500 \x1b[2J\x07\r\nhacked: connected\x9b31m\u202egnp"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_an_upstream_says_moves_no_cursor_and_forges_no_line(
    monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    hostile = document(destinations=[{**DESTINATION, "state": HOSTILE}], orphans=["a\x9bb"])
    monkeypatch.setattr("relay.cli.status.ask", lambda *_: hostile)
    printed = CliRunner().invoke(main, ["status", *options]).output
    assert all(line.isprintable() for line in printed.split("\n"))
    assert "hacked" in printed
    if not options:
        line = r"central: 500 \x1b[2J\x07\r\nhacked: connected\x9b31m\u202egnp"
        assert line in map(str.rstrip, printed.split("\n"))


def test_a_queue_that_is_nearly_full_shows_with_what_is_known_of_it() -> None:
    limit = {
        "queue_bytes_max": 2**30,
        "when_full": "block",
        "fill_percent": 83,
        "seconds_to_full": 130.0,
        "seconds_to_empty": None,
        "blocks_sources": False,
    }
    line = "central: queue 83 % full (queue_bytes_max is 1 GiB, block), full in 2 m 10 s"
    assert line in shown(width=120, destinations=[{**DESTINATION, "limit": limit}])
    limit.update(seconds_to_full=None, seconds_to_empty=61.0, blocks_sources=True)
    line = line.replace("full in 2 m 10 s", "empty in 1 m 1 s; sources that feed it wait")
    assert line in shown(width=120, destinations=[{**DESTINATION, "limit": limit}])
    limit.update(fill_percent=49, seconds_to_full=None, seconds_to_empty=None)
    lines = shown(width=120, destinations=[{**DESTINATION, "limit": limit}])
    assert not any("% full" in line or "empty in" in line for line in lines)


@pytest.mark.parametrize("fill_percent", [None, 3])
def test_a_backlog_that_drains_shows_when_it_will_be_empty(fill_percent: int | None) -> None:
    limit = {"fill_percent": fill_percent, "seconds_to_full": None, "seconds_to_empty": 61.4}
    line = "central: 307 queued, empty in 1 m 1 s"
    assert line in shown(destinations=[{**DESTINATION, "limit": limit}])
    limit.update(seconds_to_full=3725.0, seconds_to_empty=None)
    line = "central: 307 queued, full in 1 h 2 m"
    assert line in shown(destinations=[{**DESTINATION, "limit": limit}])


def test_a_destination_that_is_connected_and_gets_nowhere_is_unhealthy() -> None:
    lines = shown(destinations=[{**DESTINATION, "stalled_seconds": 130.4}])
    assert "central: unhealthy: nothing acknowledged in 2 m 10 s of being connected" in lines
    lines = shown(destinations=[{**DESTINATION, "stalled_seconds": None}])
    assert not any("unhealthy" in line for line in lines)


def test_everything_fits_a_terminal_of_eighty_columns() -> None:
    lines = shown()
    assert lines[0] == "relay web-1, syslogrelay 0.1.0, up 1 d 2 h"
    assert "net     tcp://127.0.0.1:514    18,211  18,200      -     3       2" in lines
    assert "central        18,200     17,890     307  61.2KiB    1m4s          0       5" in lines
    assert "central: refused by 10.0.0.5:20514, next try in 4 s" in lines
    assert "net: dropped 11 (empty), cut to the size limit 4" in lines
    assert "central: quarantined 3" in lines


LONG_ID = "central-frankfurt-rack-7-relay-2.example"


@pytest.mark.parametrize("width", [80, 50])
def test_long_names_are_whole_and_lines_no_longer_than_the_terminal(width: int) -> None:
    lines = shown(
        width,
        sources=[SOURCE, {**SOURCE, "id": "net-2", "address": "unixgram:///run/syslogrelay/log"}],
        destinations=[DESTINATION, {**DESTINATION, "id": LONG_ID}],
    )
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []
    fields = " ".join(lines).split()
    assert fields.count(LONG_ID) == 1  # in the table; below it comes its state
    assert f"{LONG_ID}:" in fields
    for word in ("unixgram:///run/syslogrelay/log", "18,200", "61.2KiB", "10.0.0.5:20514,"):
        assert word in fields


def test_for_a_program_every_row_is_a_line_with_a_field_for_each_column() -> None:
    long = {**DESTINATION, "id": LONG_ID * 9}
    lines = shown(None, destinations=[DESTINATION, long])
    start = next(number for number, line in enumerate(lines) if line.startswith("destination "))
    assert [len(line.split()) for line in lines[start : start + 3]] == [8, 8, 8]


def test_what_became_of_long_messages() -> None:
    quarantine = {"records": 7, "bytes": 900, "dropped_records": {"quarantine-full": 1200}}
    source = {**SOURCE, "split_records": 5, "quarantined_records": 1207, "quarantine": quarantine}
    assert (
        "net: dropped 11 (empty), dropped 1,200 (quarantine-full), cut to the size limit 4, "
        "split 5, quarantined 1,207"
    ) in shown(width=150, sources=[source])


def test_a_level_of_the_log_that_is_not_the_configured_one_is_said() -> None:
    usual = {"level": "info", "configured": "info", "namespaces": {}}
    assert not any(line.startswith("log: ") for line in shown(log=usual))
    lines = shown(
        log={**usual, "level": "debug", "namespaces": {"relay.commits": "warn"}}, width=200
    )
    expected = "log: level debug instead of info, relay.commits warn, until the relay restarts"
    assert expected in lines


def test_damaged_files_are_named_as_long_as_they_are_there() -> None:
    lines = shown(damaged_files=["/q/data.mdb.damaged-1"], width=200)
    assert "the queue was damaged, its file is kept as /q/data.mdb.damaged-1" in lines


@pytest.mark.parametrize("days", [30.0, 0.4, -0.1])
def test_certificates_stand_out_when_their_time_comes(days: float) -> None:
    own = {"subject": "source in", "expires_days": days, "problem": "/a.pem expires"}
    later = {"subject": "source b", "expires_days": 30.1, "problem": "/b.pem expires"}
    assert {"source in: /a.pem expires", "source b: /b.pem expires"} <= {
        *shown(certificates=[own, later])
    }
    notes = _notes(document(certificates=[own, later]))
    styles = {text: style for _, text, style in notes if "pem" in text}
    assert styles["/a.pem expires"] is (SEVERE if days <= 7 else WARNING)
    assert styles["/b.pem expires"] is None


@pytest.mark.parametrize("days", [0.5, -0.1])
def test_revocation_lists_stand_out_when_they_are_due(days: float) -> None:
    due = {"subject": "source in", "days_left": days, "is_due": True, "problem": "One is due"}
    later = {**due, "problem": "Two expires", "is_due": False}
    lines = shown(certificates=[due, later])
    assert {"source in: One is due", "source in: Two expires"} <= {*lines}
    styles = {text: style for _, text, style in _notes(document(certificates=[due, later]))}
    assert styles["One is due"] is (SEVERE if days <= 0 else WARNING)
    assert styles["Two expires"] is None


def test_an_older_relay_does_not_put_expiries_into_words() -> None:
    older = {"subject": "source in", "certificate": "/a.pem", "expires_days": 3.0}
    assert not [line for line in shown(certificates=[older]) if "a.pem" in line]


def test_new_files_that_cannot_be_used_are_named() -> None:
    bad = {"subject": "source in", "kind": "unusable", "problem": "cannot read /a.pem"}
    assert "source in: cannot read /a.pem" in shown(certificates=[bad])


def test_a_table_that_cannot_be_used_is_named() -> None:
    assert "table /m.csv: has one column" in shown(
        tables=[{"path": "/m.csv", "problem": "has one column"}]
    )


def test_the_last_errors_are_shown_with_their_peers() -> None:
    def error(text: str, **values: Any) -> dict[str, Any]:
        default = {"kind": "x", "peer": "", "seconds_ago": 190.0, "count": 1}
        return {"text": text, **default, **values}

    errors = [
        error("no certificate", peer="10.0.0.9:4000", count=1200),
        error("an old one", seconds_ago=4000.0),
    ]
    known = error("refused by 10.0.0.5:20514")  # the state says it already
    lines = shown(
        width=None,
        sources=[{**SOURCE, "last_errors": errors}],
        destinations=[{**DESTINATION, "last_errors": [known]}],
    )
    assert [line for line in lines if "last error" in line] == [
        "net: last error: 10.0.0.9:4000: no certificate (3 m 10 s ago, 1,200 times)"
    ]


def test_a_source_that_reads_says_what_it_does() -> None:
    lines = shown(sources=[{**SOURCE, "state": "follows the journal", "ready": True, "gaps": 2}])
    assert "net: follows the journal" in lines
    assert "net: dropped 11 (empty), cut to the size limit 4, gaps in the journal 2" in lines


@pytest.mark.parametrize(
    ("history_bytes", "fields"),
    [(0, "12 KiB in use"), (4096, "12 KiB in use, 4 KiB of history")],
)
def test_what_the_file_takes_and_what_of_it_is_in_use(history_bytes: int, fields: str) -> None:
    admission = {
        "open": True,
        "reason": "",
        "allocated_bytes": 65536,
        "queue_bytes": 12288,
        "history_bytes": history_bytes,
    }
    assert f"queue file: 64 KiB on disk, {fields}" in shown(admission=admission)


def test_closed_admission_and_orphans_are_said() -> None:
    lines = shown(admission={"open": False, "reason": "the queue is full"}, orphans=["old"])
    assert lines[0] == "not accepting messages: the queue is full"
    assert "old: has records but no destination in the configuration" in lines


def test_what_cannot_be_stored_is_the_first_line_with_the_time() -> None:
    reason = "nothing can be stored: No space left on device"
    lines = shown(width=120, admission={"open": False, "reason": reason, "since": 1_800_000_000.0})
    assert lines[0] == f"not accepting messages since 2027-01-15T08:00:00.000Z: {reason}"


def test_no_relay_is_one_line_and_status_two(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["status", "--state-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert "no relay is running" in done.output


def test_files_that_are_behind() -> None:
    files = [{"path": f"/var/log/{name}.log", "behind_bytes": 2048} for name in "abcd"]
    source = {**SOURCE, "behind_bytes": 8192, "files_behind": files, "files_refused": 2}
    source["files_unreadable"] = 1
    lines = shown(200, sources=[source])
    assert (
        "net: 8 KiB of its files not yet read: /var/log/a.log 2 KiB, /var/log/b.log 2 KiB, "
        "/var/log/c.log 2 KiB"
    ) in lines
    assert "net: 2 files not read (files_max or descriptors)" in lines
    assert "net: 1 file cannot be read" in lines


def test_what_never_came_from_a_relay() -> None:
    lines = shown(sources=[{**SOURCE, "missing_records": 1200}])
    assert "net: dropped 11 (empty), never came 1,200, cut to the size limit 4" in lines


def test_what_a_kind_of_destination_has_to_tell_is_shown() -> None:
    assert "central: 2 of 3 up" in shown(destinations=[{**DESTINATION, "details": ["2 of 3 up"]}])


def test_two_lanes_are_shown_while_there_are_two() -> None:
    lane = {"queue": "x", "in_flight_records": 0}
    lanes = {
        "backlog": {**lane, "queued_records": 12345, "delivered_per_second": 250.4},
        "live": {**lane, "queued_records": 3, "delivered_per_second": 1750.0},
    }
    line = "central: two lanes: backlog 12,345 queued, 250 a second; live 3 queued, 1,750 a second"
    assert line in shown(width=120, destinations=[{**DESTINATION, "lanes": lanes}])
    lanes["backlog"]["queued_records"] = 0
    for one in (lanes, None):
        lines = shown(width=120, destinations=[{**DESTINATION, "lanes": one}])
        assert not [line for line in lines if "lanes" in line]


@pytest.mark.parametrize(
    ("degraded", "status", "line"),
    [
        ([], 0, "ok: relay web-1; 1 source; 1 destination; 307 records queued"),
        (["central: refused", "a|b"], 1, "degraded: central: refused; a/b"),
    ],
)
def test_a_check_for_monitoring_is_one_line_and_a_status(
    degraded: list[str], status: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.status.ask", lambda *_: document(degraded=degraded))
    done = CliRunner().invoke(main, ["status", "--check"])
    assert (done.exit_code, done.stdout, done.stderr) == (status, f"{line}\n", "")
    done = CliRunner().invoke(main, ["status", "--check", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["degraded"]) == (status, degraded)
    assert CliRunner().invoke(main, ["status"]).exit_code == 0


def test_a_check_of_a_relay_that_does_not_answer(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["status", "--check", "--state-dir", str(tmp_path)])
    assert (done.exit_code, done.stdout.count("\n"), done.stderr) == (2, 1, "")
    assert done.stdout.startswith("no answer: no relay is running")


def test_a_check_of_a_relay_that_does_not_know_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.cli.status.ask", lambda *_: document())
    done = CliRunner().invoke(main, ["status", "--check"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "older version" in done.stderr


def test_rates_are_shown_of_the_relay_and_of_each_source() -> None:
    rates = {"messages": 1234.0, "warnings": 0.0, "errors": 0.016, "drops": 2.0}
    both = {"10s": rates, "60s": {**rates, "messages": 20.4}}
    lines = shown(width=120, rates=both, sources=[{**SOURCE, "rates": both}])
    assert (
        "a second: 1,234 messages (20), 0 warnings (0), 0.016 errors (0.016), 2.0 drops (2.0) in "
        "the last 10 s (60 s)"
    ) in lines
    row = next(line for line in lines if line.startswith("net ")).split()
    assert row[:5] == ["net", "tcp://127.0.0.1:514", "18,211", "18,200", "1,234"]
    assert "net: 0.016 errors, 2.0 drops a second" in lines


def test_the_worst_alerts_are_shown() -> None:
    alert = {"rule": "down", "subject": "destination out", "text": "refused", "severity": "error"}
    alerts = [{**alert, "since": 1_700_000_000.0 + number} for number in range(9)]
    lines = [line for line in shown(width=120, alerts=alerts) if "alert down" in line]
    assert len(lines) == 5
    assert lines[0] == "destination out: alert down since 2023-11-14T22:13:20.000Z: refused"


def test_what_rules_decide_is_shown() -> None:
    rules = [
        {"id": "logins", "counts_as": "error", "10s": 0.25, "60s": 12.0},
        {"id": "noise", "counts_as": "ignore", "10s": 0.0, "60s": 1.0},
    ]
    assert "watched: logins 0.2 (12) as error, noise 0 (1.0) ignored" in shown(
        width=120, watch={"rules": rules}
    )
    assert not [line for line in shown(watch={"rules": []}) if "watched" in line]


@pytest.mark.parametrize(
    ("degraded", "line"),
    [
        ([], "healthy"),
        (["central: refused"], "degraded: central: refused"),
        (["a: x", "b: y"], "degraded: a: x, and 1 more problem"),
        (["a: x", "b: y", "c: z"], "degraded: a: x, and 2 more problems"),
    ],
)
def test_the_first_line_names_the_worst(degraded: list[str], line: str) -> None:
    assert shown(degraded=degraded)[0] == line


def test_the_first_line_has_the_colour_of_the_health(capsys: pytest.CaptureFixture[str]) -> None:
    for degraded, colour in (([], 32), (["a: x"], 31)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("click.utils.should_strip_ansi", lambda *_: False)
            show(document(degraded=degraded), Screen(80, has_colour=True))
        assert f"\x1b[{colour}m" in capsys.readouterr().out.splitlines()[0]


class Relays:
    """What answers each time it is asked; then somebody presses Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any] | str) -> None:
        self.answers = list(answers)
        self.paused: list[float] = []
        monkeypatch.setattr("relay.cli.status.ask", self.ask)
        monkeypatch.setattr("time.sleep", self.sleep)

    def ask(self, *_: object) -> dict[str, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            raise AskFailed(answer)
        return answer

    def sleep(self, seconds: float) -> None:
        self.paused.append(seconds)
        if not self.answers:
            raise KeyboardInterrupt


def test_it_is_shown_again_and_again_also_while_the_relay_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relays = Relays(monkeypatch, document(name="one"), "it hangs", document(name="two"))
    result = CliRunner().invoke(main, ["status", "--watch"])
    assert (result.exit_code, relays.paused) == (0, [2.0] * 3)
    heads = [line for line in result.output.split("\n") if line.startswith(("relay ", "no "))]
    assert [head.split(",")[0] for head in heads] == [
        "relay one",
        "no answer: it hangs",
        "relay two",
    ]


def test_it_is_watched_as_json_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    relays = Relays(monkeypatch, document(name="one"), "it hangs", document(name="two"))
    result = CliRunner().invoke(main, ["status", "--watch", "0.5", "--json"])
    assert (result.exit_code, relays.paused) == (0, [0.5] * 3)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["name"] for line in lines] == ["one", "two"]
    assert result.stderr == "no answer: it hangs\n"


@pytest.mark.parametrize("options", [["--watch", "0"], ["--watch", "--check"]])
def test_what_cannot_be_watched_is_refused(options: list[str]) -> None:
    assert CliRunner().invoke(main, ["status", *options]).exit_code == 2


def test_samples_are_shown_by_source_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = {"at": 1000.5, "peer": "192.0.2.1:5", "size": 1200, "text": "<999>\x1b[2Jx"}
    samples = {"net": {"syslog.invalid_pri": [sample, {**sample, "peer": ""}]}, "app": {}}
    monkeypatch.setattr("relay.cli.status.ask", lambda *_: samples)
    printed = CliRunner().invoke(main, ["status", "--samples"]).output
    assert printed.splitlines() == [
        "net: syslog.invalid_pri, the last 2",
        "  1970-01-01T00:16:40.500Z 192.0.2.1:5, 1,200 B: <999>\\x1b[2Jx",
        "  1970-01-01T00:16:40.500Z, 1,200 B: <999>\\x1b[2Jx",
    ]
    printed = CliRunner().invoke(main, ["status", "--samples", "--json"]).output
    assert json.loads(printed)["net"]["syslog.invalid_pri"][0]["size"] == 1200
    monkeypatch.setattr("relay.cli.status.ask", lambda *_: {"net": {}})
    printed = CliRunner().invoke(main, ["status", "--samples"]).output
    assert printed == "nothing was dropped on the way to a queue, and everything could be parsed\n"


@pytest.mark.parametrize("option", ["--check", "--watch"])
def test_samples_are_shown_once(option: str) -> None:
    assert CliRunner().invoke(main, ["status", "--samples", option]).exit_code == 2


def test_what_a_reload_could_not_use_is_a_note() -> None:
    reload = {
        "at": 1.0,
        "restart": ["relay.name"],
        "failures": ["source in: cannot listen"],
        "refused": ["/etc/relay.toml:3: wrong"],
    }
    found = [note for note in _notes(document(reload=reload)) if "reload" in note[0]]
    assert found == [
        ("reload", "source in: cannot listen", SEVERE),
        ("reload refused", "/etc/relay.toml:3: wrong", SEVERE),
    ]
    assert ("relay.name", "has changed in the file, and is used after a restart", WARNING) in list(
        _notes(document(reload=reload))
    )
