"""Files as a source: lines that programs append, through rotations and restarts.

Once a second the files that match are looked for and looked at.  What has grown is
read in turns, a little of each file at a time; a file whose lines wait for their
commit is not read on.  How far it was read is stored in the transaction that stores
the lines, so that neither a crash nor a failure loses a line or repeats it.

A file is its inode, not its name: one that was renamed or deleted is read to its
end, and a while longer for programs that have not yet noticed.

All of this happens in the reactor's thread.  A local disk answers at once; a network
file system whose server is away stops the relay until it is back.
"""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.python.failure import Failure

from relay.flow.intake import Intake
from relay.model.clock import Clock, DelayedCall, WallClock
from relay.model.counters import SourceCounters
from relay.model.errors import QueueError
from relay.model.words import counted
from relay.queue.admission.backpressure import SourceAdmission
from relay.transport.descriptors import (
    DESCRIPTORS_RESERVED,
    descriptors_left,
    descriptors_limit,
)
from relay.transport.files.delivery import FileDelivery, NewFrames
from relay.transport.files.positions import FilePositions
from relay.transport.files.search import (
    FileSearch,
    Identity,
    identity_of,
    path_in_words,
    unreadable,
)
from relay.transport.files.tailed_file import (
    CHUNK_BYTES,
    NewDecoder,
    TailedFile,
    fits,
    start_of_last_line,
)
from relay.transport.notices import Notices
from relay.wire.file_position import FilePosition
from relay.wire.framing.lines import Lines

__all__ = ["FileLimits", "FileReader"]

_POLL_SECONDS = 1.0
_SEARCH_SHARE = 20  # searching takes at most this part of the time
_TURN_FILES = 4  # read before other sockets get their turn
_RENAMED_SECONDS = 60.0  # of silence, after which a renamed file is closed
_DELETED_SECONDS = 5.0
_TIDY_SECONDS = 3600.0
_SHOWN_MAX = 10
_DESCRIPTORS_LEFT_MIN = 2 * DESCRIPTORS_RESERVED  # half of them for connections


@dataclass(frozen=True, slots=True)
class FileLimits:
    files_max: int
    """More that match are not read; as many again may be read to their end."""
    drop_long: bool = False
    """Drop lines above the decoder's limit instead of cutting them."""
    follow_symlinks: bool = False
    """Read files that links out of the searched directory lead to."""
    silence_seconds_max: float = 5.0
    """How long a message waits for its next line."""


