"""What is compiled of this layer does what its twin in Python does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.transport.many_datagrams import plain_cut_slots
from relay.wire.acceleration import IS_COMPILED, compiled
from relay.wire.adapters import adapt
from relay.wire.framing import NewlineDecoder
from relay.wire.parse import DELIMITERS, Dialect, parse_all, parse_as, plain_parse_all
from relay.wire.relp_frame import plain_encode_consecutive, plain_encode_syslog
from relay.wire.relp_run import plain_cut_run
from relay.wire.sizes import plain_fitting, plain_octets_of
from tests.any_messages import frames
from tests.wire.test_usual_headers import NEARLY_USUAL

pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)

texts = st.lists(st.binary(max_size=40) | st.just(b"x" * 1000), max_size=12)
rows = texts | texts.map(tuple)
numbers = st.sampled_from([1, 2, 9, 10, 98, 99, 999_999_998, 999_999_999]) | st.integers(0, 10**9)


@given(rows, st.integers(0, 14), st.integers(0, 14), st.integers(0, 2500))
def test_sizes(payloads: Sequence[bytes], start: int, stop: int, octets_max: int) -> None:
    assert compiled.octets_of(payloads) == plain_octets_of(payloads)
    expected = plain_fitting(payloads, start, max(start, stop), octets_max)
    assert compiled.fitting(payloads, start, max(start, stop), octets_max) == expected


@given(rows, numbers)
def test_frames_and_answers(payloads: Sequence[bytes], first_txnr: int) -> None:
    frames = compiled.encode_syslog(first_txnr, payloads)
    assert frames == plain_encode_syslog(first_txnr, payloads)
    answers = compiled.encode_answers(first_txnr, len(payloads))
    assert answers == plain_encode_consecutive(first_txnr, len(payloads))


PIECES = [b"7", b"8", b"9", b"10", b"007", b" ", b" syslog ", b"syslog", b"1", b"3 ", b"\n", b"a"]
streams = st.tuples(texts, st.lists(st.sampled_from(PIECES) | st.binary(max_size=3)), texts).map(
    lambda parts: (
        plain_encode_syslog(7, parts[0])
        + b"".join(parts[1])
        + plain_encode_syslog(7 + len(parts[0]), parts[2])
    )
)


@given(streams, st.integers(6, 8), st.sampled_from([0, 5, 999, 1000]))
def test_runs(stream: bytes, first_txnr: int, data_bytes_max: int) -> None:
    expected = plain_cut_run(stream, first_txnr, data_bytes_max)
    assert compiled.cut_run(stream, first_txnr, data_bytes_max) == expected


usual = st.sampled_from(
    [
        b'<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 [a b="c"] \xef\xbb\xbfhello\n',
        b"<0>1 2026-11-21T05:00:00+01:00 - - - - -",
        b"<13>1 2026-11-21T05:00:00+01:00 web-1 app 12 - -  two spaces",
        b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed\r\n",
        b"<34>Oct  1 22:14:15 mymachine su:failed",
        b"<191>Oct  1 22:14:15 su: failed",
        b"<13>Oct  1 22:14:15 2026 su: failed",
        b"<13>Oct  1 22:14:15 192.0.2.1 %ASA-6-302013: Built",
        b'<13>1 2026-11-21T05:00:00Z h @syslog-ng - - - {"MESSAGE":"x"}',
    ]
)


@given(st.lists(st.one_of(usual, NEARLY_USUAL, frames)), st.booleans(), st.booleans())
def test_messages(lines: list[bytes], adapting: bool, expects_host: bool) -> None:
    dialect = Dialect(adapt=adapt if adapting else None, hosts=(None, expects_host))
    plain = [parse_as(dialect, line.rstrip(DELIMITERS), line) for line in lines]
    assert parse_all(lines, dialect) == plain
    assert parse_all(tuple(lines), dialect) == plain
    if not adapting and expects_host:
        assert plain_parse_all(lines) == plain


def test_usual_messages_are_made_by_compiled_code_alone() -> None:
    lines = [b"<34>Oct 11 22:14:15 192.0.2.1 su[230]: x\n", b"<13>1 2026-11-21T05:00:00Z a b c d -"]
    messages, left = compiled.parse_usual([*lines, b"hello", *lines], SyslogMessage, True)
    assert (messages[:2] + messages[3:], left) == (plain_parse_all(lines * 2), [2])
    assert all(type(message) is SyslogMessage for message in messages if message)
    first, second = compiled.parse_usual(lines[:1] * 2, SyslogMessage, True)[0]
    assert first.app_name is second.app_name  # made once


def test_a_run_ends_wherever_its_octets_end() -> None:
    stream = plain_encode_syslog(99, [b"hello", b"a\nb", b"x" * 12])
    for size in range(len(stream)):
        assert compiled.cut_run(stream[:size], 99, 100) == plain_cut_run(stream[:size], 99, 100)


@given(st.binary(min_size=40, max_size=90), st.lists(st.integers(0, 10), max_size=4))
def test_slots(octets: bytes, sizes: list[int]) -> None:
    expected = plain_cut_slots(memoryview(octets), 10, sizes)
    assert compiled.cut_slots(memoryview(octets), 10, sizes) == expected


@pytest.mark.parametrize(
    ("slot_bytes", "sizes"),
    [(10, [1] * 5), (10, [11]), (10, [-1]), (0, [0]), (-1, [0]), (41, [1]), (2**62, [1, 1])],
)
def test_slots_that_are_not_there_are_refused(slot_bytes: int, sizes: list[int]) -> None:
    with pytest.raises(ValueError, match=str(slot_bytes)):
        compiled.cut_slots(memoryview(bytes(40)), slot_bytes, sizes)


lines = st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", b"x" * 9])).map(b"".join)


@given(lines, st.booleans())
def test_lines(text: bytes, keep_empty: bool) -> None:
    found = compiled.split_lines(text, 8, keep_empty)
    expected = [line.removesuffix(b"\r") for line in text.split(b"\n")]
    if any(len(line) > 8 for line in expected):
        assert found is None
    else:
        assert found == [line or b"\n" for line in expected if line or keep_empty]


def test_a_decoder_goes_the_long_way_for_long_lines_only() -> None:
    decoder = NewlineDecoder(frame_bytes_max=8)
    assert decoder.feed(b"one\r\n\ntwo\n" + b"x" * 9 + b"\nthree\n") == [
        *(b"one", b"two", b"x" * 8, b"three")
    ]
    assert decoder.cut == {2: 9}


@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(b"x"), memoryview(b"x")])
def test_what_is_not_bytes_is_a_type_error(wrong: Any) -> None:
    for call in (
        lambda: compiled.octets_of([b"x", wrong]),
        lambda: compiled.fitting([wrong], 0, 1, 10),
        lambda: compiled.encode_syslog(1, [b"x", wrong]),
        lambda: compiled.split_lines(wrong, 10, False),
        lambda: compiled.cut_run(wrong, 1, 10),
        lambda: compiled.parse_usual([wrong], SyslogMessage, True),
    ):
        with pytest.raises(TypeError):
            call()


def test_numbers_below_zero_are_refused() -> None:
    for call in (
        lambda: compiled.fitting([b"x"], -1, 1, 10),
        lambda: compiled.encode_syslog(-1, [b"x"]),
        lambda: compiled.encode_answers(-1, 2),
        lambda: compiled.encode_answers(1, -2),
    ):
        with pytest.raises(ValueError, match="-"):
            call()


def test_nothing_is_kept_of_what_went_through() -> None:
    payloads = [b"%d" % number * 7 for number in range(500)]
    stream = plain_encode_syslog(1, payloads)
    lines = [b"<34>Oct 11 22:14:15 h su[%d]: x" % number for number in range(250)]
    lines += [b"<34>1 2026-11-21T05:00:00Z h su %d - - x" % number for number in range(250)]

    def blocks_after() -> int:
        for row in (list(payloads), tuple(payloads)):
            compiled.octets_of(row)
            compiled.fitting(row, 0, 500, 900)
            compiled.encode_syslog(1, row)
        compiled.encode_answers(1, 500)
        compiled.cut_run(stream, 1, 1000)
        compiled.split_lines(stream, 1000, True)
        compiled.parse_usual(lines, SyslogMessage, True)
        gc.collect()
        return sys.getallocatedblocks()

    before = [blocks_after() for _ in range(3)][-1]
    assert [blocks_after() for _ in range(20)][-1] - before < len(payloads)
