from __future__ import annotations

from pathlib import Path

import pytest

from relay.service.configuration.model import (
    Url,
)
from relay.service.destinations import files
from tests.connections import fired
from tests.destination_setup import Setup
from tests.recording import record


def test_a_file(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "received.log"
    service = setup.build(Url("file", path=str(path)))
    service.startService()
    assert service.state_words == f"connecting to {path}"
    for _ in range(3):
        setup.run()
    assert service.state_words == f"appending to {path}, delivered when synced"
    assert path.read_bytes() == b"one\ntwo\n"
    assert setup.queue.upto == 3
    path.rename(path.with_suffix(".1"))
    service.reopen()
    setup.run()
    assert path.read_bytes() == b""
    assert fired(service.stopService()) == [None]


def test_a_file_that_cannot_be_opened_is_known_at_once(setup: Setup, tmp_path: Path) -> None:
    service = setup.build(Url("file", path=str(tmp_path)))
    service.startService()
    setup.run()
    assert service.state_words.startswith(f"{tmp_path}: Is a directory, next try in ")
    assert service.lanes[0].state.connects == 0


def test_a_session_that_writes_a_file_is_told_all_it_needs(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = record(monkeypatch, files, "FileSession")
    service = setup.build(Url("file", path=str(tmp_path / "log")))
    service.startService()
    for _ in range(3):
        setup.run()
    keywords = made[0].keywords
    keywords.pop("on_reopened")("it was removed")
    assert setup.notices.said == [("destination out", "reopened", "it was removed")]
    for name in ("run_in_thread", "on_failure", "on_look"):
        assert callable(keywords.pop(name))
    assert keywords == {"drain": service.lanes[0].drain, "clock": setup.reactor}


def test_a_record_that_was_queued_for_a_kind_with_keys_is_written_without_its_key(
    setup: Setup, tmp_path: Path
) -> None:
    setup.queue.read = lambda destination, **_: [b"\0KEY web\0one", b"two"]
    service = setup.build(Url("file", path=str(tmp_path / "log")))
    service.startService()
    for _ in range(3):
        setup.run()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert fired(service.stopService()) == [None]
