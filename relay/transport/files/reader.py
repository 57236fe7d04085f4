"""Files as a source: lines that programs append, through rotations and restarts.

Once a second the reader searches for matching files and checks them for changes.  Files that
have grown are read in turns, a chunk at a time; a file whose lines wait for their commit is
not read further.  The position is stored in the transaction that stores the lines, so that
neither a crash nor a failure loses or repeats a line.

A file is its inode, not its name: one that was renamed or deleted is read to its
end, and a while longer for programs that have not yet noticed.

All of this happens in the reactor's thread.  A local disk answers at once; a network
file system whose server is away stops the relay until it is back.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from twisted.python.failure import Failure

from relay.flow.intake import Intake
from relay.model.clock import Clock, WallClock
from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.model.text import Document
from relay.transport.connections import Timers
from relay.transport.files.followed import FileOptions, FollowedFiles
from relay.transport.files.positions import FilePositions
from relay.transport.files.search import printable_path
from relay.transport.files.tailed_file import CHUNK_BYTES, TailedFile
from relay.transport.reception import OversizePolicy, Reception
from relay.wire.file_position import FilePosition
from relay.wire.framing.lines import Lines

_POLL_SECONDS = 1.0
_TURN_FILES = 4  # read before other sockets get their turn
_RENAMED_SECONDS = 60.0  # of silence, after which a renamed file is closed
_DELETED_SECONDS = 5.0
_TIDY_SECONDS = 3600.0


class FileReader:
    """Reads the files of one source.

    Args:
        stored: Positions as in the queue, by name.
        say: Logs a line of information.
    """

    def __init__(
        self,
        reception: Reception,
        options: FileOptions,
        *,
        oversize: OversizePolicy,
        stored: Mapping[str, bytes],
        wall: WallClock,
        clock: Clock,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._options = options
        self._reception = reception
        self._intake: Intake = reception.intake
        self._origin = Origin(source=reception.source, transport=reception.transport)
        self._oversize = oversize
        self._wall = wall
        self._clock = clock
        self._say = say
        self._positions = FilePositions(stored)
        self._files = FollowedFiles(
            options, positions=self._positions, reception=reception, clock=clock, say=say
        )
        self._ready: deque[TailedFile] = deque()
        self._next_tidy = 0.0
        self._is_paused = False
        self._is_stopped = False
        self._timers = Timers(clock)

    def start(self) -> None:
        """Find the files, and begin to read."""
        self._reception.admission.register(self)
        self._store(self._files.open_renamed())
        self._poll()

    def stop(self) -> None:
        """Stop reading.  Lines that wait for their commit are still stored."""
        self._is_stopped = True
        self._reception.admission.unregister(self)
        self._timers.cancel_all()
        self._files.close_all()
        self._ready.clear()

    def pause_reading(self) -> None:
        self._reception.counters.pauses += 1
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._schedule()

    def report(self) -> Document:
        return self._files.report()

    def _poll(self) -> None:
        """Once a second: search for files, and queue those that have changed."""
        self._timers.set("poll", _POLL_SECONDS, self._poll)
        self._store(self._files.search())
        now = self._clock.seconds()
        if now >= self._next_tidy:
            self._next_tidy = now + _TIDY_SECONDS
            self._store(self._positions.tidy(self._files.names, self._wall))
        for file in self._files:
            if not file.is_busy and not file.is_queued and self._is_due(file):
                self._enqueue(file)

    def _is_due(self, file: TailedFile) -> bool:
        try:
            changed = file.has_changed()
        except OSError as error:
            self._files.failed(file, error)
            return False
        return changed or file.decoder.waiting or file.gone_since is not None

    def _enqueue(self, file: TailedFile) -> None:
        file.is_queued = True
        self._ready.append(file)
        self._schedule()

    def _schedule(self) -> None:
        if self._ready and not self._is_paused and "turn" not in self._timers:
            self._timers.set("turn", 0, self._take_turn)

    def _take_turn(self) -> None:
        for _ in range(min(_TURN_FILES, len(self._ready))):
            if self._is_paused:
                return
            file = self._ready.popleft()
            file.is_queued = False
            try:
                self._advance(file)
            except OSError as error:
                self._files.failed(file, error)
        self._schedule()

    def _advance(self, file: TailedFile) -> None:
        """Perform the next step of `file`: restart, read, flush or close."""
        now = self._clock.seconds()
        if file.was_truncated():
            self._say(f"{printable_path(file.path)} was truncated: reading from its start")
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
        if file.decoder.waiting and silence >= self._options.silence_seconds_max:
            self._hand_over(file, file.decoder.flush())
        elif file.gone_since is not None:
            patience = _DELETED_SECONDS if file.is_deleted else _RENAMED_SECONDS
            if min(silence, now - file.gone_since) >= patience:
                file.is_ending = True
                self._hand_over(file, file.decoder.finish())

    def _hand_over(self, file: TailedFile, lines: Lines) -> None:
        """Store `lines` of `file`, and with them how far it was read."""
        position = file.position()
        forgotten = file.is_ending and file.is_deleted
        file.is_busy = True
        frames: Sequence[bytes] = lines.frames
        if self._options.line_format is not None:
            path = os.fsencode(file.path)
            frames = self._options.line_format.frames(
                lines.frames, path=path, read_at=self._wall.now()
            )
        cut: Mapping[int, int] = lines.long
        if cut:
            frames, cut, _, kind, text = self._oversize.settle(frames, cut, {})
            self._files.warn_of(file.path, kind, text)
        positions = self._keyed({position.name: b"" if forgotten else position.encode()})
        self._intake.accept(
            frames, self._origin, cut=cut or None, positions=positions
        ).addCallbacks(
            lambda _: self._stored(file, position),
            lambda failure: self._not_stored(failure, file),
        )

    def _store(self, positions: Mapping[str, bytes]) -> None:
        """Store positions without lines."""
        if positions:
            stored = self._intake.accept([], self._origin, positions=self._keyed(positions))
            stored.addErrback(_position_lost)

    def _keyed(self, positions: Mapping[str, bytes]) -> dict[str, bytes]:
        return {f"{self._reception.source}/{name}": data for name, data in positions.items()}

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
        self._files.close(file)

    def _not_stored(self, failure: Failure, file: TailedFile) -> None:
        failure.trap(QueueError)
        if self._is_stopped:
            return
        text = f"{failure.getErrorMessage()}; it will be read again from the last stored position"
        self._files.warn_of(file.path, "not-stored", text)
        self._files.close(file)


def _position_lost(failure: Failure) -> None:
    failure.trap(QueueError)  # the next start finds out again what it said
