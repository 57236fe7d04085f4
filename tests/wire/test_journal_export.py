from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.journal_export import JournalEntry, JournalExportDecoder

Fields = list[tuple[bytes, bytes]]

ENTRIES: list[Fields] = [
    [(b"__CURSOR", b"s=1;i=1"), (b"PRIORITY", b"6"), (b"MESSAGE", b"one")],
    [(b"__CURSOR", b"s=1;i=2"), (b"MESSAGE", b"two\n\nlines=2"), (b"EMPTY", b"")],
    [(b"_UID", b"0"), (b"TWICE", b"a"), (b"TWICE", b"b\xff\0"), (b"TWICE", b"a=\n")],
]


def binary(name: bytes, value: bytes) -> bytes:
    return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def exported(entries: list[Fields]) -> bytes:
    """`entries` as journalctl writes them."""
    return b"".join(
        b"".join(
            binary(name, value) if b"\n" in value else name + b"=" + value + b"\n"
            for name, value in fields
        )
        + b"\n"
        for fields in entries
    )


STREAM = b"\n" + exported(ENTRIES)


def new_decoder(**limits: int) -> JournalExportDecoder:
    return JournalExportDecoder(**{"field_bytes_max": 10_000, "entry_bytes_max": 100_000, **limits})


def decode(decoder: JournalExportDecoder, *chunks: bytes) -> list[JournalEntry]:
    return [entry for chunk in chunks for entry in decoder.feed(chunk)]


def whole(entries: list[JournalEntry]) -> list[Fields]:
    assert not any(entry.cut for entry in entries)
    return [entry.fields for entry in entries]


@pytest.mark.parametrize("first", range(len(STREAM) + 1))
def test_entries_do_not_depend_on_chunk_boundaries(first: int) -> None:
    for second in range(first, len(STREAM) + 1, 3):
        cuts = [0, first, second, len(STREAM)]
        decoder = new_decoder()
        entries = decode(decoder, *(STREAM[a:b] for a, b in pairwise(cuts)))
        decoder.finish()
        assert (whole(entries), decoder.error) == (ENTRIES, None)


def test_byte_by_byte_with_long_values() -> None:
    fields = [(b"A", b"x" * 9000), (b"B", b"\n" * 9000), (b"C", b"y")]
    stream = exported([fields, fields])
    decoder = new_decoder()
    entries = decode(decoder, *(stream[i : i + 1] for i in range(len(stream))))
    assert (whole(entries), decoder.error) == ([fields, fields], None)


names = st.from_regex(rb"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
streams = st.lists(st.lists(st.tuples(names, st.binary(max_size=60)), min_size=1, max_size=5))


@given(streams, st.lists(st.integers(1, 50), min_size=1))
def test_round_trip(entries: list[Fields], sizes: list[int]) -> None:
    stream = exported(entries)
    decoder = new_decoder()
    found = []
    while stream:
        for size in sizes:
            found += decoder.feed(stream[:size])
            stream = stream[size:]
    decoder.finish()
    assert (whole(found), decoder.error) == (entries, None)


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"A=b\n", b"\n", binary(b"A", b"\n")])))
def test_total(chunks: list[bytes]) -> None:
    decoder = new_decoder(field_bytes_max=5, entry_bytes_max=9, fields_max=2)
    for entry in decode(decoder, *chunks):
        assert 1 <= len(entry.fields) <= 2
        for name, value in entry.fields:
            assert len(value) <= 5
            assert entry.cut.get(name, 99) > 0
    decoder.finish()


@pytest.mark.parametrize("value", [b"0123456789", b"\n123456789", b"x" * 9000, b"\n" * 9000])
def test_a_long_value_is_cut_and_the_entry_stays_one(value: bytes) -> None:
    stream = exported([[(b"A", b"a"), (b"MESSAGE", value), (b"B", b"b")], [(b"C", b"c")]])
    for size in (1, 7, len(stream)):
        decoder = new_decoder(field_bytes_max=5)
        chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert decode(decoder, *chunks) == [
            ([(b"A", b"a"), (b"MESSAGE", value[:5]), (b"B", b"b")], {b"MESSAGE": len(value)}),
            ([(b"C", b"c")], {}),
        ]


def test_an_entry_has_a_limit_too() -> None:
    decoder = new_decoder(entry_bytes_max=10)
    (entry,) = decoder.feed(b"AA=1234\nBB=567\nCC=8\n\n")
    assert entry.fields == [(b"AA", b"1234"), (b"BB", b""), (b"CC", b"")]
    assert entry.cut == {b"BB": 3, b"CC": 1}
    assert decoder.feed(b"AA=1234\n\n") == [([(b"AA", b"1234")], {})]


def test_a_field_too_many_is_left_out() -> None:
    decoder = new_decoder(fields_max=2)
    (entry,) = decoder.feed(b"A=1\nB=2\nC=3\n" + binary(b"D", b"\n") + b"\n")
    assert entry == ([(b"A", b"1"), (b"B", b"2")], {})
    assert decoder.left_out == 2


def test_little_waits_in_memory() -> None:
    decoder = new_decoder(field_bytes_max=100)
    decoder.feed(b"MESSAGE\n" + struct.pack("<Q", 2**29))
    for _ in range(50):
        decoder.feed(b"x" * 10_000)
    assert len(decoder._value_begun) == 100
    assert decoder._held == []


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"A=1\n\n-- No entries --\n", "name of a field, found '-- No entries --'"),
        (b"A=1\n\n=value\n", "name of a field, found '=value'"),
        (b"A=1\n\n" + b"x" * 5000, "name of a field, found 'xxx"),
        (b"A=1\n\nB\n" + b"\xff" * 8, "'B' has 18,446,744,073,709,551,615 bytes, more than"),
        (b"A=1\n\nB\n" + struct.pack("<Q", 1) + b"xy", "no line feed after the value of the"),
    ],
)
def test_what_is_no_journal_ends_it_after_the_good_entries(stream: bytes, reason: str) -> None:
    decoder = new_decoder()
    assert decoder.feed(stream) == [([(b"A", b"1")], {})]
    assert reason in str(decoder.error)
    assert decoder.feed(b"\n\nA=2\n\n") == []


@pytest.mark.parametrize(
    "end", [b"B", b"B=1\n", b"B\n", b"B\n\1\0\0\0\0\0\0\0", b"B=" + b"x" * 5000]
)
def test_an_entry_without_its_end_is_not_taken(end: bytes) -> None:
    decoder = new_decoder()
    assert decoder.feed(b"A=1\n\n" + end) == [([(b"A", b"1")], {})]
    decoder.finish()
    assert str(decoder.error) == "the stream ends within an entry"
