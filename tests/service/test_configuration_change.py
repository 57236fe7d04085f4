from __future__ import annotations

from pathlib import Path

from twisted.logger import LogEvent, Logger, formatEvent

from relay.service.configuration_change import ConfigurationChange


class Watched:
    def __init__(self, path: str) -> None:
        self.lines: list[str] = []
        self.change = ConfigurationChange(path)
        self.change._log = Logger(namespace="test", observer=self._note)

    def _note(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


def test_a_file_that_has_changed_is_said_each_time_and_one_that_has_not_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[relay]\n")
    watched = Watched(str(path))
    path.write_text("[relay]\n")
    watched.change.look()
    assert watched.lines == []
    path.write_text("[relay]\nname = 'x'\n")
    watched.change.look()
    watched.change.look()
    assert watched.lines == [f"{path}: the configuration has changed; restart to use it"] * 2


def test_a_file_that_is_gone_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[relay]\n")
    watched = Watched(str(path))
    path.unlink()
    watched.change.look()
    assert len(watched.lines) == 1


def test_without_a_file_nothing_changes() -> None:
    watched = Watched("")
    watched.change.look()
    assert watched.lines == []
