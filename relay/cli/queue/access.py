"""Access to a queue: through a running relay, or in its files while none runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from relay.cli.control_client import AskFailed, NoRelay, ask
from relay.cli.where import Where
from relay.model.text import Document, printable
from relay.queue.inspect.commands import TakenOut
from relay.queue.inspect.queries import (
    QUERIES,
    Account,
    Checked,
    EntryPage,
    Nothing,
    Page,
    Period,
    Read,
    Record,
)
from relay.queue.store import QueueStore
from relay.queue.transaction import is_of_source
from relay.rewrite.forms.record_key import split_key
from relay.rewrite.forms.token import redacted

_ANSWER_SECONDS_MAX = 40.0

ALWAYS = Period()

_T = TypeVar("_T")
_Paged = TypeVar("_Paged", Checked, EntryPage, TakenOut)
_NOTHING = Nothing()


class _Live:
    """A running relay; only this can change a queue."""

    live = True

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir

    @property
    def status(self) -> Document:
        document: Document = ask(self._state_dir, "status")
        return document

    @property
    def used_bytes(self) -> int:
        """Bytes of the file in use by queues, quarantines and histories."""
        admission = self.status["admission"]
        return int(admission["queue_bytes"]) + int(admission["history_bytes"])

    @property
    def failure(self) -> str:
        """Why admission is closed by a failure; empty while it is open."""
        admission = self.status["admission"]
        if admission.get("since") is None:  # closed for another reason, or open
            return ""
        return f"{admission['reason']} (since {stamp(admission['since'])})"

    @property
    def refusing(self) -> Mapping[str, str]:
        """States of destinations whose upstream refuses every record, by id."""
        reports = self.status["destinations"]
        return {each["id"]: each["state"] for each in reports if each.get("refuses_everything")}

    def ask(self, command: str, kind: type[_T], arguments: msgspec.Struct = _NOTHING) -> _T:
        """Raises AskFailed or QueueError with a readable text."""
        given = msgspec.to_builtins(arguments)
        answer = ask(self._state_dir, command, given, seconds_max=_ANSWER_SECONDS_MAX)
        try:
            return msgspec.convert(answer, type=kind)
        except msgspec.ValidationError as error:
            raise AskFailed(f"the relay is of another version: {error}") from error


class _Stopped:
    """The files of a relay that does not run."""

    live = False
    failure = ""
    refusing: Mapping[str, str] = {}

    def __init__(self, store: QueueStore) -> None:
        self._store = store

    @property
    def used_bytes(self) -> int:
        return self._store.used_bytes + self._store.histories.used_bytes

    def ask(self, command: str, kind: type[_T], arguments: msgspec.Struct = _NOTHING) -> _T:
        if command not in QUERIES:
            raise AskFailed("no relay is running, and only a running relay can do that")
        _, function = QUERIES[command]
        answer: _T = self._store.look(lambda view: function(view, arguments))
        return answer


Access: TypeAlias = _Live | _Stopped


@contextmanager
def opened(where: Where) -> Iterator[Access]:
    """The running relay with this state directory, or else its queue, read-only.

    Raises:
        AskFailed: Neither can be reached.
        QueueError: The queue cannot be read.
    """
    try:
        ask(where.state_dir, "status")  # from memory, so it fails at once if no relay answers
    except NoRelay as error:
        if not os.path.isdir(where.queue_path):
            raise AskFailed(f"{error}; and there is no queue {where.queue_path}") from error
        with stopped(where.queue_path) as access:
            yield access
    else:
        yield _Live(where.state_dir)


@contextmanager
def stopped(path: str) -> Iterator[Access]:
    """The queue in the directory `path`, with which no relay works.

    Raises:
        QueueError: It cannot be read.
    """
    store = QueueStore.open_read_only(path)
    try:
        yield _Stopped(store)
    finally:
        store.close()


def accounts(access: Access, *, sources: bool = False) -> dict[str, Account]:
    """The accounts of destinations and orphans, and of `sources`, by id."""
    found = access.ask("queue-accounts", list[Account])
    return {each.id: each for each in found if sources or not is_of_source(each.id)}


def pages(
    access: Access, command: str, kind: type[_Paged], wanted: msgspec.Struct
) -> Iterator[_Paged]:
    """The answers to `wanted`, each from where the one before it ended."""
    while True:
        page = access.ask(command, kind, wanted)
        yield page
        if not page.next_seq:
            return
        wanted = replace(wanted, start=page.next_seq)


def records(
    access: Access,
    queue: str,
    *,
    start: int = 0,
    stop: int | None = None,
    period: Period = ALWAYS,
    history: bool = False,
) -> Iterator[Record]:
    """The records of a queue, page by page, to before `stop` or where it ended at first.

    Those of damaged blocks are among them, whatever the period.

    Args:
        history: Those that were delivered, instead of those that wait.
    """
    while True:
        page = page_of(access, queue, start=start, period=period, history=history)
        stop = page.end_seq if stop is None else stop
        for record in page.records:
            if record.seq >= stop:
                return
            if history or record.damaged or not period.to or record.at < period.to:
                yield record
        if page.next_seq >= stop:
            return
        start = page.next_seq


def page_of(
    access: Access,
    queue: str,
    *,
    start: int = 0,
    period: Period = ALWAYS,
    history: bool = False,
    records_max: int = 1000,
) -> Page:
    """A page of a queue, or of its history."""
    wanted = Read(queue, start, period, records_max)
    return access.ask("history-read" if history else "queue-read", Page, wanted)


def stamp(at: float) -> str:
    """A time in UTC, as in ``2026-10-01T22:14:15.003Z``."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def key_and_text(record: bytes, secrets: list[bytes]) -> tuple[dict[str, str], str]:
    """The key of a record under ``key``, if it has one, and the text of its payload."""
    key, payload = split_key(record)
    return {} if key is None else {"key": text_of(key, secrets)}, text_of(payload, secrets)


def text_of(payload: bytes, secrets: list[bytes]) -> str:
    """A payload on one line: tokens are redacted, control characters escaped."""
    return printable(redacted(payload, secrets), length_max=None)
