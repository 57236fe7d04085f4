"""All questions about the queue by name, for the control socket of a running relay as for
a queue whose relay is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from relay.queue.books import Books
from relay.queue.inspect.history import ReadHistory, check_history, read_history
from relay.queue.inspect.queries import (
    Check,
    Nothing,
    Read,
    ReadEntries,
    accounts,
    check,
    read,
    read_entries,
    tally,
)

__all__ = ["QUESTIONS", "Question"]


class Question(NamedTuple):
    """A question about the queue, and how it is answered."""

    arguments: type[msgspec.Struct]
    function: Callable[[Books, Any], Any]


QUESTIONS: Mapping[str, Question] = {
    "queue-accounts": Question(Nothing, accounts),
    "queue-read": Question(Read, read),
    "queue-check": Question(Check, check),
    "quarantine-read": Question(ReadEntries, read_entries),
    "quarantine-tally": Question(ReadEntries, tally),
    "history-read": Question(ReadHistory, read_history),
    "history-check": Question(Check, check_history),
}
