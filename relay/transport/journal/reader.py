"""systemd's journal as a source: read by journalctl, resumed from a cursor.

    last ──▶ backlog ──▶ follow        the runs of journalctl, see `journalctl.py`
               ▲            │
               └── pause ◀──┘          whatever ends a run

The cursor of a batch's last entry is stored in the transaction of the batch, so a
crash neither loses nor repeats an entry on its way to the queue.  Reading pauses
while admission is closed and while too many batches wait for their commit; journald
keeps what is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.flow.intake import Intake
from relay.model.clock import Reactor
from relay.model.origin import Origin
from relay.transport.connections import Timers
from relay.transport.journal.journalctl import ENVIRONMENT, Journalctl, Run, Selection
from relay.transport.reception import OversizePolicy, Reception
from relay.wire.journal_export import JournalEntry, JournalExportDecoder

CURSOR = "cursor"
"""Name of the stored position of a journal source."""

_USABLE_CURSOR = re.compile(rb"[!-~]{1,400}")  # shorter than any frame_bytes_max: never cut
_HEADER_BYTES = 65536  # for all fields of an entry beside MESSAGE
_BATCHES_MAX = 64  # that wait for their commit; a batch is what one read gave, 8 KiB or so


class JournalReader:
    """Reads the journal for one source.

    Args:
        selection: Which entries and fields to read.
        format: Makes a message of an entry; empty if the entry has none.
        from_beginning: Where to begin without a cursor; otherwise with new entries.
        retry_seconds: The pause after the n-th failure in a row, n from 0 on.
        find_program: Gives the path of journalctl, or None.
        reactor: Provides IReactorTime and IReactorProcess.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        selection: Selection,
        format: Callable[[JournalEntry], bytes],
        oversize: OversizePolicy,
        from_beginning: bool,
        retry_seconds: Callable[[int], float],
        find_program: Callable[[], str | None],
        reactor: Reactor,
    ) -> None:
        self.starts = 0
        """Runs of journalctl so far."""
        self.gaps = 0
        """How often the entry where reading had stopped was no longer in the journal."""
        self._reception = reception
        self._intake: Intake = reception.intake
        self._selection = selection
        self._format = format
        self._oversize = oversize
        self._from_beginning = from_beginning
        self._retry_seconds = retry_seconds
        self._find_program = find_program
        self._reactor = reactor
        self._origin = Origin(source=reception.source, transport=reception.transport)
        self._cursor = b""  # of the last entry that was taken
        self._child: Journalctl | None = None
        self._run: Run = "backlog"
        self._decoder = self._new_decoder()
        self._is_first = True  # this run has delivered no entry yet
        self._why = ""  # why this reader ends the run
        self._trouble = ""
        self._failures = 0
        self._timers = Timers(reactor)
        self._retry_at = 0.0
        self._pauses: set[str] = set()
        self._waiting = 0  # batches without their commit
        self._stopping = False
        self._ended: Deferred[None] | None = None  # the stop waits for the child

    # For the service.

    @property
    def is_reading(self) -> bool:
        return self._child is not None

    @property
    def state(self) -> str:
        """The state of the reader as text."""
        if self._stopping:
            return self._trouble or "stopped"
        if self._child is None:
            seconds = max(0.0, self._retry_at - self._reactor.seconds())
            return f"{self._trouble}; next try in {seconds:.0f} s" if self._trouble else "starting"
        paused = ", paused" if self._pauses else ""
        return ("follows the journal" if self._run == "follow" else "catches up") + paused

    def start(self, cursor: bytes, *, is_lost: bool = False) -> None:
        """Begin after the entry that `cursor` names; empty = there is none.

        Args:
            is_lost: There was a cursor, but it is unknown: read everything.
        """
        self._cursor = cursor
        self._from_beginning = self._from_beginning or is_lost
        self._reception.admission.register(self)
        # A child process needs the signal handlers that a running reactor installs.
        self._timers.set("begin", 0, self._begin)

    def stop(self) -> Deferred[None]:
        """Stop reading; fires when the child process has ended."""
        self._stopping = True
        self._reception.admission.unregister(self)
        self._timers.cancel_all()
        if self._child is None:
            return succeed(None)
        self._ended = Deferred()
        self._child.end()
        return self._ended

    # Called by admission.

    def pause_reading(self) -> None:
        self._reception.counters.pauses += 1
        self._pause("admission")

    def resume_reading(self) -> None:
        self._resume("admission")

    # Called by the child process.

    def _take(self, chunk: bytes) -> None:
        if self._stopping or self._why:
            return
        entries = self._decoder.feed(chunk)
        if entries:
            self._take_entries(entries)
        if self._decoder.error is not None:
            self._give_up(f"journalctl output is not in export format: {self._decoder.error}")

    def _child_ended(self, succeeded: bool, why: str) -> None:
        self._child = None
        if self._ended is not None:
            self._ended.callback(None)
        if self._stopping:
            return
        if succeeded and not self._why and self._run != "follow":
            if self._run == "last" and self._is_first:
                self._from_beginning = True  # the journal was empty: every entry is new
            if self._run == "backlog" and self._cursor and self._is_first:
                self._gap("the journal is empty now, or matches were changed")
            self._start_run("follow")
            return
        if self._cursor and self._is_first and "cursor" in why:
            self._cursor = b""
            self._gap(f"its cursor is unusable ({why}); reading starts over")
        self._failed(self._why or why)

    # Runs.

    def _begin(self) -> None:
        self._start_run("backlog" if self._cursor or self._from_beginning else "last")

    def _start_run(self, run: Run) -> None:
        program = self._find_program()
        if program is None:
            self._failed("there is no journalctl in PATH, /usr/bin or /bin; install systemd")
            return
        self._run = run
        self._why = ""
        self._is_first = True
        self._decoder = self._new_decoder()
        child = Journalctl(self._take, self._child_ended, clock=self._reactor)
        arguments = self._selection.arguments(run, self._cursor)
        try:
            self._reactor.spawnProcess(child, program, [program, *arguments], env=ENVIRONMENT)
        except OSError as error:
            self._failed(f"cannot start {program}: {error.strerror}")
            return
        self.starts += 1
        self._child = child
        if self._pauses:
            child.pause()

    def _failed(self, why: str) -> None:
        seconds = self._retry_seconds(self._failures)
        self._failures += 1
        self._trouble = why
        self._retry_at = self._reactor.seconds() + seconds
        self._timers.set("begin", seconds, self._begin)
        self._reception.warn("journalctl", f"{why}; next try in {seconds:.0f} s")

    def _give_up(self, why: str) -> None:
        """End this run because of `why`."""
        self._reception.counters.protocol_errors += 1
        self._why = why
        if self._child is not None:
            self._child.end()

    def _new_decoder(self) -> JournalExportDecoder:
        return JournalExportDecoder(
            field_bytes_max=self._oversize.frame_bytes_max,
            entry_bytes_max=self._oversize.frame_bytes_max + _HEADER_BYTES,
        )

    # Entries.

    def _take_entries(self, entries: list[JournalEntry]) -> None:
        if self._is_first:
            self._is_first = False
            if self._cursor:
                if _cursor_of(entries[0]) == self._cursor:
                    del entries[0]
                elif self._run == "backlog":
                    self._gap("it was removed from the journal, or matches were changed")
            if not entries:
                return
        cursor = _cursor_of(entries[-1])
        if not _USABLE_CURSOR.fullmatch(cursor):
            self._give_up(f"journalctl wrote an entry with the cursor {cursor[:40]!r}")
            return
        frames, cut = self._frames([] if self._run == "last" else entries)
        self._cursor = cursor
        self._failures = 0
        self._waiting += 1
        if self._waiting >= _BATCHES_MAX:
            self._pause("commits")
        stored = self._intake.accept(
            frames, self._origin, cut=cut, positions={f"{self._reception.source}/{CURSOR}": cursor}
        )
        stored.addCallbacks(self._stored, self._not_stored)

    def _frames(self, entries: list[JournalEntry]) -> tuple[Sequence[bytes], Mapping[int, int]]:
        """The messages of `entries`, and the whole length in bytes of each that is too long."""
        limit = self._oversize.frame_bytes_max
        frames = [self._format(entry) for entry in entries]
        lengths = [
            len(frame) + _bytes_lost(entry) for frame, entry in zip(frames, entries, strict=True)
        ]
        cut = {index: length for index, length in enumerate(lengths) if length > limit}
        if not cut:
            return frames, cut
        settled = self._oversize.settle([frame[:limit] for frame in frames], cut, {})
        self._reception.warn(settled.kind, settled.text)
        return settled.frames, settled.cut

    def _stored(self, _: None) -> None:
        self._waiting -= 1
        if self._waiting <= _BATCHES_MAX // 2:
            self._resume("commits")

    def _not_stored(self, failure: Failure) -> None:
        # The queue is closed for good: the relay stops.  The cursor stays where it was.
        self._trouble = f"not stored, to be read again: {failure.getErrorMessage()}"
        self._reception.warn("not-stored", self._trouble)
        if not self._stopping:
            self._stopping = True
            if self._child is not None:
                self._child.end()

    def _gap(self, why: str) -> None:
        self.gaps += 1
        self._reception.warn(
            "gap", f"the entry where reading stopped is not in the journal: {why}; some may be lost"
        )

    # Pausing.

    def _pause(self, reason: str) -> None:
        if not self._pauses and self._child is not None:
            self._child.pause()
        self._pauses.add(reason)

    def _resume(self, reason: str) -> None:
        if reason in self._pauses:
            self._pauses.discard(reason)
            ending = self._stopping or self._why
            if not self._pauses and self._child is not None and not ending:
                self._child.resume()


def _cursor_of(entry: JournalEntry) -> bytes:
    return dict(reversed(entry.fields)).get(b"__CURSOR", b"")


def _bytes_lost(entry: JournalEntry) -> int:
    """How much of the message the decoder has cut, which limits fields."""
    length = entry.cut.get(b"MESSAGE")
    return 0 if length is None else length - len(dict(reversed(entry.fields))[b"MESSAGE"])
