"""The files that a source reads: found by a path with wildcards, opened, and closed.

A file is its inode, not its name: one that was renamed or deleted stays open until it is
read to its end.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

from relay.model.clock import Clock
from relay.model.text import Document, counted
from relay.transport.connections import DESCRIPTORS_RESERVED, lack_of_descriptors
from relay.transport.files.positions import FilePositions
from relay.transport.files.search import (
    FileSearch,
    Identity,
    identity_of,
    printable_path,
    unreadable,
)
from relay.transport.files.tailed_file import NewDecoder, TailedFile, fits, start_of_last_line
from relay.transport.reception import Reception
from relay.wire.file_position import FilePosition
from relay.wire.line_message import LineFormat

_SEARCH_SHARE = 20  # searching takes at most this part of the time
_SHOWN_MAX = 10
_lack_of_descriptors = partial(
    lack_of_descriptors,
    2 * DESCRIPTORS_RESERVED,  # half of them for connections
    "connections and what the relay itself opens",
    "files_max",
)


@dataclass(frozen=True, slots=True)
class FileOptions:
    path: str
    """Absolute, with wildcards."""
    files_max: int
    """Further matching files are not read.  As many again may be open to be read to their end."""
    new_decoder: NewDecoder
    """Cuts bytes into lines."""
    line_format: LineFormat | None = None
    """Makes a message of each line; None = lines are messages."""
    follow_symlinks: bool = False
    """Read files that links out of the searched directory lead to."""
    silence_seconds_max: float = 5.0
    """How long a message waits for its next line."""
    from_end: bool = False
    """At the first use of the source, skip what the files already hold."""


class FollowedFiles:
    """The open files of one source, by their identity.

    Args:
        positions: How far each file was read.
        say: Logs a line of information.
    """

    def __init__(
        self,
        options: FileOptions,
        *,
        positions: FilePositions,
        reception: Reception,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._search = FileSearch(options.path, follow_symlinks=options.follow_symlinks)
        self._options = options
        self._positions = positions
        self._reception = reception
        self._clock = clock
        self._say = say
        self._files: dict[Identity, TailedFile] = {}
        self._refused = 0
        self._failed_paths: set[str] = set()  # since the last search
        self._unreadable = 0
        self._next_search = 0.0

    def __iter__(self) -> Iterator[TailedFile]:
        return iter(list(self._files.values()))

    @property
    def names(self) -> Collection[str]:
        """The names of the files' positions."""
        return {FilePosition("", *identity, 0).name for identity in self._files}

    def report(self) -> Document:
        """Which files are open, and how many of their bytes are not yet in the queue."""
        files = self._files.values()
        worst = heapq.nlargest(_SHOWN_MAX, files, key=lambda file: file.behind_bytes)
        return {
            "files_open": len(files),
            "files_refused": self._refused,
            "files_unreadable": self._unreadable,
            "behind_bytes": sum(file.behind_bytes for file in files),
            "files_behind": [
                {"path": printable_path(file.path), "behind_bytes": file.behind_bytes}
                for file in worst
                if file.behind_bytes
            ],
        }

    def search(self) -> dict[str, bytes]:
        """Search for matching files if it is time to, and open the new ones.

        Returns:
            Positions to store.
        """
        now = self._clock.seconds()
        if now < self._next_search:
            return {}
        changes = self._look_for_files(now)
        self._next_search = now + _SEARCH_SHARE * (self._clock.seconds() - now)
        return changes

    def open_renamed(self) -> dict[str, bytes]:
        """Open files that were renamed while the relay was down, to read them to their end.

        Files whose new name matches the source's path are left to `search`.

        Returns:
            Positions to store.
        """
        changes: dict[str, bytes] = {}
        found = self._search.run().files
        for position, path in self._positions.moved(set(found.values())):
            is_full = len(self._files) >= self._options.files_max
            if is_full or _lack_of_descriptors():
                break  # the next start finds the others
            try:
                fd = self._search.open(path)
            except OSError:
                continue  # another file has this inode now, and it is not ours to read
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
                self.warn_of(path, "unreadable", unreadable(error))
                continue
            file.gone_since = self._clock.seconds()
            self._say(
                f"{printable_path(path)} was {printable_path(position.path)}: reading the rest"
            )
            self._replace(position, file.position(), changes)
        return changes

    def failed(self, file: TailedFile, error: OSError) -> None:
        """Close a file that cannot be read; the next search finds it again."""
        self._note_failure(file.path, error)
        self.close(file)

    def close(self, file: TailedFile) -> None:
        if self._files.pop(file.identity, None) is not None:
            file.close()

    def close_all(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def warn_of(self, path: str, kind: str, text: str) -> None:
        """Warn, with an interval of its own for each path."""
        self._reception.warn(kind, f"{printable_path(path)}: {text}", about=path)

    def _look_for_files(self, now: float) -> dict[str, bytes]:
        found = self._search.run()
        for path, reason in found.problems:
            self.warn_of(path, "unreadable", reason)
        for identity, file in self._files.items():
            if identity in found.files:
                file.gone_since = None
            elif file.gone_since is None:
                file.gone_since = now
        changes: dict[str, bytes] = {}
        refused = lacking = 0
        there = sum(file.gone_since is None for file in self._files.values())
        for identity, path in found.files.items():
            if identity in self._files:
                continue
            if max(there, len(self._files) - self._options.files_max) >= self._options.files_max:
                refused += 1
            elif _lack_of_descriptors():
                lacking += 1
            elif self._open(path, changes):
                there += 1
        self._refused = refused + lacking
        self._unreadable = found.errors + len(self._failed_paths)
        self._failed_paths.clear()
        self._warn_of_unread(refused, lacking)
        if self._positions.is_first_use:
            self._positions.is_first_use = False
            changes.update(self._positions.mark())
        return changes

    def _warn_of_unread(self, refused: int, lacking: int) -> None:
        if refused:
            why = f"more match than files_max ({self._options.files_max:,})"
            self._reception.warn("files_max", f"{counted(refused, 'file')} not read: {why}")
        if lacking:
            why = _lack_of_descriptors()
            self._reception.warn("descriptors", f"{counted(lacking, 'file')} not read: {why}")

    def _open(self, path: str, changes: dict[str, bytes]) -> bool:
        """Open a file that was found; adds what to store of it to `changes`."""
        try:
            fd = self._search.open(path)
        except OSError as error:
            self._note_failure(path, error)
            return False
        try:
            identity = identity_of(os.fstat(fd))
            if identity in self._files:  # it was renamed since it was found
                os.close(fd)
                return False
            known = self._positions.find(identity, path)
            file = self._follow(fd, path, self._offset(fd, path, known))
        except OSError as error:
            os.close(fd)
            self._note_failure(path, error)
            return False
        position = file.position()
        self._replace(known or position._replace(offset=-1), position, changes)
        return True

    def _offset(self, fd: int, path: str, known: FilePosition | None) -> int:
        """Where to begin to read: at the stored position, if it is of this file."""
        if known is None:
            skips = self._options.from_end and self._positions.is_first_use
            return start_of_last_line(fd, self._options.new_decoder) if skips else 0
        if fits(fd, known):
            return known.offset
        if not self._next_search:  # at a start; later, a new file under an old name is normal
            text = "is not the file that was read before: reading from its start"
            self._say(f"{printable_path(path)} {text}")
        return 0

    def _follow(self, fd: int, path: str, offset: int) -> TailedFile:
        now = self._clock.seconds()
        file = TailedFile(
            fd, path=path, offset=offset, new_decoder=self._options.new_decoder, now=now
        )
        self._files[file.identity] = file
        return file

    def _replace(
        self, known: FilePosition, position: FilePosition, changes: dict[str, bytes]
    ) -> None:
        """Keep `position` of a file instead of `known`; adds to `changes` if they differ."""
        if known.name != position.name:
            self._positions.forget(known.name)
            changes[known.name] = b""
        if known != position:
            self._positions.note(position)
            changes[position.name] = position.encode()

    def _note_failure(self, path: str, error: OSError) -> None:
        self._failed_paths.add(path)
        self.warn_of(path, "unreadable", unreadable(error))
