"""Forms that compiled code writes: their writers in Python are the reference, byte by byte."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, tzinfo
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, joined, native
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.wire.parse import read_lines
from tests.any_messages import many_examples
from tests.bench import traffic
from tests.codec.every_form import (
    DIALECTS,
    FORM_NAMES,
    KNOWN,
    ORIGINS,
    TOKEN,
    Both,
    arrival_of,
    counted_forms,
    every_form,
)
from tests.codec.known_lines import (
    WHOLE,
    edited,
    field_lines,
    joined_tokens,
    lines_of_all_kinds,
    odd_lines,
    pool,
)

pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)

ZONES: tuple[tzinfo, ...] = (
    UTC,
    ZoneInfo("America/New_York"),
    ZoneInfo("Europe/Budapest"),
    ZoneInfo("Australia/Lord_Howe"),  # half an hour of daylight saving time
)
FORMS = {zone: every_form(zone) for zone in ZONES}
NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
MOMENTS = (
    *(NEW_YEAR - 86400, NEW_YEAR - 0.25, NEW_YEAR, NEW_YEAR + 5 * 3600, NEW_YEAR + 86400.5),
    datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp(),
    datetime(2024, 3, 10, 7, 30, tzinfo=UTC).timestamp(),  # a clock in New York is put forward
    datetime(2024, 11, 3, 6, 30, tzinfo=UTC).timestamp(),  # and back
    0.0,
    4.0e9,
)
ENVELOPE = b'<13>1 - h @syslog-ng - - - {"MESSAGE":"x"}'
"""What only the reference reads."""
each_form = pytest.mark.parametrize("name", FORM_NAMES)
each_zone = pytest.mark.parametrize("zone", ZONES, ids=str)


def spread(count: int) -> list[int]:
    """Where the lines of six origins end; those of one of them are none."""
    return [count // 5, count // 5, count // 3, count // 2, count - count // 7, count]


@each_form
def test_lines_of_the_field(name: str) -> None:
    frames = [*WHOLE, *field_lines()]
    for zone, moment in zip(ZONES, MOMENTS, strict=False):
        FORMS[zone][name].check(frames, arrival_of(spread(len(frames)), moment))


@each_form
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_lines_of_all_kinds_of_traffic(name: str, dialect: Any) -> None:
    frames = lines_of_all_kinds(120)
    arrival = arrival_of(spread(len(frames)), MOMENTS[0])
    FORMS[ZONES[1]][name].check(frames, arrival, dialect=dialect)


@each_form
@pytest.mark.parametrize("line", WHOLE)
def test_a_line_may_end_anywhere(name: str, line: bytes) -> None:
    cuts = [line[:size] for size in range(len(line) + 1)]
    FORMS[UTC][name].check(cuts, arrival_of(spread(len(cuts)), 1.0e9))


arrivals = st.tuples(st.lists(st.integers(0, 8), max_size=3).map(sorted), st.sampled_from(MOMENTS))


@given(st.lists(odd_lines, max_size=8), arrivals, st.sampled_from(ZONES), st.data())
@many_examples(200)
def test_odd_lines_of_several_origins(
    frames: list[bytes], came: tuple[list[int], float], zone: tzinfo, data: st.DataObject
) -> None:
    """All lines of a batch, and some of them."""
    stops, moment = came
    arrival = arrival_of([min(stop, len(frames)) for stop in [*stops, 8]], moment)
    indexes = sorted(
        data.draw(st.sets(st.sampled_from(range(len(frames)))) if frames else st.just(set()))
    )
    dialect = data.draw(st.sampled_from([*DIALECTS.values()]))
    for both in FORMS[zone].values():
        payloads = both.check(frames, arrival, dialect=dialect)
        some = both.form.write(read_lines(frames, dialect), indexes, arrival)
        assert some == [payloads[index] for index in indexes]


@pytest.mark.slow
@each_form
@pytest.mark.parametrize("seed", range(3))
def test_many_odd_lines(name: str, seed: int) -> None:
    source = Random(seed)
    for _ in range(60):
        frames = [edited(source, source.choice(pool())) for _ in range(200)]
        frames += [joined_tokens(source) for _ in range(100)]
        stops = sorted(source.choices(range(301), k=3))
        arrival = arrival_of([*stops, 300], source.choice(MOMENTS))
        dialect = source.choice([*DIALECTS.values()])
        both = FORMS[source.choice(ZONES)][name]
        payloads = both.check(frames, arrival, dialect=dialect)
        some = sorted(source.sample(range(300), 100))
        written = both.form.write(read_lines(frames, dialect), some, arrival)
        assert written == [payloads[index] for index in some]


STAMPS = [
    *(b"Dec 31 23:59:59", b"Jan  1 00:00:00", b"Feb 29 12:00:00", b"Feb 30 12:00:00"),
    *(b"Mar 10 01:59:59", b"Mar 10 02:30:00", b"Mar 10 03:00:00", b"Nov  3 01:30:00"),
    *(b"Mar 31 02:30:00", b"Oct 27 02:30:00", b"Oct  6 02:15:00", b"Apr  7 01:45:00"),
    *(
        b"Dec 31 23:59:59.999999",
        b"Dec 31 2023 23:59:60",
        b"Dec 31 23:59:59+02",
        b"Jan  1 00:00:00 UTC",
    ),
    *(b"2024-03-10T02:30:00", b"2024-11-03T01:30:00.5", b"2023-12-31T23:59:60Z"),
    *(
        b"2023-12-31T23:59:59.1234567-00:00",
        b"2024-02-29 24:00:00,5+24:00",
        b"0001-01-01T00:00:00+23:59",
    ),
    *(b"9999-12-31T23:59:59-23:59", b"1700000000.5 ", b"2023-02-29T00:00:00Z", b"-"),
]


@each_form
@each_zone
def test_stamps_around_the_ends_of_years_and_of_daylight_saving_time(
    name: str, zone: tzinfo
) -> None:
    frames = [
        start % stamp
        for stamp in STAMPS
        for start in (b"<13>%s h su[1]: x", b"<13>1 %s h a - - - x", b"<13>%s su: x")
    ]
    for moment in MOMENTS:
        FORMS[zone][name].check(frames, arrival_of(spread(len(frames)), moment))


LONG = [
    start + byte * 3000 + end
    for byte in (b"\xff", b'"', b"\x01", b"\\", b"a", b" ", b"\xc3\xa9", b"{", b"[", b":", b"=")
    for start, end in (
        (b"<13>", b""),
        (b"<13>Oct 11 22:14:15 ", b" su: x"),
        (b"<13>Oct 11 22:14:15 h ", b": x"),
        (b"<13>Oct 11 22:14:15 h su[", b"]: x"),
        (b"<13>Oct 11 22:14:15 h su: ", b""),
        (b"<13>1 - ", b" a - - - x"),
        (b"<13>1 - h ", b" - - - x"),
        (b"<13>1 - h a ", b" - - x"),
        (b"<13>1 - h a p ", b" - x"),
        (b'<13>1 - h a p m [a b="', b'"] x'),
        (b"<13>1 - h a p m - \xef\xbb\xbf", b""),
        (b"", b": 77: Nov 30 12:13:14: %SYS-5-X: y"),
    )
]


@each_form
def test_there_is_room_for_what_long_lines_become(name: str) -> None:
    both = FORMS[UTC][name]
    both.check(LONG, arrival_of(spread(len(LONG)), 1.0e9))
    name_of_peer = Origin('"' * 3000, Transport.TCP, "h" * 3000, 1)
    both.check([b"x", *LONG], Arrival([(len(LONG) + 1, name_of_peer)], 1.0e9, 0.0))


@each_form
@pytest.mark.parametrize("kind", traffic.KINDS)
def test_ordinary_traffic_never_asks_the_reference(name: str, kind: str) -> None:
    lines = traffic.lines(kind)
    frames = [line.raw for line, _ in zip(lines, range(600), strict=False) if line.family != "odd"]
    asked: list[bytes] = []
    form = counted_forms(ZONES[1], asked)[name]
    payloads = form.write(read_lines(frames), None, arrival_of(spread(len(frames)), MOMENTS[0]))
    assert len(payloads) == len(frames) > 500
    assert asked == []
    # That it is asked at all when it has to be.
    form.write(read_lines([ENVELOPE]), None, arrival_of([1], 0.0))
    assert asked == [ENVELOPE]


# What each policy does with a program that is none.

OWN = TOKEN.reveal()
STAMP = b"2000-10-11T22:14:15+00:00"
OBJECT = b'{"logsene-app-token": "%s", ' % OWN


def written(name: str, text: bytes, *, asks: bool = False) -> bytes:
    """What stands behind the stamp of the payload of a line of RFC 3164, or of a whole line.

    Args:
        asks: The reference is to be asked.
    """
    line = text if text.startswith(b"<") else b"<13>Oct 11 22:14:15 h " + text
    arrival = arrival_of([1], 1.0e9)
    (payload,) = FORMS[UTC][name].check([line], arrival)
    asked: list[bytes] = []
    counted_forms(UTC, asked)[name].write(read_lines([line]), None, arrival)
    assert bool(asked) == asks, line
    return payload.partition(b" h ")[2]


@pytest.mark.parametrize(
    ("text", "tag", "message"),
    [
        (b"cron[230]: hi", b"cron[230]", b'"hi"'),
        (b"cron hello", b"cron", b'"hello"'),
        (b"cron:  hello", b"cron", b'" hello"'),
        (b"cron[1]x: hi", b"-", b'"cron[1]x: hi"'),
        (b"[7]: hi", b"-", b'"[7]: hi"'),
        (b'cron: "q" \\', b"cron", b'"\\"q\\" \\\\"'),
    ],
)
def test_cee_puts_an_irregular_tag_into_the_text(text: bytes, tag: bytes, message: bytes) -> None:
    assert written("cee", text) == b'%s:@cee: %s"message": %s}' % (tag, OBJECT, message)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        (b'cron: {"a":1}', b'cron:@cee: %s"a":1}' % OBJECT),
        (b'cron: @cee: {"a": {"b": [1]}}', b'cron:@cee: %s"a": {"b": [1]}}' % OBJECT),
        (b"cron: {", b'cron:@cee: %s"message": "{"}' % OBJECT),
        (b"cron: {}", b'cron:@cee: {"logsene-app-token": "%s"}' % OWN),
    ],
)
def test_cee_puts_the_token_into_an_object(text: bytes, payload: bytes) -> None:
    assert written("cee", text) == payload


@pytest.mark.parametrize(
    ("text", "msg"),
    [
        (b"cron[230]: hi", b"hi"),
        (b"cron hello", b"cron hello"),
        (b"cron[1] hi", b"hi"),
        (b"cron[1]x: hi", b"cron[1]x: hi"),
        (b"cron:hi", b"hi"),
    ],
)
def test_tag_and_app_name_put_a_program_that_is_no_tag_into_the_text(
    text: bytes, msg: bytes
) -> None:
    assert written("tag", text) == b"%s:%s" % (OWN, msg)
    procid = b"230" if b"230" in text else b"1" if text == b"cron[1] hi" else b"-"
    assert written("app-name", text) == b"%s %s - - %s" % (OWN, procid, msg)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        (b"cron[230]: hi", b"cron 230 - - hi"),
        (b"cron hello", b"cron - - - hello"),
        (b"%s hi" % (b"a" * 48), b"%s - - - hi" % (b"a" * 48)),
        (b"%s hi" % (b"a" * 49), b"- - - - %s hi" % (b"a" * 49)),
        (b"%s: hi" % (b"a" * 49), b"%s - - - hi" % (b"a" * 48)),
        (b"cron[1]x: hi", b"- - - - cron[1]x: hi"),
        (b"<13>1 - h a p m - \xef\xbb\xbfhi\n", b"a p m - \xef\xbb\xbfhi"),
        (b"<13>1 - h a p m -", b"a p m -"),
        (b'<13>1 - h a p m [x y="\n"] hi', b'a p m [x y="#012"] hi'),
    ],
)
def test_rfc5424_has_room_for_48_bytes_of_a_program(text: bytes, payload: bytes) -> None:
    assert written("rfc5424", text) == payload


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        (b"cron[230]: hi", b"cron[230]: hi"),
        (b"cron hello", b"cron hello"),
        (b"cron[1]x: hi", b"cron[1]x: hi"),
        (b"cron:  hi", b"cron:  hi"),
        (b"<13>1 - h a p m - hi", b"a[p]: hi"),
        (b"<13>1 - h a[b p m - hi", b"a_b[p]: hi"),
        (b"<13>1 - h - - - - hi", b"-: hi"),
    ],
)
def test_rfc3164_writes_tags_as_they_came(text: bytes, payload: bytes) -> None:
    assert written("rfc3164", text) == payload
    assert written("rfc3164 iso", text) == payload


def test_ewmm_has_all_that_was_read() -> None:
    line = b'<13>1 2003-10-11T22:14:15.0001Z h a p m [x y="z"] h "i"'
    assert FORMS[UTC]["ewmm"].check([line], Arrival([(1, ORIGINS[1])], 1.0e9, 0.0)) == [
        b"<13>1 2003-10-11T22:14:15.000+00:00 relay.example @syslog-ng - - "
        b'[x y="z"] {"PROGRAM":"a","PID":"p","MSGID":"m","MESSAGE":"h \\"i\\"",'
        b'"HOST_FROM":"relay.example","HOST":"h",'
        b'".unix":{"uid":"8","pid":"7","gid":"9"},'
        b'".syslogrelay":{"timestamp":"2003-10-11T22:14:15.0001Z"},"._TAGS":".source.local"}'
    ]


@pytest.mark.parametrize("name", ["cee", "tag", "app-name"])
@pytest.mark.parametrize(
    ("own", "is_token"),
    [
        *((word, True) for word in KNOWN),
        (b"ABCDEF01-89ab-cdef-0123-456789abcdef", True),
        (b"ABCDEF01-89ab-cdef-0123-456789abcdeg", False),
        (b"ABCDEF01-89ab-cdef-0123-456789abcde", False),
        (b"ABCDEF01089ab-cdef-0123-456789abcdef", False),
        (b"other-toke", False),
        (b"t" * 254, False),
        (b"t" * 256, False),
    ],
)
def test_a_token_in_a_header_is_the_affair_of_the_reference(
    name: str, own: bytes, is_token: bool
) -> None:
    payload = written(name, b"%s: hi" % own, asks=is_token)
    assert (OWN in payload) == (not is_token)
    if is_token:
        assert (own[:48] if name == "app-name" else own) in payload


@pytest.mark.parametrize("name", ["tag", "app-name"])
@pytest.mark.parametrize("key", [b'{"logsene-app-token":"x"}', b"logsene-app-token", b"{}"])
def test_a_text_that_may_carry_a_token_is_the_affair_of_the_reference(
    name: str, key: bytes
) -> None:
    payload = written(name, b"cron: " + key, asks=b"logsene" in key)
    assert (OWN in payload) == (key[:2] != b'{"')


@each_form
def test_what_only_the_reference_reads_is_written_by_it(name: str) -> None:
    written(name, ENVELOPE, asks=True)


# Arguments.


@each_form
def test_no_lines_and_no_indexes(name: str) -> None:
    form = FORMS[UTC][name].form
    assert form.write(read_lines([]), None, Arrival([], 0.0, 0.0)) == []
    assert form.write(read_lines([]), [], arrival_of([0], 0.0)) == []
    assert form.write(read_lines([b"x"]), [], arrival_of([1], 0.0)) == []
    assert form.write_messages([], ORIGINS[0]) == []


@each_form
@pytest.mark.parametrize("index", [-1, 2, 2**40, -(2**40)])
def test_a_line_that_is_not_there_is_an_index_error(name: str, index: int) -> None:
    form = FORMS[UTC][name].form
    with pytest.raises(IndexError, match="of 2"):
        form.write(read_lines([b"x", b"y"]), [0, index], arrival_of([2], 0.0))


@each_form
def test_a_run_beyond_the_last_line_is_a_value_error(name: str) -> None:
    form = FORMS[UTC][name].form
    with pytest.raises(ValueError, match="a run to line 3 of 2"):
        form.write(read_lines([b"x", b"y"]), None, arrival_of([1, 3], 0.0))


@pytest.mark.parametrize("wrong", [None, [b"<13>x"], 5])
def test_what_is_no_lines_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        _native([("pri", None)]).write(wrong, None, arrival_of([1], 0.0))


@pytest.mark.parametrize("wrong", [[1, 0], [0, 0], [0, 2, 1]])
def test_indexes_ascend(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match="behind line"):
        FORMS[UTC]["cee"].form.write(read_lines([b"x"] * 3), wrong, arrival_of([3], 0.0))


@pytest.mark.parametrize("wrong", ["0", None, 1.5])
def test_what_is_no_index_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        FORMS[UTC]["cee"].form.write(read_lines([b"x"]), [wrong], arrival_of([1], 0.0))


def _native(pieces: Any, policy: str = "as-read", **changed: Any) -> Any:
    from relay.codec import forms, stamps
    from relay.wire.headers.timestamp import CONVERSIONS

    arguments: dict[str, Any] = {
        "format_tag": lambda app_name, procid: b"tag",
        "format_host": lambda host: b"host",
        "format_hostname": lambda host: b"hostname",
        "bind": lambda origin: (b"h", b"n", b'"s"'),
        "ends": lambda origin, tags: (b"e", b"b", b"a"),
        "reference": lambda messages, origin: [b"reference"],
    }
    arguments.update(changed)
    row = [arguments.pop(name) for name in ("bind", "ends", "reference")]
    return forms.Form(pieces, policy, stamps.Stamps(UTC, CONVERSIONS), *row, **arguments)


@pytest.mark.parametrize(
    ("pieces", "policy", "error"),
    [
        ([("pri", None)], "no-such", KeyError),
        ([("no-such", None)], "as-read", KeyError),
        ([("pri", None)] * 33, "as-read", ValueError),
        ([("literal", "text")], "as-read", TypeError),
        ([("literal", None)], "as-read", TypeError),
        ([("member", (b"x", "no-such"))], "as-read", KeyError),
        ([("stamp", "rfc3339")], "as-read", TypeError),
        ([("stamp", 5)], "as-read", ValueError),
        ([("stamp", -1)], "as-read", ValueError),
        ([("object", None)], "names-kept", ValueError),
        ([("pri",)], "as-read", ValueError),
        (5, "as-read", TypeError),
        ([("pri", None)], None, TypeError),
    ],
)
def test_a_program_that_makes_no_sense_is_refused(
    pieces: Any, policy: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _native(pieces, policy)


def test_as_many_pieces_as_there_may_be() -> None:
    form = _native([("literal", b"%d " % number) for number in range(31)] + [("pri", None)])
    (payload,) = form.write(read_lines([b"<191>x"]), None, arrival_of([1], 0.0))
    assert payload == b" ".join(b"%d" % number for number in range(31)) + b" <191>"


def test_long_literals_have_room() -> None:
    form = _native([("literal", b"x" * 100_000), ("host", None), ("hostname", None)])
    (payload,) = form.write(read_lines([b"x"]), None, arrival_of([1], 0.0))
    assert payload == b"x" * 100_000 + b"hn"


def _failing(*arguments: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("bind", b"x"),
        ("ends", b"x"),
        ("reference", ENVELOPE),
        ("format_tag", b"<13>1 - h a[b p m - x"),
        ("format_host", b"<13>1 - a|b a p m - x"),
        ("format_hostname", b"<13>1 - b\xc3\xbcro a p m - x"),
    ],
)
def test_an_error_in_what_python_is_asked_is_passed_on(asked: str, line: bytes) -> None:
    pieces = [("tag", None), ("host", None), ("hostname", None)]
    failing: dict[str, Any] = {asked: _failing}
    form = _native(pieces, **failing)
    with pytest.raises(ZeroDivisionError):
        form.write(read_lines([b"<13>Oct 11 22:14:15 h su: x", line]), None, arrival_of([2], 0.0))


@pytest.mark.parametrize(
    ("asked", "answer", "line"),
    [
        ("ends", (b"e", b"b"), b"x"),
        ("format_tag", b"t" * 68, b"<13>1 - h a[b - m - x"),
        ("format_host", b"h" * 68, b"<13>1 - a|b a p m - x"),
        ("format_hostname", b"h" * 70, b"<13>1 - b\xc3\xbcro a p m - x"),
    ],
)
def test_an_answer_without_room_is_a_value_error(asked: str, answer: Any, line: bytes) -> None:
    pieces = [("tag", None), ("host", None), ("hostname", None)]
    answering: dict[str, Any] = {asked: lambda *arguments: answer}
    with pytest.raises(ValueError, match=r"longer than it is|unpack"):
        _native(pieces, **answering).write(read_lines([line]), None, arrival_of([1], 0.0))


def test_tags_that_make_an_end_too_long_are_a_value_error() -> None:
    form = _native([("origin-end", None)], ends=lambda origin, tags: (b"e" * 1024 * len(tags),) * 3)
    lines = read_lines([b"<13>Oct 11 22:14:15 h su: x", b"<999>x"])
    assert form.write(lines, [0], arrival_of([2], 0.0)) == [b""]
    with pytest.raises(ValueError, match="too long"):
        form.write(lines, None, arrival_of([2], 0.0))


@pytest.mark.parametrize("name", ["token_key", "before_text"])
def test_a_text_that_is_none_is_a_type_error(name: str) -> None:
    missing: dict[str, Any] = {name: None}
    with pytest.raises(TypeError):
        _native([("pri", None)], **missing)


def test_a_form_writes_one_batch_at_a_time() -> None:
    lines, arrival = read_lines([b"<13>1 - a|b a p m - x", b"<13>x"]), arrival_of([2], 0.0)
    form = _native([("host", None)], format_host=lambda host: form.write(lines, None, arrival))
    with pytest.raises(RuntimeError, match="one batch at a time"):
        form.write(lines, None, arrival)
    assert form.write(lines, [1], arrival) == [b"h"]


@pytest.mark.slow
def test_a_line_whose_room_needs_more_than_31_bits() -> None:
    text = b"x" * 2**27
    form = _native([("pri", None), ("text", None)])
    (payload,) = form.write(read_lines([b"<13>1 - - - - - - " + text]), None, arrival_of([1], 0.0))
    assert payload == b"<13>" + text


@pytest.mark.slow
def test_threads_read_and_write_the_same_lines() -> None:
    """Each has forms of its own; all of them share the frames and what was read in them."""
    frames = [*WHOLE, *lines_of_all_kinds(20)]
    packed = native.payloads.packed(frames)
    lines, arrival = read_lines(packed), arrival_of(spread(len(frames)), 1.0e9)
    messages = read_lines(frames).messages()
    edited = lines.edited(None, {"app_name": b"new", "msg": b"{}"}, (b"tag",), _same)
    expected = {name: _payloads(both, lines, edited, arrival) for name, both in FORMS[UTC].items()}

    def write() -> None:
        forms = every_form(UTC)
        for _ in range(3):
            for name, both in forms.items():
                assert _payloads(both, lines, edited, arrival) == expected[name]

    def read() -> None:
        for _ in range(12):
            assert read_lines(packed).messages() == lines.messages() == messages
            assert lines.edited(None, {"msg": b"other"}, (), _same).column("msg")[0] == b"other"
            assert joined([packed, packed[1:]])[len(frames) :] == packed[1:]
            gc.collect()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for running in [pool.submit(work) for work in (write, read, write, read)]:
                running.result()
    finally:
        sys.setswitchinterval(interval)


def _same(message: SyslogMessage) -> SyslogMessage:
    return message


def _payloads(both: Both, lines: Any, edited: Any, arrival: Arrival) -> list[bytes]:
    return [*both.form.write(lines, None, arrival), *both.form.write(edited, None, arrival)]


def test_the_origin_with_the_time_is_what_the_reference_gets() -> None:
    """Origins that differ in their port only are bound once, and told apart all the same."""
    bound: list[Origin] = []
    got: list[Origin] = []

    def bind(origin: Origin) -> Any:
        bound.append(origin)
        return (b"h", b"n", b'"s"')

    def reference(messages: Any, origin: Origin) -> list[bytes]:
        got.append(origin)
        return [b"r"]

    form = _native([("host", None)], bind=bind, reference=reference)
    origins = [ORIGINS[0], ORIGINS[0]._replace(peer_port=9), ORIGINS[1]]
    lines = read_lines([ENVELOPE] * 3)
    runs = [(number + 1, origin) for number, origin in enumerate(origins)]
    assert form.write(lines, None, Arrival(runs, 7.5, 2.5)) == [b"r"] * 3
    assert got == [origin.received(7.5, 2.5) for origin in origins]
    assert bound == [origins[0], origins[2]]


def test_the_ends_of_envelopes_are_made_once_for_each_origin_and_its_tags() -> None:
    asked: list[tuple[str, tuple[bytes, ...]]] = []

    def ends(origin: Origin, tags: tuple[bytes, ...]) -> Any:
        asked.append((origin.source, tags))
        return (b"%d" % len(asked), b"b", b"a")

    form = _native([("origin-end", None)], ends=ends)
    frames = [b"x", b"<999>x", b"y", b"<999>x", b"3 <13>x"]
    runs = [(3, ORIGINS[0]), (5, ORIGINS[1])]
    arrival = Arrival(runs, 0.0, 0.0)
    lines = read_lines(frames)
    payloads = [b"1", b"3", b"1", b"4", b"5"]
    assert form.write(lines, None, arrival) == payloads
    assert form.write(lines, None, arrival) == payloads
    pri, framing = lines.message(1).tags, lines.message(4).tags
    assert asked[:2] == [("net", ()), ("local", ())]
    assert asked[2:] == [("net", pri), ("local", pri), ("local", framing)]


TAGGED = [
    *(
        b"<999>x",
        b"3 <13>x",
        b"<13>Oct 11 22:14:15 " + b"h" * 256 + b" su: x",
        b"<13>1 x",
        b"<13>1 ",
    ),
    *(b"<13>1 - h a - - [] x", b"<13>1 - h", b"<13>1 - - x", b"9 <13>1 2003-10-11T22:14:15.0001Z"),
    b"3 <13>1 2003-10-11T22:14:15.0001Z h a p m [x",
]


@each_form
def test_lines_with_tags(name: str) -> None:
    """The tags are in an envelope of EWMM, and nowhere else; no line needs the reference."""
    arrival = arrival_of(spread(len(TAGGED)), 1.0e9)
    FORMS[UTC][name].check(TAGGED, arrival)
    asked: list[bytes] = []
    counted_forms(UTC, asked)[name].write(read_lines(TAGGED), None, arrival)
    assert asked == []


@pytest.mark.slow
def test_more_origins_than_are_kept() -> None:
    both = FORMS[UTC]["ewmm"]
    origins = [Origin("s", Transport.UNIX, pid=pid) for pid in range(4100)]
    frames = [b"<13>x"] * 4100
    arrival = Arrival([(number + 1, origin) for number, origin in enumerate(origins)], 0.0, 0.0)
    payloads = both.check(frames, arrival)
    assert both.check(frames, arrival) == payloads


@pytest.mark.slow
@pytest.mark.usefixtures("small_heap")
def test_nothing_is_kept_of_what_went_through() -> None:
    frames = [*WHOLE, *lines_of_all_kinds(60)]
    arrival = arrival_of(spread(len(frames)), 1.0e9)

    def blocks_after(form: Any) -> int:
        form.write(read_lines(frames), None, arrival)
        gc.collect()
        return sys.getallocatedblocks()

    for both in FORMS[UTC].values():
        before = [blocks_after(both.form) for _ in range(3)][-1]
        assert [blocks_after(both.form) for _ in range(10)][-1] - before < len(frames)
