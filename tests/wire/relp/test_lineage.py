from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.relp.lineage import (
    ELSEWHERE,
    HAVE,
    LINEAGE,
    NOT_BELIEVED,
    PASS,
    PASSED,
    SEQ_MAX,
    HighWaterMark,
    LineageOffer,
    format_high_water_mark,
    format_lineage,
    high_water_mark_in,
    is_passed,
    is_refused,
    lineage_in,
    parse_lineage,
)
from relay.wire.relp.offers import parse_offers

ID = "0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b"
EPOCH = "00000000deadbeef"
FIELDS = [ID.encode(), EPOCH.encode(), b"5", b"9"]

seqs = st.integers(min_value=1, max_value=SEQ_MAX)
epochs = st.binary(min_size=8, max_size=8).map(bytes.hex)


@given(st.uuids(), epochs, seqs, seqs)
def test_an_offer_comes_back(id: object, epoch: str, one: int, other: int) -> None:
    offer = LineageOffer(str(id), epoch, min(one, other), max(one, other))
    line = format_lineage(offer)
    assert parse_lineage(parse_offers(line)[LINEAGE]) == offer


@given(st.integers(min_value=0, max_value=SEQ_MAX), epochs)
def test_an_answer_comes_back(seq: int, epoch: str) -> None:
    offers = parse_offers(format_high_water_mark(HighWaterMark(seq, epoch)))
    assert high_water_mark_in(offers) == HighWaterMark(seq, epoch)
    assert not is_refused(offers)


def test_librelp_takes_lines_of_this_length() -> None:
    line = format_lineage(LineageOffer(ID, EPOCH, SEQ_MAX, SEQ_MAX))
    name, _, value = line.partition(b"=")
    assert (len(name) <= 32, len(value) <= 255) == (True, True)
    assert b"\n" not in line


@pytest.mark.parametrize(
    ("index", "field"),
    [
        (0, b""),
        (0, ID.upper().encode()),
        (0, ID.encode() + b"\n"),
        (1, b"deadbeef"),
        (1, b"00000000deadbeeg"),
        (2, b"0"),  # seqs begin at 1
        (2, b"-5"),
        (2, b"10"),  # beyond the end
        (3, b"9" * 20),
        (3, b"9223372036854775808"),
        (3, b"9 "),
    ],
)
def test_malformed_offers(index: int, field: bytes) -> None:
    assert parse_lineage(FIELDS) is not None
    fields = FIELDS.copy()
    fields[index] = field
    assert parse_lineage(fields) is None


@pytest.mark.parametrize("count", [0, 3, 5])
def test_another_number_of_fields_is_malformed(count: int) -> None:
    assert parse_lineage((FIELDS + FIELDS)[:count]) is None


@given(st.lists(st.binary()))
def test_anything_can_be_parsed(values: list[bytes]) -> None:
    parse_lineage(values)
    high_water_mark_in({HAVE: values})
    is_refused({HAVE: values})


@pytest.mark.parametrize(
    "line", [b"", HAVE + b"=", HAVE + b"=5", HAVE + b"=x,0123456789abcdef", NOT_BELIEVED, PASSED]
)
def test_answers_that_say_no_number(line: bytes) -> None:
    assert high_water_mark_in(parse_offers(line)) is None


def test_that_others_may_have_a_part_is_a_line_of_its_own() -> None:
    offer = LineageOffer(ID, EPOCH, 5, 9, elsewhere=True)
    offers = parse_offers(format_lineage(offer))
    assert offers[ELSEWHERE] == [b"1"]
    assert parse_lineage(offers[LINEAGE]) == offer._replace(elsewhere=False)


def test_a_refusal() -> None:
    assert is_refused(parse_offers(b"commands=syslog\n" + NOT_BELIEVED))
    assert not is_refused(parse_offers(b"commands=syslog"))


@given(st.booleans(), st.booleans())
def test_what_a_client_knows_is_said_in_lines_of_their_own(elsewhere: bool, passes: bool) -> None:
    offer = LineageOffer(ID, EPOCH, 5, 9, elsewhere=elsewhere, knows_pass=passes)
    offers = parse_offers(format_lineage(offer))
    assert lineage_in(offers) == offer
    assert (PASS in offers, ELSEWHERE in offers) == (passes, elsewhere)


def test_numbers_that_are_passed_on() -> None:
    assert is_passed(parse_offers(b"commands=syslog\n" + PASSED))
    assert not is_refused(parse_offers(PASSED))
    for line in (
        b"commands=syslog",
        HAVE + b"=pass,0",
        NOT_BELIEVED,
        HAVE + b"=5," + EPOCH.encode(),
    ):
        assert not is_passed(parse_offers(line))
