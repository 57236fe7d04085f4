from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.queue.quarantine import DAMAGED, Label, read_entry, write_entry


@given(st.binary())
def test_reading_an_entry_never_fails(value: bytes) -> None:
    label, data = read_entry(value)
    assert label.kind or data == value


def test_an_entry_whose_label_is_broken_is_shown_whole() -> None:
    label, data = read_entry(b"{broken\nrest")
    assert (label.reason, label.records) == ("its label cannot be read", 1)
    assert data == b"{broken\nrest"


LABEL = Label("refused 5 times: 500 no", 9.0, "record", peer="192.0.2.1")


@given(bit=st.integers(0, 8 * len(write_entry(LABEL, b"<13>hello")) - 1))
def test_no_flipped_bit_makes_an_entry_that_nobody_sent(bit: int) -> None:
    value = bytearray(write_entry(LABEL, b"<13>hello"))
    value[bit // 8] ^= 1 << bit % 8
    label, data = read_entry(bytes(value))
    assert label.kind in ("", DAMAGED) or (label, data) == (LABEL, b"<13>hello")


def test_an_entry_of_before_there_were_checksums_is_read_as_it_is() -> None:
    value = b'{"reason":"no","at":9.0,"kind":"record"}\n<13>hello'
    assert read_entry(value) == (Label("no", 9.0, "record"), b"<13>hello")
