from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.model.errors import QueueFull
from relay.service.queue.given_up import GivenUp, count_given_up, note_given_up
from tests import queue_files


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str, **values: Any) -> None:
        self.lines.append(text.format(**values))

    critical = warn


@pytest.fixture
def log() -> Any:
    return Log()


def test_what_one_stop_gave_up_is_counted_by_the_next_start_once(tmp_path: Path, log: Any) -> None:
    path = str(tmp_path / "queue")
    with queue_files.opened(tmp_path / "queue", "a", "b") as store:
        queue_files.append(store, a=[b"1"])
        note_given_up({"a": 30_226, "lane/b": 2, "source/in": 1}, path, log)
        message = "30,226 messages for a, 2 messages for b, 1 message of in (not-stored)"
        assert log.lines.pop() == (
            f"queue: gave up {message}, because nothing could be stored; the next start counts them"
        )
        note = GivenUp(path).read()
        count_given_up(store, path, now=Clock().seconds, log=log)
        assert log.lines.pop() == f"the last stop gave up {message}"
        ledger = store.ledgers["a"]
        assert ledger.dropped == {"not-stored": 30_226}
        assert (ledger.received, ledger.gap) == (30_227, 0)
        assert GivenUp(path).read() is None
        # A crash before it was emptied.
        assert note is not None
        (tmp_path / "queue" / "given-up").write_text(f'{{"id": "{note.id}", "lost": {{"a": 5}}}}')
        count_given_up(store, path, now=Clock().seconds, log=log)
        assert (store.ledgers["a"].dropped, log.lines) == ({"not-stored": 30_226}, [])


def test_a_note_that_cannot_be_counted_is_kept(
    tmp_path: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "queue")
    with queue_files.opened(tmp_path / "queue", "a") as store:
        GivenUp(path).write({"a": 1})

        def refuse(transaction: Any) -> None:
            raise QueueFull("nothing can be stored: No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(store, "commit", refuse)
            count_given_up(store, path, now=Clock().seconds, log=log)
        assert "not counted yet: nothing can be stored" in log.lines.pop()
        count_given_up(store, path, now=Clock().seconds, log=log)
        assert store.ledgers["a"].dropped == {"not-stored": 1}


def test_what_cannot_be_noted_is_said_with_the_reason(tmp_path: Path, log: Any) -> None:
    note_given_up({"a": 1}, str(tmp_path / "gone"), log)
    assert log.lines == [
        "queue: gave up 1 message for a (not-stored), because nothing could be stored; "
        "that cannot be noted for the next start: No such file or directory"
    ]
