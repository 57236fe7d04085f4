"""All questions about the queue by name, for the control socket of a running relay as for
a queue whose relay is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from relay.queue.books import Books
from relay.queue.history_reading import ReadHistory, check_history, read_history
from relay.queue.inspection import (
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

__all__ = ["READINGS", "Reading"]


class Reading(NamedTuple):
    """A question about the queue, and how it is answered."""

    arguments: type[msgspec.Struct]
    function: Callable[[Books, Any], Any]


READINGS: Mapping[str, Reading] = {
    "queue-accounts": Reading(Nothing, accounts),
    "queue-read": Reading(Read, read),
    "queue-check": Reading(Check, check),
    "quarantine-read": Reading(ReadEntries, read_entries),
    "quarantine-tally": Reading(ReadEntries, tally),
    "history-read": Reading(ReadHistory, read_history),
    "history-check": Reading(Check, check_history),
}
