"""What an MMDB file, such as GeoLite2's, knows of addresses: for the rewrite step `map`."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from relay.rewrite.steps.changes import Row
from relay.service.configuration.reading import content_of
from relay.service.configuration.table import unknown_name

if TYPE_CHECKING:
    from maxminddb import Reader

MMDB_SUFFIX = ".mmdb"
_BYTES_MAX = 512 * 1024**2
_DAMAGE = (
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What the decoder raises in a damaged file: its own error is a RuntimeError."""
_REMEMBERED = 4096  # addresses whose rows are kept: finding one takes some 50 µs


def _at(*path: str) -> Callable[[object], object]:
    """Finds a value in nested tables; None if it is not there."""

    def find(record: object) -> object:
        for name in path:
            record = record.get(name) if isinstance(record, dict) else None
        return record

    return find


def _location(record: object) -> object:
    latitude, longitude = (_at("location", name)(record) for name in ("latitude", "longitude"))
    if latitude is None or longitude is None:
        return None
    return f"{latitude},{longitude}"


COLUMNS: Mapping[str, Callable[[object], object]] = {
    "country": _at("country", "iso_code"),
    "country_name": _at("country", "names", "en"),
    "city": _at("city", "names", "en"),
    "location": _location,
    "asn": _at("autonomous_system_number"),
    "organization": _at("autonomous_system_organization"),
}
"""What rows may have, and where databases of MaxMind's layout have it."""


class AddressFile:
    """An MMDB file, read into memory: a file that is cut short later on harms nothing.

    Args:
        columns: Some of `COLUMNS`; empty = all.

    Attributes:
        size: The number of its nodes.
        damage: What a damaged file kept from being read; empty if nothing.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such file, or too large, or there is no such column.
    """

    def __init__(self, path: str, columns: Sequence[str] | None) -> None:
        # Only a relay that has such a file needs the module, which takes 2 MiB.
        from maxminddb import MODE_MEMORY, open_database

        if columns is None:
            raise ValueError('columns have names; write prefix = ".geo." in the place of into')
        for column in columns:
            if column not in COLUMNS:
                raise ValueError(unknown_name("column", column, COLUMNS))
        content_of(path, bytes_max=0)  # raises what keeps it from being read
        if os.stat(path).st_size > _BYTES_MAX:
            raise ValueError(f"is larger than {_BYTES_MAX >> 20} MiB")
        try:
            self._reader: Reader = open_database(path, MODE_MEMORY)
            self._is_ipv4 = self._reader.metadata().ip_version == 4
        except _DAMAGE as error:
            raise ValueError(f"is no MMDB file, or a damaged one: {error}") from None
        self.columns = tuple(columns or COLUMNS)
        self.size = self._reader.metadata().node_count
        self.extent = f"{self.size} nodes"
        self.damage = ""
        self.get = lru_cache(_REMEMBERED)(self._get)

    def _get(self, key: bytes) -> Row | None:
        """What is known of the address in `key`, one value for each column; None if nothing is."""
        try:
            address = ip_address(key.decode("ascii"))
        except ValueError:
            return None
        if self._is_ipv4 and address.version == 6:
            return None
        try:
            record = self._reader.get(address)
            if record is None:
                return None
            return [_text(COLUMNS[column](record)) for column in self.columns]
        except _DAMAGE as error:
            self.damage = f"is damaged: {type(error).__name__} at {address}"
            return None


def _text(value: object) -> bytes | None:
    return None if value is None else str(value).encode()
