from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import (
    TXNR_MAX,
    beginning_with,
    containing,
    cut_run,
    encode_syslog,
    fitting,
    reference,
    tally,
    total_bytes,
)
from relay.wire.relp.frame import RelpFrame, RelpFrameDecoder

MANY = [b"%03d" % number + b"x" * 97 for number in range(40)]  # enough to be cut as a whole
LIMIT = 200


def cut(buffer: bytes, first_txnr: int = 2) -> tuple[list[bytes], int]:
    return cut_run(buffer, first_txnr, data_bytes_max=LIMIT)


@pytest.mark.parametrize("payloads", [MANY[:1], MANY[:2], MANY])
@pytest.mark.parametrize("rest", [b"", b"4", b"42 syslog 1 ", b"42 syslog 1 x"])
def test_all_that_is_complete_is_taken(payloads: list[bytes], rest: bytes) -> None:
    stream = encode_syslog(2, payloads)
    assert cut(stream + rest) == (payloads, len(stream))


UNUSUAL = [
    *(b"42 close 0\n", b"42 Syslog 1 x\n", b"43 syslog 1 x\n", b"42  syslog 1 x\n", b"\n"),
    *(b"42 syslog 0\n", b"42 syslog 5 a\n42 syslog 1 x\n", b"42 syslog 1 xy\n", b"42 syslog 2 x\n"),
    *(b"+42 syslog 1 x\n", b"42 syslog +1 x\n", b"42 syslog 1_0 0123456789\n"),
    b"42 syslog 201 " + b"x" * 201 + b"\n",
]


@pytest.mark.parametrize("before", [0, 1, 40])
@pytest.mark.parametrize("unusual", UNUSUAL)
def test_what_is_unusual_ends_the_run(unusual: bytes, before: int) -> None:
    stream = encode_syslog(42 - before, MANY[:before]) if before else b""
    rest = unusual + encode_syslog(43, MANY)
    assert cut(stream + rest, 42 - before) == (MANY[:before], len(stream))


@pytest.mark.parametrize("many", [1, 40])
def test_line_feeds_in_messages_and_zeros_before_numbers_are_none_of_that(many: int) -> None:
    payloads = [b"a\n42 syslog 1 x\n", *MANY[:many]]
    stream = encode_syslog(41, payloads)
    assert cut(stream, 41) == (payloads, len(stream))
    stream = stream.replace(b"41 syslog 16", b"0041 syslog 00016")
    assert cut(stream, 41) == (payloads, len(stream))


@pytest.mark.parametrize("payloads", [MANY[:2], MANY])
def test_numbers_end_where_they_begin_again(payloads: list[bytes]) -> None:
    last = encode_syslog(TXNR_MAX, payloads[:1])
    stream = last + encode_syslog(1, payloads[1:])
    assert cut(stream, TXNR_MAX) == (payloads[:1], len(last))
    beyond = encode_syslog(TXNR_MAX, payloads)  # what would follow if there were no last one
    assert cut(beyond, TXNR_MAX) == (payloads[:1], len(last))


texts = st.one_of(st.binary(max_size=60), st.sampled_from([*MANY, b"a\nb", b"x" * 201, b""]))
strange = st.one_of(st.binary(max_size=9), st.sampled_from(UNUSUAL))


@given(st.lists(texts, max_size=30), st.integers(0, 30), strange, st.lists(st.integers(0, 6000)))
def test_a_run_and_what_follows_are_what_the_decoder_finds(
    payloads: list[bytes], at: int, odd: bytes, cuts: list[int]
) -> None:
    texts = [*MANY, *payloads, *MANY]
    frames = [
        b"%d syslog %d %s\n" % (txnr, len(text), text) if text else b"%d syslog 0\n" % txnr
        for txnr, text in enumerate(texts, 2)
    ]
    stream = b"".join([*frames[: 30 + at], odd, *frames[30 + at :]])
    chunks = [stream[a:b] for a, b in pairwise([0, *sorted(cuts), len(stream) + 6000])]
    for truncate in (True, False):
        plain = RelpFrameDecoder(data_bytes_max=LIMIT, truncate=truncate)
        running = RelpFrameDecoder(data_bytes_max=LIMIT, truncate=truncate)
        expected = plain.feed(stream)
        found: list[RelpFrame] = []
        cut_at: dict[int, int] = {}
        for chunk in chunks:
            first = found[-1].txnr + 1 if found else 2
            messages, others = running.feed_run(chunk, first)
            found += [RelpFrame(txnr, b"syslog", text) for txnr, text in enumerate(messages, first)]
            cut_at |= {len(found) + index: data for index, data in running.cut.items()}
            found += others
        assert found == expected
        assert cut_at == plain.cut
        assert (running.error is None) == (plain.error is None)  # its words quote what was there
        assert running.inside_frame == plain.inside_frame


PAYLOADS = [b"a", b"bb", b"", b"cccc"]


@pytest.mark.parametrize("function", [total_bytes, reference.total_bytes])
def test_all_bytes_are_counted(function: object) -> None:
    assert callable(function)
    assert [function(PAYLOADS), function(tuple(PAYLOADS[1:])), function([])] == [7, 6, 0]


@pytest.mark.parametrize("function", [tally, reference.tally])
def test_messages_are_counted_by_severity(function: Callable[..., int]) -> None:
    severities = [0] * 8
    texts = [
        b"<0>a",
        b"<191>b",
        b"<192>no",
        b"<13>",
        b"<13",
        b"none",
        b"",
        b"<013>x",
        b"<>",
        b"<1a>",
    ]
    assert function(texts, severities, 6) == sum(map(len, texts))
    assert severities == [1, 0, 0, 0, 0, 2, 6, 1]
    with pytest.raises(ValueError, match="9 severities, expected 8"):
        function([], [0] * 9, 5)


@pytest.mark.parametrize("function", [fitting, reference.fitting])
@pytest.mark.parametrize(
    ("start", "stop", "bytes_max", "count"),
    [
        *((0, 4, 7, 4), (0, 4, 6, 3), (0, 4, 3, 3), (0, 4, 2, 1), (0, 4, 0, 0), (2, 4, 0, 1)),
        *((1, 2, 100, 1), (1, 99, 100, 3), (4, 4, 100, 0), (9, 9, 100, 0)),
    ],
)
def test_what_fits_is_counted_from_the_start(
    function: object, start: int, stop: int, bytes_max: int, count: int
) -> None:
    assert callable(function)
    assert function(PAYLOADS, start, stop, bytes_max) == count


@pytest.mark.parametrize("function", [beginning_with, reference.beginning_with])
def test_payloads_are_found_by_their_first_byte(function: object) -> None:
    assert callable(function)
    assert function([b"\0a", b"b\0", b"\0", b""], 0) == [0, 2]
    assert function((b"ab", b"bc", b"\xff"), 255) == [2]
    assert function([], 0) == []


@pytest.mark.parametrize("function", [containing, reference.containing])
def test_payloads_are_found_by_a_part_of_them(function: object) -> None:
    assert callable(function)
    assert function([b"xab", b"ba", b"", b"a", b"ab\0"], b"ab") == [0, 4]
    assert function((b"a\0b", b"a"), b"\0") == [0]
    assert function([], b"a") == []
