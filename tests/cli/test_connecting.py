from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import connecting
from relay.cli.main import main
from relay.service.probes.probe import Probe
from tests.processes import free_port

FILE = """
[relay]
state_dir = "state"
allow_volatile_state = true
queue_bytes_max = "1 MiB"
min_free_bytes = 0
[sources.in]
listen = "unixgram:log.sock"
[destinations.out]
connect = "file:received.log"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.toml"
    path.write_text(FILE)
    return path


def check(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", "--connect", str(path), *arguments])


def test_all_is_well(path: Path) -> None:
    result = check(path)
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[0] == f"{path}: ok: file: the configuration is valid"
    assert f"destination out: ok: path: {path.parent} can be written to" in lines
    assert all(": ok: " in line for line in lines)
    assert list(path.parent.iterdir()) == [path]


def test_the_worst_finding_is_the_status(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(probe: Probe, configuration: object) -> None:
        probe.warn("disk", "disk-nearly-full", "little room", "make room")

    monkeypatch.setattr(connecting, "probe_host", warn)
    result = check(path)
    assert result.exit_code == 1
    assert "relay: warning: disk-nearly-full: little room; make room" in result.stdout
    (path.parent / "received.log").mkdir()
    assert check(path).exit_code == 2


def test_the_web_server_is_tried(path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with path.open("a") as file:
        file.write(f'[web]\nlisten = "{url}"\n')
    assert f"web server: ok: port: {url} is free" in check(path).stdout


def test_who_is_told_of_alerts_is_tried(path: Path) -> None:
    with path.open("a") as file:
        file.write('[alerts]\nprogram = ["/nonexistent/notify"]\n')
    assert "alerts: error: program-missing: alerts.program:" in check(path).stdout


def test_json(path: Path) -> None:
    result = check(path, "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["severity"]) == (0, "ok")
    subjects = [each["subject"] for each in document["subjects"]]
    assert subjects == ["file", "relay", "source in", "destination out"]
    assert document["subjects"][0]["findings"] == [
        {
            "severity": "ok",
            "step": "file",
            "fault": "",
            "text": "the configuration is valid",
            "remedy": "",
        }
    ]


def test_nothing_is_tried_with_a_file_that_is_wrong(path: Path) -> None:
    path.write_text(FILE + "unknown = 1\n")
    result = check(path)
    assert result.exit_code == 2
    assert result.stdout.splitlines()[-1].endswith("nothing else is tried until the file is valid")


def test_a_missing_token_keeps_nothing_from_being_tried(path: Path) -> None:
    path.write_text(FILE + 'rewrite = { mode = "cee", token_file = "token" }\n')
    result = check(path)
    assert result.exit_code == 2
    assert "error: configuration: " in result.stdout
    assert "destination out: ok: path: " in result.stdout


def test_json_needs_connect(path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(path), "--json"])
    assert result.exit_code == 2
