"""Lines that compiled code reads: `relay.wire.parse.parse_as` is the reference, field by field."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, Lines
from relay.model.message import SyslogMessage
from relay.wire.adapters.applications import adapt
from relay.wire.parse import Dialect, parse, parse_all, read_lines
from relay.wire.parse_tags import BY_BIT
from tests.any_messages import many_examples
from tests.codec.every_form import DIALECTS, reference_of
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

each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


COLUMNS = (
    *("facility", "severity", "version", "hostname", "app_name", "procid", "msgid"),
    *("structured_data", "msg", "tags", "app"),
)


def compiled(frames: Sequence[bytes], dialect: Dialect = DIALECTS["default"]) -> Any:
    """The lines of frames, read by compiled code."""
    from relay.codec.lines import Lines as CompiledLines

    lines = read_lines(frames, dialect)
    assert isinstance(lines, CompiledLines)
    return lines


def check(frames: Sequence[bytes], dialect: Dialect) -> None:
    """All that lines say is what the reference says."""
    lines = compiled(frames, dialect)
    expected = reference_of(frames, dialect).messages()
    for name in COLUMNS:
        assert lines.column(name) == [getattr(message, name) for message in expected], name
    for frame, message, wanted in zip(frames, lines.messages(), expected, strict=True):
        assert type(message) is SyslogMessage
        assert message == wanted, frame
    odd, unread = {*lines.odd()}, {*lines.unread()}
    tagged = {index for index, message in enumerate(expected) if message.tags}
    assert tagged <= odd and odd - tagged <= unread


@each_dialect
def test_lines_of_the_field(dialect: Dialect) -> None:
    check([*WHOLE, *field_lines()], dialect)


@each_dialect
def test_lines_of_all_kinds_of_traffic(dialect: Dialect) -> None:
    frames = lines_of_all_kinds(250)
    check(frames, dialect)
    if dialect.reads_rfc5424:
        odd = compiled(frames, dialect).unread()
        assert len(odd) < len(frames) / 100  # the reference reads next to nothing


@each_dialect
@pytest.mark.parametrize("line", WHOLE)
def test_a_line_may_end_anywhere(line: bytes, dialect: Dialect) -> None:
    cuts = [line[:size] for size in range(len(line) + 1)]
    check([*cuts, *(cut + b"\n\0\r" for cut in cuts), *(line[at:] for at in range(40))], dialect)


@each_dialect
@pytest.mark.parametrize("line", WHOLE)
def test_any_byte_may_be_another_one(line: bytes, dialect: Dialect) -> None:
    several = (b" ", b"]", b"[", b":", b'"', b"9", b"a", b"\\", b"\xff", b"\0", b"=")
    head = min(len(line), 120)
    check([line[:at] + byte + line[at + 1 :] for at in range(head) for byte in several], dialect)


@given(st.lists(odd_lines, max_size=8), st.sampled_from([*DIALECTS.values()]))
@many_examples(300)
@example([b"<13>Oct 11 22:14:15 h @syslog-ng[1]: {}"], DIALECTS["default"])
@example([b"<13>1 2026-11-21T05:00:00Z h @syslog-ng[x p m - hello"], DIALECTS["default"])
@example([b"\xef\xbb\xbf<13>x", b"3 <13>x", b"3 \xef\xbb\xbf<13>x"], DIALECTS["rfc3164"])
def test_odd_lines(frames: list[bytes], dialect: Dialect) -> None:
    check(frames, dialect)


groups = st.sampled_from(
    [
        *(b"0", b"1", b"fe80", b"00001", b"ffff", b"12345", b"g", b"1.2.3.4", b"01.2.3.4"),
        *(b"1.2.3", b"256.0.0.1", b"", b".", b"1.2.3.4.5", b"x", b"-", b"1 ", b"[", b"]"),
        *(b"%eth0", b"%", b"/"),
    ]
)
addresses = st.lists(groups, min_size=1, max_size=10).map(b":".join)


@given(addresses | addresses.map(lambda address: b"[%s]" % address))
@many_examples(400)
@example(b"::")
@example(b"1:2:3:4:5:6:7::")
@example(b"::1:2:3:4:5:6:7:8")
@example(b"1:2:3:4:5:6:1.2.3.4")
@example(b"0000:0000:0000:0000:0000:ffff:255.255.255.255")
@example(b"[1.2.3.4]")
@example(b"1.2.3.4\0")
def test_addresses_that_are_hosts_and_words_that_are_none(address: bytes) -> None:
    starts = [b"<13>%s su: x", b"<13>Oct 11 22:14:15 %s su: x", b"%s: Oct 11 22:14:15: x"]
    starts += [b"<13>1 - %s a p m - x", b"<13>1 %s [a", b"<13>Message forwarded from %s: su: x"]
    check([start % address for start in starts], DIALECTS["default"])


@pytest.mark.slow
@each_dialect
@pytest.mark.parametrize("seed", range(3))
def test_many_odd_lines(dialect: Dialect, seed: int) -> None:
    source = Random(seed)
    for _ in range(100):
        frames = [edited(source, source.choice(pool())) for _ in range(250)]
        check(frames + [joined_tokens(source) for _ in range(150)], dialect)


@given(st.lists(odd_lines, max_size=6), st.booleans())
def test_what_an_adapter_takes_apart_is_what_it_makes_of_the_reference(
    frames: list[bytes], expects_host: bool
) -> None:
    dialect = Dialect(adapt=adapt, hosts=(None, expects_host))
    expected = reference_of(frames, dialect).messages()
    assert parse_all(frames, dialect) == expected
    assert parse_all(tuple(frames), dialect) == expected


@given(odd_lines)
def test_the_reader_of_one_frame_reads_the_same(frame: bytes) -> None:
    assert compiled([frame]).message(0) == parse(frame)


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(reads_rfc3164=False),
        Dialect(substitutes=True),
        Dialect(hosts=(lambda word: word != b"web-1", True)),
    ],
)
def test_dialects_that_only_the_reference_reads(dialect: Dialect) -> None:
    frames = [*WHOLE, b"<13>Oct 11 22:14:15 web-1 su: x", b"<13>1 x"]
    lines: Lines = read_lines(frames, dialect)
    assert not hasattr(lines, "unread")
    assert lines.messages() == reference_of(frames, dialect).messages()


# What lines are, beside what they say.


LINES = (
    b"<11>Oct 11 22:14:15 h su[1]: a",
    b"<999>x",
    b'<13>1 - h @syslog-ng - - - {"MESSAGE":"x"}',
    b"<14>b",
)


def test_columns_and_messages_of_some_lines() -> None:
    lines = compiled(LINES)
    assert (len(lines), list(lines.frames)) == (4, [*LINES])
    assert lines.column("severity") == [3, 5, 5, 6]
    assert (lines.odd(), lines.unread()) == ([1, 2], [2])
    expected = [parse(line) for line in LINES]
    assert lines.messages([2, 0]) == [expected[2], expected[0]]
    assert lines.messages([]) == []
    assert lines.messages(range(1, 3)) == expected[1:3]
    assert [lines.message(index) for index in range(4)] == expected


def test_no_lines() -> None:
    lines = compiled([])
    assert (len(lines), lines.frames, lines.messages(), lines.column("severity")) == (0, [], [], [])
    assert (lines.odd(), lines.unread()) == ([], [])


def test_a_message_is_made_once_and_so_is_what_follows_itself_in_a_column() -> None:
    lines = compiled([LINES[0], LINES[0], LINES[2]])
    first, second, third = lines.messages()
    assert lines.message(0) is first and lines.message(2) is third
    assert first.app_name is second.app_name and first.hostname is second.hostname
    assert first.raw is lines.frames[0]
    assert lines.column("app_name", [1])[0] is first.app_name


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_some_lines(name: str) -> None:
    expected = [getattr(parse(line), name) for line in LINES]
    assert compiled(LINES).column(name, [2, 0]) == [expected[2], expected[0]]
    assert compiled(LINES).column(name, range(1, 4)) == expected[1:]
    assert compiled(LINES).column(name, []) == []


def test_lines_with_certain_values() -> None:
    lines = compiled(LINES)
    assert lines.where("severity", frozenset((3, 6))) == [0, 3]
    assert lines.where("hostname", frozenset((b"h",)), [0, 1, 2]) == [0, 2]
    assert lines.where("procid", frozenset((None,)), range(3)) == [1, 2]
    assert lines.where("msg", frozenset()) == lines.where("msg", frozenset((b"b",)), []) == []
    with pytest.raises(IndexError, match="of 4"):
        lines.where("msg", frozenset(), [4])
    with pytest.raises(ValueError, match="no column"):
        lines.where("raw", frozenset())
    with pytest.raises(TypeError):
        lines.where("severity", [3])


@pytest.mark.parametrize("name", ["", "raw", "pairs", "Severity", "severities"])
def test_what_is_no_column_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="no column"):
        compiled(LINES).column(name)
    with pytest.raises(TypeError):
        compiled(LINES).column(None)


@pytest.mark.parametrize("index", [-1, 4, 2**40, -(2**40)])
def test_a_line_that_is_not_there_is_an_index_error(index: int) -> None:
    lines = compiled(LINES)
    with pytest.raises(IndexError, match="of 4"):
        lines.message(index)
    with pytest.raises(IndexError, match="of 4"):
        lines.messages([0, index])
    with pytest.raises(IndexError, match=r"of 4|too large"):
        lines.column("msg", [0, index])
    with pytest.raises(IndexError):
        compiled([]).message(0)


@pytest.mark.parametrize("index", [None, "0", 1.0, b"0"])
def test_what_is_no_index_is_a_type_error(index: Any) -> None:
    with pytest.raises(TypeError):
        compiled(LINES).message(index)
    with pytest.raises(TypeError):
        compiled(LINES).messages([index])
    with pytest.raises(TypeError):
        compiled(LINES).column("msg", [index])


@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(b"<13>x"), memoryview(b"<13>x")])
def test_what_is_not_bytes_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        read_lines([b"<13>x", wrong])
    with pytest.raises(TypeError):
        read_lines([wrong])


def test_a_batch_is_a_sequence_of_bytes() -> None:
    reader = _reader()
    for wrong in (b"<13>x", None, 5, ["<13>x"], (None,)):
        with pytest.raises(TypeError):
            reader.read(wrong)


def _reader(**changed: Any) -> Any:
    from relay.codec.lines import Reader

    arguments: dict[str, Any] = {
        "reference": parse,
        "is_hostname": lambda word: True,
        "is_bare_hostname": lambda word: True,
        "tags": tuple((b"%d" % bit,) for bit in range(10)),
        "default_pri": 13,
        "expects_host": True,
        "reads_rfc5424": True,
    }
    return Reader(SyslogMessage, **{**arguments, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"default_pri": 192},
        {"default_pri": -1},
        {"tags": ()},
        {"tags": BY_BIT[1:]},
        {"tags": (*BY_BIT, ())},
    ],
)
def test_a_reader_refuses_what_makes_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tags, a PRI of"):
        _reader(**changed)


def _refusing(word: bytes) -> bool:
    raise ZeroDivisionError(word)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("is_hostname", b"<13>Oct 11 22:14:15 b\xc3\xbcro su: x"),
        ("is_bare_hostname", b"<13>fe80::1%eth0 su: x"),
    ],
)
def test_an_error_in_what_python_is_asked_is_passed_on(asked: str, line: bytes) -> None:
    """Names beyond US-ASCII and addresses are Python's affair."""
    with pytest.raises(ZeroDivisionError):
        _reader(**{asked: _refusing}).read([line])


