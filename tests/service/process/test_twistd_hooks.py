from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from twisted.logger import FileLogObserver

from relay.observe.log_lines import file_line, journal_line
from relay.service.process.twistd_hooks import _told, _wait_for_start, new_observer
from relay.service.refusal import StartRefused


def test_the_log_goes_where_twistd_was_told_to(tmp_path: Path) -> None:
    path = tmp_path / "relay.log"
    observer = new_observer({"logfile": str(path)}, {})
    assert observer is not None
    observer({"log_namespace": "relay", "log_format": "hello", "log_time": 0.0})
    assert path.read_text().endswith(" hello\n")


@pytest.mark.parametrize("options", [None, {"syslog": True}, {"logger": print}])
def test_another_log_is_left_to_twistd(options: dict[str, object] | None) -> None:
    assert new_observer(options, {}) is None


@pytest.mark.parametrize(
    ("logfile", "line"), [("", journal_line), ("-", journal_line), ("own.log", file_line)]
)
def test_priorities_are_for_the_journal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logfile: str, line: object
) -> None:
    monkeypatch.chdir(tmp_path)
    found = os.fstat(1)
    environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    observer = new_observer({"nodaemon": True, "logfile": logfile}, environment)
    assert isinstance(observer, FileLogObserver)
    assert observer.formatEvent is line


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StartRefused("state_dir /x: no 'room' - really é" + 200 * "x"), None),
        (ValueError("odd"), "ValueError: odd; the log has more"),
    ],
)
def test_what_a_daemon_tells_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    text: str | None,
) -> None:
    reads, writes = os.pipe()
    os.write(writes, _told(None, error))
    os.close(writes)
    with (tmp_path / "err").open("w+") as shown:
        monkeypatch.setattr(sys, "__stderr__", shown)
        assert _wait_for_start(None, reads) == 1
        shown.seek(0)
        assert shown.read() == f"{text or error}\n"
    os.close(reads)


def test_a_good_start_is_no_news() -> None:
    reads, writes = os.pipe()
    os.write(writes, b"0")
    assert _wait_for_start(None, reads) == 0
    os.close(reads)
    os.close(writes)
