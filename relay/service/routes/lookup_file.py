"""Tables of texts in files, for the rewrite step `map`: CSV, and MMDB for addresses.

Changed files are read again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from relay.rewrite.steps.changes import Row
from relay.service.configuration.reading import content_of
from relay.service.configuration.table import unknown_name
from relay.service.periodic import PeriodicService
from relay.service.prerequisite import stamp_of
from relay.service.routes.address_file import MMDB_SUFFIX, AddressFile
from relay.transport.notices import Notices
from relay.wire.framing.byte_order_mark import without_byte_order_mark

_BYTES_MAX = 64 * 1024**2


class LookupFile:
    """A table in a file, as it was when it was read last.

    Args:
        columns: Those that are wanted, empty = all; None = the file is CSV of two columns without
            names, key and value.

    Attributes:
        columns: Those of the rows.  They stay the same; a file that lacks one cannot be used.
        damage: What kept a row from being read since the file was read; empty if nothing did.

    Raises:
        ValueError: The file cannot be read, or is no such table.
    """

    def __init__(self, path: str, columns: Sequence[str] | None = None) -> None:
        self.path = path
        self.stamp = stamp_of(path)
        self._has_names = columns is not None
        self._table: _Csv | AddressFile = _read(path, columns)
        self.columns = tuple(self._table.columns)

    def get(self, key: bytes) -> Row | None:
        """The values for `key`, one for each column, or None."""
        return self._table.get(key)

    @property
    def extent(self) -> str:
        """How much there is in it, for people."""
        return self._table.extent

    @property
    def damage(self) -> str:
        return self._table.damage

    def read_again(self) -> bool:
        """Use the file as it is now; whether it had changed.  May be called in a thread.

        Raises:
            ValueError: It cannot be used.  What was read before still is.
        """
        stamp = stamp_of(self.path)
        if stamp == self.stamp:
            return False
        table = _read(self.path, self.columns if self._has_names else None)
        if not table.size and self._table.size:
            raise ValueError(f"the table {self.path}: is empty, and was not before")
        self._table, self.stamp = table, stamp
        return True


class _Csv:
    """The content of a CSV file; the first column is the key.

    Lines that begin with ``#`` and empty lines are passed over; of two lines with the same key the
    later one counts.

    Args:
        columns: See `LookupFile`; the first line names them unless this is None.

    Raises:
        ValueError: Lines have another number of columns than the first one, or than two.
    """

    def __init__(self, content: bytes, columns: Sequence[str] | None) -> None:
        self.columns: tuple[str, ...] = ("value",)
        self.damage = ""
        # latin-1 makes a character of each byte and back, whatever the encoding is
        text = without_byte_order_mark(content).decode("latin-1")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            rows = (row for row in reader if row and not row[0].startswith("#"))
            if columns is None:
                wanted, width = [1], 2
            else:
                names = [_text(name).decode(errors="replace") for name in next(rows, [])]
                self.columns, wanted = _wanted(names, columns)
                width = len(names)
            self._rows: dict[bytes, Row] = {}
            for row in rows:
                if len(row) != width:
                    what = "a key and a value with a comma between them"
                    if columns is not None:
                        what = f"{width} columns as in the first line"
                    raise ValueError(f"expected {what}, found {len(row)} columns")
                self._rows[_text(row[0])] = tuple(_text(row[index]) for index in wanted)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None

    def get(self, key: bytes) -> Row | None:
        return self._rows.get(key)

    @property
    def size(self) -> int:
        return len(self._rows)

    @property
    def extent(self) -> str:
        return f"{self.size} keys"


def _wanted(names: Sequence[str], columns: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The columns to keep, and where they are among `names`, of which the first is the key."""
    if len(names) < 2 or "" in names or len(set(names)) < len(names):
        raise ValueError(
            f"expected the names of two columns or more, all different, found {','.join(names)!r}"
        )
    for column in columns:
        if column not in names:
            raise ValueError(unknown_name("column", column, names))
    kept = tuple(columns or names[1:])
    return kept, [names.index(column) for column in kept]


def _text(cell: str) -> bytes:
    return cell.encode("latin-1")


@dataclass(eq=False, repr=False, kw_only=True)
class LookupFiles(PeriodicService):
    """All tables of the relay, each read once, and looked at every minute.

    A file that has changed and cannot be used leaves the old values in use.  It is read in a
    thread: 64 MiB of CSV take ten seconds, and a network's file system may hang for ever.
    """

    name = "lookups"
    _log = Logger(namespace="relay")

    notices: Notices
    run_in_thread: Callable[[Callable[[], bool]], Awaitable[bool]]
    interval_seconds: float = 60.0

    def __post_init__(self) -> None:
        self._is_looking = False
        self._files: dict[tuple[str, Sequence[str] | None], LookupFile] = {}
        self._troubles: dict[str, str] = {}  # by path

    def open(self, path: str, columns: Sequence[str] | None) -> LookupFile:
        """The table in the file at `path`, see `LookupFile`; ValueError if it cannot be used."""
        if (path, columns) not in self._files:
            self._files[path, columns] = LookupFile(path, columns)
        return self._files[path, columns]

    def keep_only(self, used: Collection[tuple[str, Sequence[str] | None]]) -> None:
        """Forget all tables but those with these paths and columns."""
        self._files = {key: file for key, file in self._files.items() if key in used}

    def report(self) -> list[dict[str, str]]:
        """For status: the files that have changed and cannot be used."""
        return [{"path": path, "problem": problem} for path, problem in self._troubles.items()]

    def look(self) -> None:
        """Look at all files now, unless that is being done."""
        if not self._is_looking:
            self._is_looking = True
            ensureDeferred(self._look_at_all())

    async def _look_at_all(self) -> None:
        troubles: dict[str, str] = {}
        try:
            for file in list(self._files.values()):  # a thread may open more
                if trouble := await self._look_at(file):
                    troubles[file.path] = trouble
                    self.notices.warn("map", file.path, trouble)
        finally:
            self._troubles, self._is_looking = troubles, False

    async def _look_at(self, file: LookupFile) -> str:
        """Returns what is wrong with it; empty = nothing."""
        try:
            if await self.run_in_thread(file.read_again):
                self._log.info("{path}: read again, {extent}", path=file.path, extent=file.extent)
        except ValueError as error:
            return f"{error}; what was read before is still used"
        return file.damage


def _read(path: str, columns: Sequence[str] | None) -> _Csv | AddressFile:
    try:
        if path.endswith(MMDB_SUFFIX):
            return AddressFile(path, columns)
        content = content_of(path, bytes_max=_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            raise ValueError(f"is larger than {_BYTES_MAX >> 20} MiB")
        return _Csv(content, columns)
    except OSError as error:
        raise ValueError(f"cannot read the table {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"the table {path}: {error}") from None
