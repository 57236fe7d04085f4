"""The index of the certificates that an authority has issued, beside its files.

`ca-index.txt` is what ``openssl ca`` calls its database, and can go on with: a line for each
certificate, with fields between tabs.

    V or R · end of validity · time of revocation, reason · serial, hexadecimal · file · subject

Times are YYMMDDHHMMSSZ in UTC, or YYYYMMDDHHMMSSZ from 2050 on (RFC 5280 §4.1.2.5).
`ca-crlnumber` has the number of the next revocation list, hexadecimal.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from relay.model.text import printable, size
from relay.service.configuration.reading import content_of
from relay.service.writing import PUBLIC_MODE, Written, write_files

INDEX = "ca-index.txt"
CRL_NUMBER = "ca-crlnumber"
INDEX_BYTES_MAX = 128 * 2**20
"""A line has about 100 bytes."""
_SETTINGS = "ca-index.txt.attr"
_FIELDS = 6
_SHORT, _LONG = "%y%m%d%H%M%SZ", "%Y%m%d%H%M%SZ"
_FIRST_LONG_YEAR = 2050

REASONS = (
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
)
"""Why a certificate is revoked (RFC 5280 §5.3.1), as far as it concerns a leaf."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate that was issued."""

    serial: int
    ends_at: datetime
    file: str
    """Its name when it was written."""
    subject: str
    """As ``/CN=central.example.com``."""
    revoked_at: datetime | None = None
    reason: str = ""
    """One of REASONS, or another one that OpenSSL knows; empty = none was given."""

    @classmethod
    def of(cls, certificate: x509.Certificate, file: str) -> Entry:
        return cls(
            certificate.serial_number,
            certificate.not_valid_after_utc,
            file.translate({9: None, 10: None}) or "unknown",
            _subject_of(certificate),
        )


class Index:
    """The index in the directory of an authority; changes lock the directory.

    Raises:
        ValueError: A file cannot be understood; the text names it.
        OSError: It cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self) -> list[Entry]:
        """All of them, oldest first; none if there is no index yet."""
        path = self._folder / INDEX
        try:
            data = content_of(str(path), bytes_max=INDEX_BYTES_MAX + 1)
        except FileNotFoundError:
            return []
        if len(data) > INDEX_BYTES_MAX:
            raise ValueError(
                f"{path} has more than {size(INDEX_BYTES_MAX)}; move expired certificates out of it"
            )
        lines = data.decode("utf-8", "backslashreplace").splitlines()
        return [_read(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line]

    def add(self, entries: Sequence[Entry]) -> None:
        """Note that certificates were issued."""
        if not entries:
            return
        with self._locked():
            self._write([*self.entries(), *entries])

    def begin_anew(self) -> None:
        """Put the index of another authority aside: it is kept with the ending ``.old``."""
        for name in (INDEX, CRL_NUMBER):
            with suppress(FileNotFoundError):
                os.replace(self._folder / name, self._folder / f"{name}.old")

    def revoke(self, revoked: Entry, at: datetime, reason: str) -> Entry:
        """Note that a certificate is revoked, whether or not it is in the index yet.

        Returns:
            Its entry; one that was revoked before keeps time and reason.
        """
        with self._locked():
            entries = self.entries()
            known = next((each for each in entries if each.serial == revoked.serial), None)
            if known is not None and known.revoked_at is not None:
                return known
            changed = replace(known or revoked, revoked_at=at, reason=reason)
            if known is None:
                self._write([*entries, changed])
            else:
                self._write([changed if each is known else each for each in entries])
            return changed

    def next_crl_number(self) -> int:
        """A number above that of all lists before (RFC 5280 §5.2.3)."""
        path = self._folder / CRL_NUMBER
        with self._locked():
            try:
                number = int(content_of(str(path), bytes_max=100), 16)
            except FileNotFoundError:
                number = 1
            except ValueError as error:
                raise ValueError(f"{path}: expected a hexadecimal number: {error}") from None
            self._put(path, f"{serial_text(number + 1)}\n")
            return number

    def _write(self, entries: Sequence[Entry]) -> None:
        settings = self._folder / _SETTINGS
        if not settings.exists():  # or `openssl ca` refuses a second certificate for a name
            self._put(settings, "unique_subject = no\n")
        self._put(self._folder / INDEX, "".join(map(_line, entries)))

    @staticmethod
    def _put(path: Path, text: str) -> None:
        write_files([Written(path, text.encode(), PUBLIC_MODE)], replace=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def serial_text(number: int) -> str:
    """A serial number as OpenSSL shows it: hexadecimal, an even number of digits."""
    text = f"{number:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _line(entry: Entry) -> str:
    revoked = "" if entry.revoked_at is None else _stamp(entry.revoked_at)
    if revoked and entry.reason:
        revoked += f",{entry.reason}"
    fields = (
        *("R" if revoked else "V", _stamp(entry.ends_at), revoked),
        *(serial_text(entry.serial), entry.file, entry.subject),
    )
    return "\t".join(fields) + "\n"


def _read(where: str, line: str) -> Entry:
    fields = line.split("\t")
    if len(fields) != _FIELDS or fields[0] not in ("V", "R", "E"):
        raise ValueError(
            f"{where}: expected V, R or E and five more fields between tabs, found "
            f"{printable(line)!r}; repair the line, or restore the file from a backup"
        )
    _, ends, revoked, serial, file, subject = fields
    at, _, reason = revoked.partition(",")
    try:
        return Entry(
            *(int(serial, 16), _time(ends), file, subject),
            *(_time(at) if at else None, reason),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}; repair the line, or restore the file") from None


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_SHORT if at.year < _FIRST_LONG_YEAR else _LONG)


def _time(text: str) -> datetime:
    found = datetime.strptime(text, _SHORT if len(text) == len("YYMMDDHHMMSSZ") else _LONG)
    if len(text) == len("YYMMDDHHMMSSZ") and found.year >= _FIRST_LONG_YEAR:
        found = found.replace(year=found.year - 100)
    return found.replace(tzinfo=UTC)


def _subject_of(certificate: x509.Certificate) -> str:
    parts = (
        f"/{attribute.rfc4514_attribute_name}={printable(str(attribute.value))}"
        for attribute in certificate.subject
    )
    return "".join(parts) or "/"
