"""Stored positions of files, and when to forget them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from relay.model.clock import WallClock
from relay.transport.files.search import Identity, inodes_in
from relay.wire.file_position import FilePosition, parse_position

_MARK = "used"  # a name that no file has: the source was used before
_GONE_SECONDS_MAX = 7 * 86400.0  # what is missing may be a file system that is not mounted
_POSITIONS_MAX = 10_000  # of files that are not open
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")


class FilePositions:
    """The positions of one source.

    Args:
        stored: As in the queue, by name.
    """

    def __init__(self, stored: Mapping[str, bytes]) -> None:
        self.is_first_use = not stored
        self._positions: dict[str, FilePosition] = {}
        for name, data in stored.items():
            position = parse_position(data)
            if position is not None and position.name == name:
                self._positions[name] = position
        self._at_start = {(each.inode, each.path): each for each in self._positions.values()}

    @staticmethod
    def mark() -> dict[str, bytes]:
        """The position to store at the first use of a source."""
        return {_MARK: b"{}"}

    def find(self, identity: Identity, path: str) -> FilePosition | None:
        """The position of a file, whether it still holds or not.

        A device may have another number after a reboot; path and inode do then.
        """
        position = self._positions.get(FilePosition(path, *identity, 0).name)
        if position is not None:
            return position
        other = self._at_start.get((identity[1], path))
        return other if other is not None and other.name in self._positions else None

    def note(self, position: FilePosition) -> None:
        self._positions[position.name] = position

    def forget(self, name: str) -> None:
        self._positions.pop(name, None)

    def moved(self, paths: Collection[str]) -> Iterator[tuple[FilePosition, str]]:
        """Files whose new path, in the old directory, is not among `paths`."""
        folders: dict[str, dict[int, str]] = {}
        for position in list(self._positions.values()):
            path = _path_in_folder(position, folders)
            if path is not None and path not in paths and _may_be_the_same(position, path):
                yield position, path

    def tidy(self, opened: Collection[str], wall: WallClock) -> dict[str, bytes]:
        """Note which files are gone; forget those gone for long, or above the limit.

        Returns:
            What to store; an empty value forgets.
        """
        now = wall.now()
        changes: dict[str, bytes] = {}
        folders: dict[str, dict[int, str]] = {}
        closed = [position for name, position in self._positions.items() if name not in opened]
        for position in closed:
            gone_at = position.gone_at
            if _path_in_folder(position, folders) is not None:
                gone_at = 0.0
            elif gone_at == 0:
                gone_at = now
            elif wall.age(gone_at) > _GONE_SECONDS_MAX:
                changes[position.name] = b""
                continue
            if gone_at != position.gone_at:
                changed = position._replace(gone_at=gone_at)
                self.note(changed)
                changes[position.name] = changed.encode()
        left = [self._positions[each.name] for each in closed if changes.get(each.name) != b""]
        left.sort(key=lambda each: each.gone_at or now + 1)
        changes.update((each.name, b"") for each in left[: max(0, len(left) - _POSITIONS_MAX)])
        for name, data in changes.items():
            if not data:
                self.forget(name)
        return changes


def _path_in_folder(position: FilePosition, folders: dict[str, dict[int, str]]) -> str | None:
    """Where the file's inode is now, if it still lies in the same directory."""
    folder = os.path.dirname(position.path)
    if folder not in folders:
        folders[folder] = inodes_in(folder)
    return folders[folder].get(position.inode)


def _may_be_the_same(position: FilePosition, path: str) -> bool:
    """Whether a file of this name may be the renamed file.

    A file that was empty has no fingerprint; only its name is evidence then.
    """
    if position.fingerprint_bytes:
        return True
    name = os.path.basename(path)
    return name.startswith(os.path.basename(position.path)) and not name.endswith(_COMPRESSED)