def test_frames_that_the_caller_takes_out_of_their_list_are_kept() -> None:
    frames = [b"<13>Oct 11 22:14:15 h app: %d" % number for number in range(50)] + [LINES[2]]
    expected = [parse(frame) for frame in frames]
    lines = compiled(frames)
    edited = lines.edited([0], {"msg": b"new"}, (), lambda message: message)
    frames.clear()
    gc.collect()
    assert lines.messages() == expected
    assert edited.column("msg") == [b"new", *(message.msg for message in expected[1:])]


def test_a_reference_that_makes_no_message_is_a_type_error() -> None:
    lines = _reader(reference=lambda frame: None).read([LINES[2]])
    with pytest.raises(TypeError):
        lines.column("severity")


def test_an_error_of_the_reference_is_passed_on_and_the_line_stays_unread() -> None:
    from relay.codec.lines import Reader

    calls: list[bytes] = []

    def reference(frame: bytes) -> SyslogMessage:
        calls.append(frame)
        if len(calls) == 1:
            raise ZeroDivisionError
        return parse(frame)

    lines = Reader(
        *(SyslogMessage, reference),
        is_hostname=bool,
        is_bare_hostname=bool,
        tags=((),) * 10,
        default_pri=13,
        expects_host=True,
        reads_rfc5424=True,
    ).read([LINES[2]])
    with pytest.raises(ZeroDivisionError):
        lines.messages()
    assert lines.messages() == [parse(LINES[2])]
    assert lines.column("severity") == [5]
    assert calls == [LINES[2]] * 2


