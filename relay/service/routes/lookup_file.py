"""Tables of texts in CSV files, for the rewrite step `map`; changed files are read again."""

from __future__ import annotations

import csv
import io
import os

from twisted.logger import Logger

from relay.model.clock import Clock
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices
from relay.wire.framing.byte_order_mark import without_byte_order_mark

_CHECK_SECONDS = 60.0
_BYTES_MAX = 64 * 1024**2
_Stamp = tuple[int, int, int]


class LookupFile:
    """A CSV file of two columns, key and value, as it was when it was read last.

    Lines that begin with ``#`` and empty lines are passed over; of two lines with the
    same key the later one counts.

    Raises:
        ValueError: It cannot be read, or has a line without exactly two columns.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.stamp = _stamp(path)
        self._values = _read(path)

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        return self._values.get(key)

    def __len__(self) -> int:
        return len(self._values)

    def read_again(self) -> bool:
        """Use the file as it is now; whether it had changed.

        Raises:
            ValueError: It cannot be used.  What was read before still is.
        """
        stamp = _stamp(self.path)
        if stamp == self.stamp:
            return False
        self._values = _read(self.path)
        self.stamp = stamp
        return True


class LookupFiles(PeriodicService):
    """All tables of the relay, each read once, and looked at every minute.

    A file that has changed and cannot be used leaves the old values in use.
    """

    name = "lookups"
    _log = Logger(namespace="relay")

    def __init__(self, *, notices: Notices, clock: Clock) -> None:
        super().__init__(interval_seconds=_CHECK_SECONDS, clock=clock)
        self._notices = notices
        self._files: dict[str, LookupFile] = {}
        self._troubles: dict[str, str] = {}  # by path

    def open(self, path: str) -> LookupFile:
        """The table in the file at `path`; ValueError if it cannot be used."""
        if path not in self._files:
            self._files[path] = LookupFile(path)
        return self._files[path]

    def report(self) -> list[dict[str, str]]:
        """For status: the files that have changed and cannot be used."""
        return [{"path": path, "problem": problem} for path, problem in self._troubles.items()]

    def look(self) -> None:
        """Look at all files now."""
        for file in self._files.values():
            self._troubles.pop(file.path, None)
            try:
                if file.read_again():
                    self._log.info(
                        "{path}: read again, {count} keys", path=file.path, count=len(file)
                    )
            except ValueError as error:
                trouble = f"{error}; what was read before is still used"
                self._troubles[file.path] = trouble
                self._notices.warn("map", file.path, trouble)


def _stamp(path: str) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: str) -> dict[bytes, bytes]:
    try:
        with open(path, "rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot read the table {path}: {error.strerror}") from None
    if len(content) > _BYTES_MAX:
        raise ValueError(f"the table {path} is larger than {_BYTES_MAX >> 20} MiB")
    values = {}
    # latin-1 makes a character of each byte and back, whatever the encoding is
    text = without_byte_order_mark(content).decode("latin-1")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if not row or row[0].startswith("#"):
                continue
            if len(row) != 2:
                raise ValueError(
                    f"the table {path}, line {reader.line_num}: expected a key and a value with a "
                    f"comma between them, found {len(row)} columns"
                )
            values[row[0].encode("latin-1")] = row[1].encode("latin-1")
    except csv.Error as error:
        raise ValueError(f"the table {path}, line {reader.line_num}: {error}") from None
    return values
