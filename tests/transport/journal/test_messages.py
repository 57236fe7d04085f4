from __future__ import annotations

import pytest

from relay.transport.journal.messages import EntryMessages
from relay.wire.journal_export import JournalExportDecoder


def made(octets: bytes, *, drop_long: bool) -> tuple[list[bytes], dict[int, int], int, int]:
    decoder = JournalExportDecoder(field_bytes_max=5, entry_bytes_max=100)
    entries = decoder.feed(octets)
    messages = EntryMessages(lambda entry: dict(entry.fields)[b"MESSAGE"], 5, drop_long).of(entries)
    return messages.frames, messages.cut, messages.dropped_records, messages.dropped_bytes


@pytest.mark.parametrize("drop_long", [False, True])
def test_long_messages_are_cut_or_dropped(drop_long: bool) -> None:
    octets = b"MESSAGE=123456789\n\nMESSAGE=12345\n\n"
    if drop_long:
        assert made(octets, drop_long=True) == ([b"12345"], {}, 1, 5)
    else:  # the length is that of the message before the decoder cut the field
        assert made(octets, drop_long=False) == ([b"12345", b"12345"], {0: 9}, 0, 0)