class FileReader:
    """Reads the files of one source.

    Args:
        path: Absolute, with wildcards.
        stored: Positions as in the queue, by name.
        from_end: At the first use of the source, skip what is already there.
    """

    def __init__(
        self,
        *,
        source: str,
        path: str,
        stored: Mapping[str, bytes],
        from_end: bool,
        limits: FileLimits,
        new_decoder: NewDecoder,
        new_frames: NewFrames,
        intake: Intake,
        admission: SourceAdmission,
        counters: SourceCounters,
        notices: Notices,
        wall: WallClock,
        clock: Clock,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._source = source
        self._search = FileSearch(path, follow_symlinks=limits.follow_symlinks)
        self._positions = FilePositions(stored)
        self._from_end = from_end
        self._limits = limits
        self._new_decoder = new_decoder
        self._delivery = FileDelivery(
            source=source,
            new_frames=new_frames,
            drop_long=limits.drop_long,
            intake=intake,
            counters=counters,
            notices=notices,
            now=wall.now,
        )
        self._admission = admission
        self._counters = counters
        self._notices = notices
        self._wall = wall
        self._clock = clock
        self._say = say
        self._files: dict[Identity, TailedFile] = {}
        self._ready: deque[TailedFile] = deque()
        self._refused = 0
        self._failed_paths: set[str] = set()  # since the last search
        self._unreadable = 0
        self._next_search = self._next_tidy = 0.0
        self._is_paused = False
        self._is_stopped = False
        self._poll_call: DelayedCall | None = None
        self._turn_call: DelayedCall | None = None

    def start(self) -> None:
        """Find the files, and begin to read."""
        self._admission.register(self)
        self._open_moved()
        self._poll()

    def stop(self) -> None:
        """Read nothing more.  What waits for its commit gets it."""
        self._is_stopped = True
        self._admission.unregister(self)
        for call in (self._poll_call, self._turn_call):
            if call is not None and call.active():
                call.cancel()
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._ready.clear()

    def pause_reading(self) -> None:
        self._counters.pauses += 1
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._schedule()

    def report(self) -> dict[str, Any]:
        """What is read, and how much of it is not yet on our disk."""
        files = self._files.values()
        worst = heapq.nlargest(_SHOWN_MAX, files, key=lambda file: file.behind_bytes)
        return {
            "files_open": len(files),
            "files_refused": self._refused,
            "files_unreadable": self._unreadable,
            "behind_bytes": sum(file.behind_bytes for file in files),
            "files_behind": [
                {"path": path_in_words(file.path), "behind_bytes": file.behind_bytes}
                for file in worst
                if file.behind_bytes
            ],
        }

    # Once a second: which files there are.

    def _poll(self) -> None:
        self._poll_call = self._clock.callLater(_POLL_SECONDS, self._poll)
        now = self._clock.seconds()
        if now >= self._next_search:
            self._look_for_files(now)
            self._next_search = now + _SEARCH_SHARE * (self._clock.seconds() - now)
        if now >= self._next_tidy:
            self._next_tidy = now + _TIDY_SECONDS
            self._delivery.store(self._positions.tidy(self._names(), self._wall))
        for file in list(self._files.values()):
            if not file.is_busy and not file.is_queued and self._is_due(file):
                self._enqueue(file)

    def _is_due(self, file: TailedFile) -> bool:
        try:
            changed = file.has_changed()
        except OSError as error:
            self._drop(file, error)
            return False
        return changed or file.decoder.waiting or file.gone_since is not None

    def _look_for_files(self, now: float) -> None:
        found = self._search.run()
        for path, words in found.problems:
            self._warn_of(path, "unreadable", words)
        changes: dict[str, bytes] = {}
        refused = lacking = 0
        for identity, file in self._files.items():
            if identity in found.files:
                file.gone_since = None
            elif file.gone_since is None:
                file.gone_since = now
        there = sum(file.gone_since is None for file in self._files.values())
        for identity, path in found.files.items():
            if identity in self._files:
                continue
            if max(there, len(self._files) - self._limits.files_max) >= self._limits.files_max:
                refused += 1
            elif descriptors_left() < _DESCRIPTORS_LEFT_MIN:
                lacking += 1
            elif self._open(path, changes):
                there += 1
        self._refused = refused + lacking
        self._unreadable = found.errors + len(self._failed_paths)
        self._failed_paths.clear()
        if refused:
            why = f"more match than files_max ({self._limits.files_max:,})"
            self._warn("files_max", f"{counted(refused, 'file')} not read: {why}")
        if lacking:
            self._warn(
                "descriptors",
                f"{counted(lacking, 'file')} not read: {descriptors_left()} of "
                f"{descriptors_limit():,} file descriptors are left, for connections and what the "
                "relay itself opens; raise LimitNOFILE= of the unit or ulimit -n, or lower "
                "files_max",
            )
        if self._positions.is_first_use:
            self._positions.is_first_use = False
            changes.update(self._positions.mark())
        self._delivery.store(changes)

    def _open(self, path: str, changes: dict[str, bytes]) -> bool:
        """Open a file that was found; `changes` gets what is to be stored of it."""
        try:
            fd = self._search.open(path)
        except OSError as error:
            self._failed(path, error)
            return False
        try:
            identity = identity_of(os.fstat(fd))
            if identity in self._files:  # it was renamed since it was found
                os.close(fd)
                return False
            known = self._positions.find(identity, path)
            offset = self._offset(fd, path, known)
            file = self._follow(fd, path, offset)
        except OSError as error:
            os.close(fd)
            self._failed(path, error)
            return False
        position = file.position()
        self._rename(known or position._replace(offset=-1), position, changes)
        return True

    def _offset(self, fd: int, path: str, known: FilePosition | None) -> int:
        if known is None:
            is_old = self._from_end and self._positions.is_first_use
            return start_of_last_line(fd, self._new_decoder) if is_old else 0
        if fits(fd, known):
            return known.offset
        if not self._next_search:  # later a new file is nothing to speak of
            text = "is not the file that was read before: reading from its start"
            self._say(f"{path_in_words(path)} {text}")
        return 0

    def _open_moved(self) -> None:
        """Read to the end what was renamed while nobody looked, if it does not match now."""
        changes: dict[str, bytes] = {}
        found = self._search.run().files
        for position, path in self._positions.moved(set(found.values())):
            is_full = len(self._files) >= self._limits.files_max
            if is_full or descriptors_left() < _DESCRIPTORS_LEFT_MIN:
                break  # the next start finds the others
            try:
                fd = self._search.open(path)
            except OSError:
                continue  # whatever has its inode, it is not ours to read
            try:
                status = os.fstat(fd)
                identity = identity_of(status)
                has_more = status.st_size > position.offset and fits(fd, position)
                if not has_more or identity in self._files or identity in found:
                    os.close(fd)
                    continue
                file = self._follow(fd, position.path, position.offset)
            except OSError as error:
                os.close(fd)
                self._warn_of(path, "unreadable", unreadable(error))
                continue
            file.gone_since = self._clock.seconds()
            self._say(
                f"{path_in_words(path)} was {path_in_words(position.path)}: reading the rest of it"
            )
            self._rename(position, file.position(), changes)
        self._delivery.store(changes)

    def _rename(
        self, known: FilePosition, position: FilePosition, changes: dict[str, bytes]
    ) -> None:
        """Store `position` of a file instead of `known`, if they differ."""
        if known.name != position.name:
            self._positions.forget(known.name)
            changes[known.name] = b""
        if known != position:
            self._positions.note(position)
            changes[position.name] = position.encode()

    def _follow(self, fd: int, path: str, offset: int) -> TailedFile:
        now = self._clock.seconds()
        file = TailedFile(fd, path=path, offset=offset, new_decoder=self._new_decoder, now=now)
        self._files[file.identity] = file
        return file

    def _names(self) -> set[str]:
        return {FilePosition("", *identity, 0).name for identity in self._files}

    # In turns: what is in them.

    def _enqueue(self, file: TailedFile) -> None:
        file.is_queued = True
        self._ready.append(file)
        self._schedule()

    def _schedule(self) -> None:
        if self._ready and not self._is_paused and self._turn_call is None:
            self._turn_call = self._clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn_call = None
        for _ in range(min(_TURN_FILES, len(self._ready))):
            if self._is_paused:
                return
            file = self._ready.popleft()
            file.is_queued = False
            try:
                self._advance(file)
            except OSError as error:
                self._drop(file, error)
        self._schedule()

    def _advance(self, file: TailedFile) -> None:
        """Do the next thing that there is to do with `file`."""
        now = self._clock.seconds()
        if file.was_truncated():
            self._say(f"{path_in_words(file.path)} was truncated: reading from its start")
            rest = file.decoder.finish()
            file.begin_again()
            self._hand_over(file, rest)
            return
        chunk = file.read()
        if chunk:
            file.grown_at = now
            lines = file.decoder.feed(chunk)
            if lines.frames:
                self._hand_over(file, lines)
            elif len(chunk) == CHUNK_BYTES:
                self._enqueue(file)
            return
        silence = now - file.grown_at
        if file.decoder.waiting and silence >= self._limits.silence_seconds_max:
            self._hand_over(file, file.decoder.flush())
        elif file.gone_since is not None:
            patience = _DELETED_SECONDS if file.is_deleted else _RENAMED_SECONDS
            if min(silence, now - file.gone_since) >= patience:
                file.is_ending = True
                self._hand_over(file, file.decoder.finish())

    def _hand_over(self, file: TailedFile, lines: Lines) -> None:
        position = file.position()
        forgotten = file.is_ending and file.is_deleted
        file.is_busy = True
        self._delivery.hand_over(
            file.path, lines, {position.name: b"" if forgotten else position.encode()}
        ).addCallbacks(
            lambda _: self._stored(file, position),
            lambda failure: self._not_stored(failure, file),
        )

    def _stored(self, file: TailedFile, position: FilePosition) -> None:
        file.is_busy = False
        file.stored = position.offset
        if self._is_stopped:
            return
        if not file.is_ending:
            self._positions.note(position)
            self._enqueue(file)
            return
        if file.is_deleted:
            self._positions.forget(position.name)
        else:
            self._positions.note(position)
        self._close(file)

    def _not_stored(self, failure: Failure, file: TailedFile) -> None:
        failure.trap(QueueError)
        if self._is_stopped:
            return
        text = f"{failure.getErrorMessage()}; it will be read again from the last stored position"
        self._warn_of(file.path, "not-stored", text)
        self._close(file)

    def _drop(self, file: TailedFile, error: OSError) -> None:
        """Close a file that cannot be read; the next search finds it again."""
        self._failed(file.path, error)
        self._close(file)

    def _failed(self, path: str, error: OSError) -> None:
        self._failed_paths.add(path)
        self._warn_of(path, "unreadable", unreadable(error))

    def _close(self, file: TailedFile) -> None:
        if self._files.pop(file.identity, None) is not None:
            file.close()

    def _warn_of(self, path: str, kind: str, text: str) -> None:
        """Warn, with an interval of its own for each path."""
        self._warn(kind, f"{path_in_words(path)}: {text}", group=f"source {self._source}, {path}")

    def _warn(self, kind: str, text: str, *, group: str | None = None) -> None:
        self._notices.warn(f"source {self._source}", kind, text, group=group)