# Edits; `tests/rewrite/steps/test_edits.py` compares them with those of messages.


def _changed(message: SyslogMessage) -> SyslogMessage:
    return message._replace(app_name=b"new", tags=(*message.tags, b"x"))


def test_edited_lines_are_others() -> None:
    lines = compiled(LINES)
    first = lines.message(0)
    edited_lines = lines.edited([0, 2], {"app_name": b"new"}, (b"x",), _changed)
    assert edited_lines.column("app_name") == [b"new", None, b"new", None]
    assert edited_lines.column("tags") == [(b"x",), lines.column("tags")[1], (b"x",), ()]
    assert edited_lines.odd() == [0, 1, 2]
    again = edited_lines.edited([0], {"hostname": None}, (b"y", b"x"), _changed)
    del edited_lines
    gc.collect()
    assert again.message(0) == _changed(first)._replace(
        hostname=None, pairs=None, tags=(b"x", b"y")
    )
    assert lines.messages() == [parse(line) for line in LINES]
    assert list(again.frames) == [*LINES]


@pytest.mark.parametrize("index", [-1, 4, 2**40])
def test_a_line_to_edit_that_is_not_there_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match="of 4"):
        compiled(LINES).edited([0, index], {}, (), _changed)


@pytest.mark.parametrize("name", ["", "severity", "tags", "structured_data", "HOST"])
def test_what_cannot_be_edited_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="no column to edit"):
        compiled(LINES).edited(None, {name: b"x"}, (), _changed)


