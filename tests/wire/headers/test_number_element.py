from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.number_element import SD_ID, with_number
from relay.wire.headers.structured_data import parse_structured_data
from tests.any_messages import frames

LINEAGE = b"0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"
HEADER = b"<13>1 2026-11-30T23:10:26Z host app 12 - "
OURS = b'[syslogrelay@32473 lineage="%b" seq="57"]' % LINEAGE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"-", OURS),
        (b"- text [a]", OURS + b" text [a]"),
        (b'[a@1 b="c"] text', OURS + b'[a@1 b="c"] text'),
        (b'[a@1 b="\\]"][syslogrelay@32473 seq="1"] m', OURS + b'[a@1 b="\\]"] m'),
        (
            b'[syslogrelay@32473 hops="x 1" seq="1\\"" lineage="me"][z] m',
            b'[syslogrelay@32473 hops="x 1" lineage="%b" seq="57"][z] m' % LINEAGE,
        ),
        (b'[syslogrelay@32473][b][syslogrelay@32473 seq="9" seq="8"]', OURS + b"[b]"),
        (b'- [syslogrelay@32473 seq="1"]', OURS + b' [syslogrelay@32473 seq="1"]'),
        (b'[sequence seq="1"] syslogrelay@32473', OURS + b'[sequence seq="1"] syslogrelay@32473'),
    ],
)
def test_the_number_is_put_in_or_replaced(before: bytes, after: bytes) -> None:
    assert with_number(HEADER + before, LINEAGE, 57) == HEADER + after
    assert with_number(HEADER + after, LINEAGE, 57) == HEADER + after


@pytest.mark.parametrize(
    "payload",
    [b"", b"<13>Nov 30 23:10:26 host app: text", HEADER, HEADER + b"-x", b'{"a": "<13>1"}'],
)
def test_other_payloads_stay(payload: bytes) -> None:
    assert with_number(payload, LINEAGE, 57) == payload


values = st.text(max_size=6).map(lambda text: text.encode())
parameters = st.lists(
    st.tuples(st.sampled_from([b"lineage", b"seq", b"hops", b"a", b"seqs"]), values), max_size=4
)
elements = st.lists(
    st.tuples(st.sampled_from([SD_ID, b"a@1", b"syslogrelay@324730"]), parameters), max_size=4
)


def escaped(value: bytes) -> bytes:
    return value.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"]", b"\\]")


@given(elements, st.binary(max_size=30), st.integers(1, 10**15))
def test_everything_else_stays(
    given_elements: list[tuple[bytes, list[tuple[bytes, bytes]]]], text: bytes, seq: int
) -> None:
    written = b"".join(
        b"[%b%b]" % (id, b"".join(b' %b="%b"' % (name, escaped(value)) for name, value in pairs))
        for id, pairs in given_elements
    )
    numbered = with_number(HEADER + (written or b"-") + b" " + text, LINEAGE, seq)
    assert numbered.endswith(b" " + text)
    data = numbered[len(HEADER) : len(numbered) - len(text) - 1]
    found, expected = parse_structured_data(data), parse_structured_data(written)
    ours = expected.setdefault(SD_ID.decode(), {})
    ours |= {"lineage": [LINEAGE], "seq": [b"%d" % seq]}
    assert found == expected
    assert data.count(b"[" + SD_ID + b" ") == 1


@given(frames, st.integers(1, 10**15))
def test_any_payload_can_be_given_a_number(payload: bytes, seq: int) -> None:
    numbered = with_number(payload, LINEAGE, seq)
    assert with_number(numbered, LINEAGE, seq) == numbered
