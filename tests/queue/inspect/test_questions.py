from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from relay.queue.inspect.questions import QUESTIONS
from tests.queue_files import append, kept, opened, remove


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_each_is_answered_in_what_is_fit_for_json(tmp_path: Path, name: str) -> None:
    given = {"queue": "a"} if name.startswith(("queue", "history")) else {"account": "a"}
    question = QUESTIONS[name]
    arguments = msgspec.convert({} if name == "queue-accounts" else given, type=question.arguments)
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[b"1", b"2"])
        remove(store, "a", 2)
        found = store.look(lambda books: question.function(books, arguments))
    assert msgspec.json.decode(msgspec.json.encode(found))
