from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import AskFailed
from relay.cli.support import bundle_parts
from relay.cli.support.bundle_parts import Part, Subject, collected, pid_in
from relay.cli.support.scrubbing import Scrubber
from relay.service.configuration.file import examine_file
from relay.service.kinds import KINDS

TEXT = """
[sources.in]
listen = "udp://:514"
[destinations.out]
connect = "tcp://far:514"
[[tests]]
frame = "the eagle"
expect.out = true
"""
ANSWERS: dict[str, Any] = {
    "status": {"fleet": [{"name": "web"}], "text": "found 'the eagle'"},
    "alerts": [],
    "log-lines": ["one", "found 'the eagle'"],
}


class Host:
    """A relay that answers, and commands that print."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = dict(ANSWERS)
        self.output, self.errors, self.status = b'{"a": "found \'the eagle\'"}', b"", 0
        self.ran: list[list[str]] = []
        monkeypatch.setattr(bundle_parts, "ask", self.ask)
        monkeypatch.setattr(bundle_parts, "running_document", self.no_document)
        monkeypatch.setattr(bundle_parts.subprocess, "run", self.run)
        monkeypatch.setattr(bundle_parts.shutil, "which", lambda name: None)

    def ask(self, state_dir: str, command: str) -> object:
        if command not in self.answers:
            raise AskFailed("the relay hangs")
        return self.answers[command]

    def no_document(self, state_dir: str) -> object:
        raise AskFailed("the relay hangs")

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        self.ran.append(command)
        return subprocess.CompletedProcess(command, self.status, self.output, self.errors)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def parts(folder: Path, **changes: Any) -> dict[str, Part]:
    path = folder / "relay.toml"
    path.write_text(TEXT)
    values = {"config": str(path), "examined": examine_file(str(path), KINDS), "pid": os.getpid()}
    subject = Subject(str(folder), **{**values, **changes})
    return {part.name: part for part in collected(subject, Scrubber())}


def test_each_part_has_a_file(host: Host, tmp_path: Path) -> None:
    found = parts(tmp_path)
    names = [
        *("alerts.json", "audit.json", "certificates.json", "check.txt"),
        *("config-running.toml.failed", "config.toml", "files.txt", "fleet.json"),
        *("journal.txt.failed", "log.txt", "process.txt", "queues.json", "status.json"),
        *("system.txt", "versions.txt"),
    ]
    assert list(found) == names
    assert b'"name": "web"' in found["fleet.json"].content
    assert found["log.txt"].content == b"one\nfound [9 characters]\n"
    assert found["config-running.toml.failed"].failure == "the relay hangs"
    assert [part.name for part in found.values() if b"eagle" in part.content] == []


def test_tests_of_the_configuration_are_left_out(host: Host, tmp_path: Path) -> None:
    text = parts(tmp_path)["config.toml"].content.decode()
    assert "# [[tests]] is left out" in text
    assert "eagle" not in text


def test_commands_that_fail_say_why(host: Host, tmp_path: Path) -> None:
    host.output, host.errors, host.status = b"", b"syslogrelay: no relay is running\n", 2
    found = parts(tmp_path)
    assert found["audit.json.failed"].content == b"syslogrelay: no relay is running\n"
    assert found["check.txt"].content == b"syslogrelay: no relay is running\nstatus 2\n"
    host.errors = b""
    assert parts(tmp_path)["audit.json.failed"].failure == "status 2"
    host.output = b"no JSON"
    assert "JSON is malformed" in parts(tmp_path)["audit.json.failed"].failure


def test_a_command_that_hangs_is_given_up(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(command: list[str], **_: object) -> object:
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(bundle_parts.subprocess, "run", hang)
    assert "has not ended after 60 s" in parts(tmp_path)["check.txt.failed"].failure


def test_without_relay_or_configuration(host: Host, tmp_path: Path) -> None:
    host.answers = {}
    found = parts(tmp_path, pid=0, config="", examined=None)
    assert "no relay runs with state directory" in found["process.txt.failed"].failure
    assert "name it with --config" in found["config.toml.failed"].failure
    assert "check.txt" not in found and "certificates.json" not in found
    assert found["status.json.failed"].failure == "the relay hangs"


def test_a_configuration_that_is_no_toml(host: Host, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[sources\n")
    found = parts(tmp_path, examined=examine_file(str(broken), KINDS))
    assert "ends with a ]" in found["config.toml.failed"].failure


def test_the_journal_is_asked_for_the_unit(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_parts.shutil, "which", lambda name: "/bin/journalctl")
    monkeypatch.setattr(bundle_parts.host_facts, "unit_of", lambda pid: "relay.service")
    host.output = b"found 'the eagle'\n"
    assert parts(tmp_path)["journal.txt"].content == b"found [9 characters]\n"
    (asked,) = (command for command in host.ran if command[0] == "journalctl")
    assert asked[-2:] == ["-u", "relay.service"]
    host.output = b""
    failure = parts(tmp_path)["journal.txt.failed"].failure
    assert failure == "the journal has nothing of relay.service"


def test_a_part_that_is_too_long_is_cut(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_parts, "PART_BYTES_MAX", 10)
    part = parts(tmp_path)["log.txt"]
    assert (len(part.content), part.failure) == (10, "cut: it has 25 bytes")


def test_the_process_of_a_queue(tmp_path: Path) -> None:
    assert pid_in(str(tmp_path)) == 0
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "owner.lock").write_text(str(os.getpid()))
    assert pid_in(str(tmp_path)) == os.getpid()
    (tmp_path / "queue" / "owner.lock").write_text("x")
    assert pid_in(str(tmp_path)) == 0
