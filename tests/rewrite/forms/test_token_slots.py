from __future__ import annotations

import pytest

from relay.rewrite.forms.token import fill_slots, with_slots

PLACE = b"d1f3a0b2"
OTHER = b"77aa88bb"


def test_a_placeholder_becomes_a_slot_and_the_slot_a_token() -> None:
    written = [b"<13>a %b:text" % PLACE, b"<13>b own:text", b"%b" % PLACE]
    queued = with_slots([*written], {PLACE: b"-"})
    assert queued == [b"\0TOKEN - 6\n<13>a :text", b"<13>b own:text", b"\0TOKEN - 0\n"]
    assert fill_slots(queued, lambda key: b"<%b>" % key) == [
        b"<13>a <->:text",
        b"<13>b own:text",
        b"<->",
    ]


def test_each_token_has_a_key() -> None:
    queued = with_slots([b"<1>%b" % PLACE, b"<2>%b" % OTHER], {PLACE: b"x", OTHER: b"match-y"})
    tokens = {b"x": b"one", b"match-y": b"two"}
    assert fill_slots(queued, tokens.__getitem__) == [b"<1>one", b"<2>two"]


def test_what_has_no_slot_is_the_very_same() -> None:
    payloads = [b"<13>x", b"y"]
    assert fill_slots(payloads, lambda key: b"no") is payloads


@pytest.mark.parametrize("payload", [b"\0", b"\0TOKEN", b"\0TOKEN - x\n", b"\0TOKEN  0\n", b"\0a"])
def test_what_only_begins_like_a_slot_stays_as_it_is(payload: bytes) -> None:
    assert fill_slots([payload], lambda key: b"no") == [payload]


def test_any_bytes_may_stand_around_it() -> None:
    around = bytes(range(256))
    queued = with_slots([around + PLACE + around], {PLACE: b"-"})
    assert fill_slots(queued, lambda key: b"T") == [around + b"T" + around]
