from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from twisted.logger import LogEvent, Logger, formatEvent

from relay.queue.transaction import Transaction
from relay.service.sources.service import KeptPositions
from tests import queue_files


def test_sources_that_are_gone_are_said(tmp_path: Path) -> None:
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    names = ("app/1", "app/2", "app-2/1", "web/1", "/sent/out", "/clock/steps", "zoo/1")
    positions = dict.fromkeys(names, b"1")
    with queue_files.opened(tmp_path / "queue", "out") as store:
        assert store.sources_with_positions() == []
        store.commit(Transaction(0.0, positions=positions))
        assert store.sources_with_positions() == ["app-2", "app", "web", "zoo"]
        kept = KeptPositions(lambda: ["application", "web"], queue=SimpleNamespace(view=store))  # type: ignore[arg-type]
        kept._log = Logger(namespace="test", observer=note)
        kept.startService()
    assert kept.gone == ["app-2", "app", "zoo"]
    assert len(lines) == 3
    assert [line for line in lines if line.startswith("source app is gone; how far it has read")]
