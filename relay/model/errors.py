"""Errors of the relay.

Errors of the wire (`FramingError`, `RelpError`) are state that a shell reads
(`decoder.error`), never raised: that would lose the good frames before the bad one.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.model.seq import SeqRange
from relay.model.text import span


class RelayError(Exception):
    """Anything that the relay itself reports.  Its text is one line for a person."""


class ConfigurationError(RelayError):
    """The configuration cannot be used.

    Attributes:
        problems: One line each; never empty.
        warnings: One line each about what works, but deserves a look.
    """

    def __init__(self, problems: Sequence[str], warnings: Sequence[str] = ()) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)
        self.warnings = list(warnings)


class ConfigurationUnreadable(ConfigurationError):
    """The file does not exist or is not readable."""


class FramingError(RelayError):
    """A stream that can no longer be cut into frames."""


class WrongProtocol(FramingError):
    """A stream of another protocol than the one that is expected.

    Attributes:
        protocol: What it is, in one word: ``relp``, ``tls`` or ``syslog``.
    """

    def __init__(self, protocol: str, text: str) -> None:
        super().__init__(text)
        self.protocol = protocol


class RelpError(RelayError):
    """A peer violated the RELP protocol."""


class UpstreamError(RelayError):
    """An upstream refused, vanished or did not answer in time."""


class QueueError(RelayError):
    """An operation of the disk queue failed and changed nothing."""


class StorageFailed(QueueError):
    """The disk or LMDB failed.  The text gives the reason and the remedy."""


class QueueFull(StorageFailed):
    """No room in the map or on the file system."""


class QueueMisplaced(StorageFailed):
    """The queue's file was removed, moved or replaced: a restart would not find new records."""


class DamagedRange(QueueError):
    """Records that cannot be read: the block they are in is damaged.

    Attributes:
        seqs: All records of the block that are still queued.
    """

    def __init__(self, destination: str, seqs: SeqRange, reason: str) -> None:
        super().__init__(
            f"queue of {destination}: {span('record', seqs.start, seqs.stop - 1)} "
            f"cannot be read: {reason}"
        )
        self.seqs = seqs
        self.reason = reason


class QueueInUse(QueueError):
    """Another process works with this queue."""


class QueueFormatError(QueueError):
    """The directory holds something other than a queue of a known format."""
