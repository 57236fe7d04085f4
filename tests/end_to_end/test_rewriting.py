"""What a configuration says about messages, from the socket to the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay.cli.control_client import ask
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

START = b"Oct 11 22:14:15 web"


@pytest.fixture
def port() -> int:
    return free_port()


class Rewriter(RelayProcess):
    """One listener, and a file for each way of treating what it receives."""

    def __init__(self, folder: Path, port: int) -> None:
        (folder / "teams.csv").write_text("web,shop\n")
        names = ("alarm", "json", "few", "template", "all")
        self.files = {name: folder / f"{name}.log" for name in names}
        keys = {
            "alarm": {
                "match": [{"filter": "logins"}, {"severity": "..crit"}],
                "rewrite": [
                    {"parse": "regex", "pattern": r"for (?P<USER>\S+)", "prefix": ".login."},
                    {"mask": ["ipv4"]},
                    {"map": str(folder / "teams.csv"), "key": "$HOST", "into": ".team"},
                    {"mode": "ewmm"},
                ],
            },
            "json": {
                "match": {"app_name": "sshd"},
                "format": {"name": "json", "scope": ["rfc5424"], "exclude": "DATE"},
            },
            "few": {"rewrite": [{"drop": "noise", "match": {"msg": "ping"}}]},
            "template": {"template": "$HOST/$PROGRAM[$PID]: $MSG", "match": {"app_name": "cron"}},
            "all": {"rewrite": [{"suppress_repeats": 1}], "format": "rfc5424"},
        }
        super().__init__(
            folder,
            filters={"logins": {"app_name": "sshd", "msg": "Failed"}},
            sources={"in": {"listen": f"tcp://127.0.0.1:{port}", "parse": {"tags": ["net"]}}},
            destinations={
                name: {"connect": f"file://{path}", **keys[name]}
                for name, path in self.files.items()
            },
        )


def test_each_destination_gets_what_it_was_told(
    programs: Programs, tmp_path: Path, port: int
) -> None:
    relay = Rewriter(tmp_path, port)
    programs.add(relay)
    relay.start()
    feed_lines(
        port,
        [
            b"<38>%s sshd[7]: Failed password for bob from 10.0.0.1" % START,
            b"<38>%s sshd[7]: session opened" % START,
            b"<10>%s kernel: on fire" % START,
            *[b"<78>%s cron[1]: ping" % START] * 3,
            b"<78>%s cron[1]: done" % START,
        ],
    )
    alarm = wait_for_lines(relay.files["alarm"], 2)
    fields = json.loads(alarm[0].partition(b" - - - ")[2])
    assert fields["MESSAGE"] == "Failed password for bob from ***"
    assert fields[".login"] == {"USER": "bob"}
    assert fields[".team"] == "shop"
    assert fields["._TAGS"] == "net,.source.in"
    assert b"on fire" in alarm[1]
    first = json.loads(wait_for_lines(relay.files["json"], 2)[0])
    assert (first["PROGRAM"], first["PID"], first["FACILITY"]) == ("sshd", "7", "auth")
    assert wait_for_lines(relay.files["template"], 4)[3] == b"web/cron[1]: done"
    assert len(wait_for_lines(relay.files["few"], 4)) == 4
    everything = wait_for_lines(relay.files["all"], 6)
    assert b"last message repeated 2 times" in everything[4]
    reports = {
        report["id"]: report for report in ask(str(relay.state_dir), "status")["destinations"]
    }
    assert reports["few"]["dropped_records"] == {"noise": 3}
    assert reports["all"]["dropped_records"] == {"repeated": 2}
    for name, count in (("few", 7), ("all", 8), ("alarm", 2), ("template", 4)):
        assert reports[name]["received_records"] == count, name


def test_repeats_are_said_when_the_relay_stops(
    programs: Programs, tmp_path: Path, port: int
) -> None:
    relay = Rewriter(tmp_path, port)
    programs.add(relay)
    relay.start()
    feed_lines(port, [b"<78>%s cron[1]: ping" % START] * 5)
    wait_until(lambda: len(received(relay.files["template"])) == 5, "all lines to arrive")
    relay.stop()
    relay.start()
    lines = wait_for_lines(relay.files["all"], 2)
    assert b"last message repeated 4 times" in lines[1]
