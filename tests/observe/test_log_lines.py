from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from relay.observe.log_levels import LOG_LEVELS
from relay.observe.log_lines import as_message, file_line, is_journal, journal_line


def event(namespace: str, level: LogLevel, text: str, **values: Any) -> LogEvent:
    events: list[LogEvent] = []
    Logger(namespace=namespace, observer=events.append).emit(level, text, **values)
    return events[0]


def in_file(event: LogEvent) -> str | None:
    return file_line(event, lambda when: "NOW")


@pytest.mark.parametrize(
    ("level", "priority", "word"),
    [
        (LogLevel.debug, 7, "debug: "),
        (LogLevel.info, 6, ""),
        (LogLevel.warn, 4, "warning: "),
        (LogLevel.error, 3, "error: "),
        (LogLevel.critical, 2, "critical: "),
    ],
)
def test_each_level(
    level: LogLevel, priority: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOG_LEVELS, "level", "debug")
    said = event("relay.service.sources.service.Source", level, "source {id}: hello", id="in")
    assert journal_line(said) == f"<{priority}>source in: hello\n"
    assert in_file(said) == f"NOW {word}source in: hello\n"


def test_what_is_below_the_level_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    detail = event("relay.commits", LogLevel.debug, "commit")
    assert (journal_line(detail), in_file(detail)) == (None, None)
    monkeypatch.setitem(LOG_LEVELS.namespaces, "relay.commits", "debug")
    assert in_file(detail) == "NOW debug: commit\n"
    monkeypatch.setattr(LOG_LEVELS, "level", "error")
    assert in_file(event("relay", LogLevel.warn, "x")) is None
    assert in_file(event("relay", LogLevel.critical, "x")) == "NOW critical: x\n"


def test_remarks_of_twisted_are_written_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    said = event("twisted.internet.tcp.Port", LogLevel.info, "EMFILE encountered")
    monkeypatch.setitem(LOG_LEVELS.namespaces, "twisted.internet", "info")
    assert in_file(said) == "NOW EMFILE encountered\n"


def test_details_become_no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message would be committed, and its commit be the next one."""
    monkeypatch.setattr(LOG_LEVELS, "level", "debug")
    assert as_message(event("relay.commits", LogLevel.debug, "commit")) is None
    assert as_message(event("relay", LogLevel.info, "x")) == (6, "x")


def test_each_line_of_a_traceback_has_its_priority() -> None:
    events: list[LogEvent] = []
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        Logger(namespace="relay", observer=events.append).failure("it failed", Failure())
    lines = (journal_line(events[0]) or "").splitlines()
    assert (lines[0], lines[-1]) == ("<2>it failed", "<2>two")
    assert all(line.startswith("<2>") for line in lines)
    text = in_file(events[0]) or ""
    assert text.startswith("NOW critical: it failed\n\tTraceback")
    assert text.count("NOW") == 1


@pytest.mark.parametrize(
    "said",
    [
        event("twisted.application._client_service.ClientService", LogLevel.info, "Scheduling"),
        event("twisted.internet.tcp.Port", LogLevel.info, "EMFILE encountered"),
        {"log_namespace": "log_legacy", "log_format": "X starting on 5514"},
        event("relay", LogLevel.info, "  "),
    ],
)
def test_remarks_of_twisted_on_its_own_work_are_left_out(said: LogEvent) -> None:
    assert (journal_line(said), in_file(said)) == (None, None)


def test_troubles_of_twisted_and_what_is_printed_are_not() -> None:
    said = event("twisted.internet.defer", LogLevel.critical, "Unhandled error in Deferred")
    assert journal_line(said) == "<2>Unhandled error in Deferred\n"
    assert in_file(event("stdout", LogLevel.info, "printed")) == "NOW printed\n"


def test_the_journal_is_known_by_its_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as output:
        found = os.fstat(output.fileno())
        name = f"{found.st_dev}:{found.st_ino}"
        assert is_journal({"JOURNAL_STREAM": name}, output.fileno())
        assert not is_journal({"JOURNAL_STREAM": f"{name}1"}, output.fileno())
        assert not is_journal({"JOURNAL_STREAM": "nonsense"}, output.fileno())
        assert not is_journal({}, output.fileno())
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, 9999)
