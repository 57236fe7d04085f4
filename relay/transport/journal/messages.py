"""Messages of journal entries, within the size limit of their source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.wire.journal_export import JournalEntry

__all__ = ["EntryMessages", "Messages"]


@dataclass(slots=True)
class Messages:
    """Messages of one batch of entries."""

    frames: list[bytes] = field(default_factory=list)
    cut: dict[int, int] = field(default_factory=dict)
    """Length in bytes, before it was cut, of each message above the limit, by its index."""
    dropped_records: int = 0
    dropped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EntryMessages:
    """Makes messages of entries.

    Attributes:
        format: Makes a message of an entry; empty if the entry has none.
        bytes_max: Longer messages are cut here.
        drop_long: Drop them instead.
    """

    format: Callable[[JournalEntry], bytes]
    bytes_max: int
    drop_long: bool

    def of(self, entries: list[JournalEntry]) -> Messages:
        messages = Messages()
        for entry in entries:
            frame = self.format(entry)
            length = len(frame)
            if entry.cut or length > self.bytes_max:  # the decoder cuts fields
                length += _bytes_lost(entry)
            if length > self.bytes_max:
                if self.drop_long:
                    messages.dropped_records += 1
                    messages.dropped_bytes += len(frame)
                    continue
                messages.cut[len(messages.frames)] = length
                frame = frame[: self.bytes_max]
            messages.frames.append(frame)
        return messages


def _bytes_lost(entry: JournalEntry) -> int:
    """How much of the message was cut already when the entry was read."""
    length = entry.cut.get(b"MESSAGE")
    return 0 if length is None else length - len(dict(reversed(entry.fields))[b"MESSAGE"])