@pytest.mark.parametrize("wrong", [5, "x", bytearray(b"x"), [b"x"]])
def test_a_value_that_is_not_bytes_is_a_type_error(wrong: Any) -> None:
    for values, tags in (({"msg": wrong}, ()), ({}, wrong), (wrong, ())):
        with pytest.raises(TypeError):
            compiled(LINES).edited(None, values, tags, _changed)


def test_an_error_of_what_changes_a_message_is_passed_on() -> None:
    def refuse(message: SyslogMessage) -> SyslogMessage:
        raise ZeroDivisionError(message.raw)

    assert compiled(LINES).edited([0, 1], {"msg": b"x"}, (), refuse).message(1).msg == b"x"
    with pytest.raises(ZeroDivisionError):
        compiled(LINES).edited([2], {"msg": b"x"}, (), refuse)


@pytest.mark.slow
@pytest.mark.usefixtures("small_heap")
def test_nothing_is_kept_of_what_went_through() -> None:
    frames = [b"<34>Oct 11 22:14:15 h su[%d]: x" % number for number in range(250)]
    frames += [b"<34>1 2026-11-21T05:00:00Z h su %d - - x" % number for number in range(250)]
    frames += [*WHOLE, *LINES]

    def blocks_after(use: Callable[[Any], object]) -> int:
        use(compiled(frames))
        gc.collect()
        return sys.getallocatedblocks()

    uses: list[Callable[[Any], object]] = [
        *(len, lambda lines: lines.messages(), lambda lines: lines.column("severity")),
        lambda lines: lines.edited(None, {"msg": b"new"}, (b"x",), _changed).messages(),
    ]
    for use in uses:
        before = [blocks_after(use) for _ in range(3)][-1]
        assert [blocks_after(use) for _ in range(20)][-1] - before < len(frames)


def test_lines_outlive_their_reader_and_the_list_of_frames() -> None:
    frames = [bytes(bytearray(line)) for line in LINES]
    lines = _reader().read(frames)
    frames.append(b"more")
    gc.collect()
    assert len(lines) == 4
    assert lines.messages()[0].msg == b"a"
