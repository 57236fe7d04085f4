from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.relp.offers import OFFERS_MAX, format_offers, parse_offers, refusal_of


def test_our_offers_are_what_librelp_can_read() -> None:
    lines = format_offers(b"syslogrelay,1.0,https://example.net").split(b"\n")
    assert lines == [
        b"relp_version=0",
        b"relp_software=syslogrelay,1.0,https://example.net",
        b"commands=syslog",
    ]


def test_one_more_line_comes_last() -> None:
    assert format_offers(b"x", b"a=b") == format_offers(b"x") + b"\na=b"


def test_our_offers_are_acceptable_to_ourselves() -> None:
    assert refusal_of(parse_offers(format_offers(b"x"))) is None


def test_line_feeds_around_offers_and_lines_without_a_value_mean_nothing() -> None:
    block = b"\n\nrelp_version=0\n\nnonsense\ncommands=syslog,eventlog\n"
    assert parse_offers(block) == {
        b"relp_version": [b"0"],
        b"commands": [b"syslog", b"eventlog"],
    }


def test_a_value_may_hold_equals_signs_and_be_empty() -> None:
    assert parse_offers(b"a=b=c\nd=") == {b"a": [b"b=c"], b"d": [b""]}


@given(st.binary())
def test_no_block_raises(block: bytes) -> None:
    refusal_of(parse_offers(block))


def test_offers_without_end_are_ignored() -> None:
    offers = parse_offers(b"\n".join(b"name%d=value" % number for number in range(10_000)))
    assert len(offers) == OFFERS_MAX


@pytest.mark.parametrize(
    "block",
    [
        b"commands=syslog",
        b"relp_version=0\ncommands=syslog",
        b"relp_version=99\ncommands=eventlog,syslog",
        b"commands=syslog\nrelp_version=1\nunknown=1",
    ],
)
def test_accepted(block: bytes) -> None:
    assert refusal_of(parse_offers(block)) is None


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", b"required command"),
        (b"relp_version=0", b"required command"),
        (b"relp_version=0\ncommands=", b"required command"),
        (b"relp_version=0\ncommands=SYSLOG,syslogx", b"required command"),
        (b"relp_version=\ncommands=syslog", b"relp_version"),
        (b"relp_version=abc\ncommands=syslog", b"relp_version"),
        (b"relp_version=0,1\ncommands=syslog", b"relp_version"),
        (b"relp_version=0\r\ncommands=syslog", b"relp_version"),
        (b"relp_version=-1\ncommands=syslog", b"relp_version"),
    ],
)
def test_refused(block: bytes, reason: bytes) -> None:
    refusal = refusal_of(parse_offers(block))
    assert refusal is not None
    assert reason in refusal
    assert len(b"500 " + refusal) <= 80  # longer words break some clients
