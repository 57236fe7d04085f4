"""Search for messages in queues and quarantines, for the page.

A search goes on for a second at most, a page at a time, in the threads that read for the drains as
well; its answer says where the next one continues.  Text is looked for in what is shown: tokens
are masked first, so nobody finds one by trying its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred

from relay.model.clock import Clock
from relay.model.text import Document, printable
from relay.observe.taps import key_and_payload
from relay.observe.web.access import Denied
from relay.observe.web.server import JSON, Answer, Query
from relay.queue.inspect.queries import Read, ReadEntries, read, read_entries
from relay.queue.view import TransactionView
from relay.rewrite.forms.token import redacted
from relay.service.queue.view import QueueView

MATCHES_MAX = 50
_SECONDS_MAX = 1.0
_TEXT_LENGTH_MAX = 200
_SHOWN_MAX = 2000
_PAYLOAD_BYTES_MAX = 65536
_ENTRIES_MAX = 100
_SEARCHES_MAX = 2
_START_MAX = 2**63 - 1


@dataclass(slots=True)
class Found:
    """The result of one search."""

    matches: list[Document] = field(default_factory=list)
    looked_at: int = 0
    """How many messages were looked at."""
    next: int | None = None
    """Where the next search begins; None = nothing is left."""


@dataclass(eq=False, repr=False, kw_only=True)
class Search:
    """Answers ``/search?in=queue&of=ID&text=…&start=…``; `in` may be ``quarantine``.

    Attributes:
        secrets: Returns the known tokens, which are masked.
    """

    view: QueueView
    secrets: Callable[[], Collection[bytes]]
    clock: Clock
    _running: int = field(default=0, init=False)

    def answer(self, query: Query) -> Deferred[Answer]:
        """Raises `Denied` for parameters that do not fit, or if too many search."""
        asked = query.parameters
        text, start = asked.get("text", ""), asked.get("start", "0")
        place = {"queue": self._in_queue, "quarantine": self._in_quarantine}.get(
            asked.get("in", "")
        )
        if place is None:
            raise Denied(400, "search", "in: expected queue or quarantine")
        if len(text) > _TEXT_LENGTH_MAX:
            raise Denied(400, "search", f"text: has at most {_TEXT_LENGTH_MAX} characters")
        if not (start.isascii() and start.isdigit() and int(start[:20]) <= _START_MAX):
            raise Denied(400, "search", "start: expected the number that the last answer had")
        if self._running >= _SEARCHES_MAX:
            reason = "others are searching; try again in a moment"
            raise Denied(503, "search", reason, Retry_After="2")
        search = self._search(place, asked.get("of", ""), text, int(start))
        return ensureDeferred(search).addCallback(_encoded)

    async def _search(self, step: _Step, id: str, text: str, start: int) -> Found:
        """Pages, one at a time, until there is enough or the time is over."""
        found = Found(next=start)
        fits = self._test_of(text)
        until = self.clock.seconds() + _SECONDS_MAX
        self._running += 1
        try:
            while found.next is not None and len(found.matches) < MATCHES_MAX:
                await self.view.in_reader(partial(self._search_page, step, id, fits, found))
                if self.clock.seconds() >= until:
                    break
        finally:
            self._running -= 1
        return found

    def _search_page(self, step: _Step, id: str, fits: _Test, found: Found) -> None:
        """In a thread, which others wait for: a short transaction, and what it has read."""
        assert found.next is not None
        page = self.view.store.look(partial(_page, step, id, found.next))
        found.next = None
        for candidate in page:
            if len(found.matches) == MATCHES_MAX:
                found.next = candidate.seq
                return
            found.next = candidate.next
            found.looked_at += candidate.is_record
            if candidate.is_record and (shown := fits(candidate)) is not None:
                found.matches.append(shown)

    def _test_of(self, text: str) -> _Test:
        wanted, secrets = text.casefold(), self.secrets()
        # What is escaped where it is shown cannot be told from the bytes.
        plain = text.lower().encode() if text.isascii() and "\\" not in text else b""

        def fits(candidate: _Candidate) -> Document | None:
            if plain and plain not in candidate.payload.lower():
                return None
            key, payload = key_and_payload(candidate.payload)
            shown = printable(redacted(payload, secrets), length_max=None)
            if wanted not in shown.casefold():
                return None
            found = {"seq": candidate.seq, "at": candidate.at, "text": _cut(shown)}
            if key is not None:
                found["key"] = _cut(printable(redacted(key, secrets), length_max=None))
            return {**found, **candidate.notes}

        return fits

    def _in_queue(self, view: TransactionView, id: str, start: int) -> Iterator[_Candidate]:
        page = read(view, Read(id, start))
        for record in page.records:
            notes = {"reason": f"damaged: {record.damaged}"} if record.damaged else {}
            payload = record.payload
            yield _Candidate(record.seq, record.seq + 1, record.at, payload, notes)
        if page.next_seq < page.end_seq:
            yield _Candidate(page.next_seq, page.next_seq, is_record=False)
        elif page.records:
            yield _Candidate(page.end_seq, None, is_record=False)

    def _in_quarantine(self, view: TransactionView, id: str, start: int) -> Iterator[_Candidate]:
        wanted = ReadEntries(id, start, _ENTRIES_MAX, _PAYLOAD_BYTES_MAX)
        page = read_entries(view, wanted)
        for entry in page.entries:
            notes = {"reason": printable(entry.reason), "peer": printable(entry.peer)}
            yield _Candidate(entry.seq, entry.seq + 1, entry.at, entry.payload, notes)
        if page.entries or page.next_seq:
            yield _Candidate(page.next_seq, page.next_seq or None, is_record=False)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A message that may fit, or the end of a page."""

    seq: int
    next: int | None
    at: float = 0.0
    payload: bytes = b""
    notes: dict[str, str] = field(default_factory=dict)
    is_record: bool = True


_Test = Callable[[_Candidate], Document | None]
"""Returns what is shown of a message that fits."""
_Step = Callable[[TransactionView, str, int], Iterator[_Candidate]]
"""Reads a page of a queue or quarantine, from a number on."""


def _page(step: _Step, id: str, start: int, view: TransactionView) -> list[_Candidate]:
    return list(step(view, id, start))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _encoded(found: Found) -> Answer:
    return Answer(msgspec.json.encode(found), content_type=JSON)
