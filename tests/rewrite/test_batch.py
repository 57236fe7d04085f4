from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.batch import Batch, MacroContext, Moments, in_zone, moment_of
from relay.wire.headers.timestamp import to_datetime
from relay.wire.parse import parse_all
from tests.any_messages import LOCAL, NETWORK, stamps

BUDAPEST = ZoneInfo("Europe/Budapest")
CONTEXT = MacroContext(b"vm", lambda: 1795222401.0, BUDAPEST)

numbers = st.integers(0, 99).map("{:02d}".format)
plain_stamps = st.builds(
    "{}-{}-{}T{}:{}:{}{}{}{}".format,
    st.integers(0, 9999).map("{:04d}".format),
    *[numbers] * 5,
    st.sampled_from(["", ".5", ".123456789"]),
    st.sampled_from(["Z", "+", "-"]),
    st.sampled_from(["", "02:00", "24:00", "23:59"]),
).map(str.encode)


@given(plain_stamps | stamps)
def test_the_short_way_to_a_moment_is_the_same(stamp: bytes | None) -> None:
    expected = to_datetime(stamp, 1e9, BUDAPEST)
    found = moment_of(stamp, 1e9, BUDAPEST)
    assert (found, found.utcoffset()) == (expected, expected.utcoffset())


@given(plain_stamps | stamps)
def test_zones_keep_the_instant(stamp: bytes | None) -> None:
    for zone in (BUDAPEST, timezone(timedelta(hours=14)), UTC):
        moment = moment_of(stamp, 1e9, UTC)
        moved = in_zone(moment, zone)
        # By their difference: in an hour that a clock shows twice, == is never true.
        assert moved - moment == timedelta(0)
        assert len(moved.replace(microsecond=0).isoformat()) == 25


def test_moments_are_in_the_zone_that_is_asked_for() -> None:
    stamp = b"2026-07-01T12:00:00+05:00"
    assert Moments(0.0, BUDAPEST)[stamp].isoformat() == "2026-07-01T12:00:00+05:00"
    assert Moments(0.0, BUDAPEST, UTC)[stamp].isoformat() == "2026-07-01T07:00:00+00:00"
    assert Moments(1e9, BUDAPEST)[None].isoformat() == "2001-09-09T03:46:40+02:00"


def test_local_mean_time_is_no_zone_for_stamps() -> None:
    moment = datetime(1880, 1, 1, tzinfo=UTC)
    assert in_zone(moment, BUDAPEST).utcoffset() == timedelta(0)


def test_numbers_come_from_the_message_or_from_the_destination() -> None:
    lines = [b'<13>1 - - - - - [meta a="1" sequenceId="7"]', b"<13>x", b"<13>x"]
    context = MacroContext(b"vm", lambda: 0.0, sequence=iter([4, 5]), receipts=iter([1, 2, 3, 4]))
    batch = Batch(parse_all(lines), NETWORK, context)
    assert batch.sequence_numbers == [b"7", b"4", b"5"]
    assert batch.receipts == batch.receipts == [1, 2, 3]


def test_what_all_messages_share() -> None:
    assert Batch([], NETWORK, CONTEXT).sender == b"192.0.2.1"
    assert Batch([], LOCAL, CONTEXT).sender == b"vm"
    assert Batch([], NETWORK, CONTEXT).now == 1795222401.0


def test_options_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="'rfc' is none of bsd"):
        MacroContext(b"vm", lambda: 0.0, ts_format="rfc")
    with pytest.raises(ValueError, match="0 to 9 digits"):
        MacroContext(b"vm", lambda: 0.0, frac_digits=10)
