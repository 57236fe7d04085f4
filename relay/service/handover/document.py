"""The description of descriptors that one process leaves to the next.

JSON in a memfd, which goes the same way as the descriptors: through `exec`, or through systemd's
store.  Sockets are known by their inode numbers, because descriptors have other numbers there.
"""

from __future__ import annotations

import os
import stat

import msgspec

from relay.model.text import printable
from relay.transport.held_sockets import StreamState

FORMAT = 1
_BYTES_MAX = 2**30
_DIGITS_MAX = 9


class SocketEntry(msgspec.Struct, frozen=True):
    """A bound socket."""

    name: str
    inode: int
    source: str = ""
    kernel_drops: int | None = None
    file: tuple[int, int] | None = None


class ConnectionEntry(msgspec.Struct, frozen=True):
    """An open connection."""

    name: str
    """Of the listening socket."""
    inode: int
    state: StreamState


class Document(msgspec.Struct, frozen=True):
    """Everything that goes with the descriptors."""

    id: str = ""
    """Of the upgrade that somebody waits for; empty = nobody does."""
    version: str = ""
    """Of the process that has left this."""
    stopped_at: float = 0.0
    """When it began to stop, in seconds since 1970."""
    descriptors: dict[str, str] = {}
    """Name by descriptor, where they have the same numbers in the next process."""
    sockets: tuple[SocketEntry, ...] = ()
    connections: tuple[ConnectionEntry, ...] = ()
    format: int = FORMAT


def write_document(document: Document) -> int:
    """A descriptor of a memfd that holds the document; children do not inherit it.

    Raises:
        OSError: There is no memory, or no descriptor left.
    """
    descriptor = os.memfd_create("syslogrelay")
    with open(os.dup(descriptor), "wb") as file:
        file.write(msgspec.json.encode(document))
    os.set_inheritable(descriptor, False)
    return descriptor


def read_document(descriptor: int) -> Document:
    """The document in a memfd, which is closed.

    Raises:
        ValueError: It is none that this version can read; the text says why.
    """
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # one that waits, or never ends
            os.close(descriptor)
            raise ValueError("it is no file in memory")
        with open(descriptor, "rb") as file:
            os.lseek(descriptor, 0, os.SEEK_SET)
            found = msgspec.json.decode(file.read(_BYTES_MAX), type=Document)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except OverflowError:
        raise ValueError("there is no such descriptor") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"its text does not fit: {error}") from error
    if found.format != FORMAT:
        raise ValueError(f"it has format {found.format}, this version knows format {FORMAT}")
    for number in found.descriptors:
        if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS_MAX):
            raise ValueError(f"{printable(number)} is no descriptor")
    return found
