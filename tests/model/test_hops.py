from __future__ import annotations

import pytest

from relay.model.hops import (
    HOPS_MAX,
    OwnHop,
    are_hops,
    is_relay_id,
    joined_hops,
    longer_hops,
    ring_of,
)

A, B, C = (b"%016x@%c" % (number, ord("a") + number) for number in range(3))


@pytest.mark.parametrize(
    ("text", "are"),
    [
        (A, True),
        (A + b" " + B, True),
        (b" ".join([A] * HOPS_MAX), True),
        (b" ".join([A] * (HOPS_MAX + 1)), False),
        (b"", False),
        (A + b" ", False),
        (A + b"  " + B, False),
        (A.upper().replace(b"A", b"a", 0) + b"\n", False),
        (b"0123456789abcde@a", False),
        (b"0123456789abcdeg@a", False),
        (b"0123456789abcdef@", False),
        (b"0123456789abcdef@" + b"a" * 65, False),
        (b'0123456789abcdef@a"', False),
    ],
)
def test_hops_have_a_grammar(text: bytes, are: bool) -> None:
    assert are_hops(text) is are


def test_joined_hops_keep_their_order_and_come_once() -> None:
    assert joined_hops(b"", A + b" " + B, b"", B + b" " + C) == b" ".join([A, B, C])
    assert joined_hops(b"", b"") == b""


def test_the_longer_way_is_that_of_the_whole() -> None:
    ways = [b"", A, A + b" " + B, B + b" " + C]
    assert [longer_hops(b"", way) for way in ways] == ways
    assert [longer_hops(way, b"") for way in ways] == ways
    assert longer_hops(ways[2], ways[3]) == ways[2]
    assert longer_hops(A, ways[3]) == longer_hops(ways[3], A) == ways[3]


def test_a_relay_without_an_id_adds_no_hop() -> None:
    own = OwnHop("here")
    assert own.after(A) == b""
    own.begin("00000000000000ff")
    assert own.after(A) == A + b" 00000000000000ff@here"
    assert own.after(b"") == own.text


@pytest.mark.parametrize("name", ["", 'a "b"]', "Ünï", "x" * 300, "a,b"])
def test_any_name_makes_a_hop(name: str) -> None:
    own = OwnHop(name)
    own.begin("0" * 16)
    assert are_hops(own.text)


def test_the_ring_is_told_from_the_first_visit_on() -> None:
    assert ring_of(b" ".join([A, B, C]), B) == (
        "b (0000000000000001) → c (0000000000000002) → b (0000000000000001)"
    )
    assert ring_of(A, B).endswith("→ here")


def test_an_id_is_sixteen_digits() -> None:
    assert is_relay_id("0123456789abcdef")
    assert not is_relay_id("0123456789ABCDEF")
    assert not is_relay_id("")
