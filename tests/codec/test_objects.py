"""Objects written by compiled code, compared with those of the Python reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.token import Token
from relay.rewrite.forms.token import object_writer, token_member

objects = pytest.importorskip(
    "relay.codec.objects", reason="the package was installed without a C compiler"
)

KEY = b"logsene-app-token"
TOKEN = Token(b'01"34567\\89ab-cdef')
MEMBER = token_member(TOKEN)
Write = Callable[[bytes], bytes | None]


class Counted:
    """The reference, and how often it was asked."""

    def __init__(self, write: Write) -> None:
        self.count = 0
        self._write = write

    def __call__(self, msg: bytes) -> bytes | None:
        self.count += 1
        return self._write(msg)


REFERENCE = Counted(object_writer(TOKEN))
WRITER = objects.ObjectWriter(KEY, MEMBER, REFERENCE)


def same(msg: bytes) -> tuple[bytes | None, int]:
    """What both make of `msg`, and how often Python was asked."""
    REFERENCE.count = 0
    written = WRITER.write(msg)
    asked = REFERENCE.count
    assert written == REFERENCE(msg)
    return written, asked


def with_member(text: bytes) -> bytes:
    return b"{%b%b" % (MEMBER, text)


ORDINARY = [
    b'{"a":1}',
    b'{"time":"2026-11-21T05:00:00Z","level":"info","msg":"say \\"hi\\"\\n","n":[1,-0.5e+3,0]}',
    '{"město": "Plzeň", "emoji": "😀", "deep": {"a": [{"b": {}}, [], [[]]]}}'.encode(),
    b'{"x": true, "y": false, "z": null, "e": "\\ud83d\\ude00 \\u017e \\\\ \\/ \\b\\f\\r\\t"}',
    b'{"k\\"ey\\u017e": 1E5, "num": 12345678901234567890123, "big": 1e400, "zero": -0}',
    b'{\r\n  "a": [\n1,\r2\t]\n}',
    b'{"d":' * 63 + b"[]" + b"}" * 63,
    b'{"nested": {"tags": 1, "logsene-app-token": 2, "logsene-app-toke\\u006e": 3}}',
    b'{"Tags": [], "tag": 1, "tagset": 1, "logsene-app-tokem": 1, "logsene-app-token-": 1, "": ""}',
    b'{"a":"' + b"x" * 70_000 + b'"}',
    b'{"a":"' + "ě".encode() * 7000 + b'"}',
]


@pytest.mark.parametrize("text", ORDINARY)
@pytest.mark.parametrize("before", [b"", b" \t\r\n", b"@cee:", b" @cee: \n", b"\xef\xbb\xbf @cee:"])
@pytest.mark.parametrize("after", [b"", b" \n\t\r"])
def test_of_ordinary_objects_python_is_not_asked(before: bytes, text: bytes, after: bytes) -> None:
    written, asked = same(before + text + after)
    assert written is not None and written.startswith(with_member(b", "))
    assert asked == 0


@pytest.mark.parametrize(
    ("msg", "written"),
    [
        (b"{}", with_member(b"}")),
        (b"{ \n\r\t}", with_member(b"}")),
        (b'{ \n"a":1\r\n, "b" : 2 }', with_member(b', "a":1  , "b" : 2 }')),
        (b'{"a":"\\n"}', with_member(b', "a":"\\n"}')),
        (b'{"tags":0,"a":1}', with_member(b', "tags":0,"a":1}')),
        (b'{"tags":0,"tags":1}', with_member(b', "tags":0,"tags":1}')),
    ],
)
def test_members_are_put_first(msg: bytes, written: bytes) -> None:
    assert same(msg) == (written, 0)


@pytest.mark.parametrize("value", [b'"t"', b'"' + b"~" * 255 + b'"', b'"!#[]^"'])
@pytest.mark.parametrize("before", [b"", b'"a":\n1, '])
@pytest.mark.parametrize("after", [b"", b' ,"tags":[1\r]'])
def test_an_object_with_a_plain_token_stays(before: bytes, value: bytes, after: bytes) -> None:
    text = b'{%b"logsene-app-token" : %b%b}' % (before, value, after)
    on_one_line = text.replace(b"\n", b" ").replace(b"\r", b" ")
    assert same(b" @cee:" + text + b"\n") == (on_one_line, 0)


@pytest.mark.parametrize(
    "members",
    [
        b'"logsene-app-token":null',
        b'"a":1, "logsene-app-token": 5 ,"b":2',
        b'"logsene-app-token":""',
        b'"logsene-app-token":"a b"',
        b'"logsene-app-token":"a\\u0041"',
        b'"logsene-app-token":"\xc4\x9b"',
        b'"logsene-app-token":"\x7f"',
        b'"logsene-app-token":"' + b"~" * 256 + b'"',
        b'"logsene-app-token":"t","logsene-app-token":1',
        b'"logsene-app-token":1,"logsene-app-token":"t"',
        b'"logsene-app-token":"t","logsene-app-token":"t"',
        b'"logsene-app-toke\\u006e":"t"',
        b'"logsene-app-toke\\u006E":1',
        b'"logsene-app-token":"t","logsene-app-toke\\u006E":1',
        b'"\\u0074ags":1',
        b'"a":"\\ud83d"',
        b'"a":"\\ude00\\ud83d"',
        b'"a":"\\ud83d\\u0041"',
        b'"\\ud83d":1',
        b'"a":' + b"[" * 64 + b"]" * 64,
        b'"a":' + b"[" * 10_000 + b"]" * 10_000,
    ],
)
def test_what_python_is_asked_of(members: bytes) -> None:
    assert same(b"{%b}" % members)[1] == 1


@pytest.mark.parametrize(
    "msg",
    [
        *[b"", b" ", b"\xef\xbb\xbf", b"@cee:", b" @cee: ", b"text", b"{", b"}", b"{a", b"a}"],
        *[b"[{}]", b'"{}"', b"{} x", b"x {}", b" \xef\xbb\xbf{}", b"@cee:@cee:{}", b"@CEE:{}"],
        *[b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\x0b{}", b"{}\0", b"{\xa0", b"@cee{}", b"@cee"],
        *[b'{"a":"\xff"}', b'{"\xed\xa0\x80":1}', b'{"a":"\xc4\x9b","b":"\xc4"}'],
    ],
)
def test_what_is_no_object_for_certain(msg: bytes) -> None:
    assert same(msg) == (None, 0)


@pytest.mark.parametrize("written", ["01", "1.", ".1", "-", "+1", "1e", "1e+", "--1", "0x1", "1_0"])
@pytest.mark.parametrize("form", ['{"a":%s}', '{"a":[%s ]}', '{"a": %s,"b":1}'])
def test_what_is_no_number(form: str, written: str) -> None:
    assert same((form % written).encode()) == (None, 1)


@pytest.mark.parametrize("written", ["0", "-0", "10", "0.0", "-1.50", "1e5", "0E-05", "1.0e+400"])
@pytest.mark.parametrize("form", ['{"a":%s}', '{"a":[%s ]}', '{"a": %s,"b":1}'])
def test_what_is_a_number(form: str, written: str) -> None:
    made, asked = same((form % written).encode())
    assert made is not None
    assert asked == 0


@pytest.mark.parametrize(
    "text",
    [
        *['{"a":1,}', "{,}", '{,"a":1}', '{"a":[1,]}', '{"a":[,]}', '{"a":[}', '{"a":{]}}'],
        *['{"a":]}', '{"a"}', '{"a":}', "{1:2}", "{a:1}", '{"a" 1}', '{"a"::1}', '{"a":1 2}'],
        *['{"a":1}{"b":2}', '{"a":1}}', '{"a":1]}', '{"a":[1}', '{"a":[1}]}', '{"a":tru}'],
        *['{"a":nulll}', '{"a":NaN}', '{"a":"}', '{"a":"\\}', '{"a":"\\x"}', '{"a":"\\u12g4"}'],
        *['{"a":"\\u}', '{"a":"\\u123"}', '{"a":"\n"}', '{"a":"\x00"}', '{"a":"\x1f"}'],
        *['{"a":\x0b1}', '{"a":"b"c}', '{"a":-}', '{"a":f}', '{"a":fals}', '{"a":t}'],
        *['{"a":[1 2]}', '{"a":{"b" 1}}', '{"a":{},}', "{{}}", "{[]}", '{"a"://}'],
    ],
)  # fmt: skip
def test_what_breaks_the_grammar(text: str) -> None:
    assert same(text.encode()) == (None, 1)


@pytest.mark.parametrize("text", ORDINARY[:5])
def test_objects_that_were_cut_or_changed_anywhere(text: bytes) -> None:
    for at in range(len(text)):
        same(text[:at])
        same(text[:at] + b"}")
        same(text[at:])
        for byte in b'"\\{}[],: \x0a\x1f0e.-u\x7f\xff\xc4':
            same(text[:at] + bytes([byte]) + text[at:])
            same(text[:at] + bytes([byte]) + text[at + 1 :])


@pytest.mark.parametrize("byte", [*range(0x21), *b'"\\!#[]', 0x7F, 0x80, 0xFF])
def test_each_place_in_a_string(byte: int) -> None:
    """A word is eight bytes, so that what is before and behind matters."""
    for before in range(18):
        for behind in range(18):
            same(b'{"a":"%b%c%b"}' % (b"x" * before, byte, b"z" * behind))


def test_other_names_of_the_token() -> None:
    writer = objects.ObjectWriter(b"tags", b'"tags": 1', lambda msg: b"asked")
    assert writer.write(b'{"a":1}') == b'{"tags": 1, "a":1}'
    assert writer.write(b'{"tags":"t"}') == b'{"tags":"t"}'
    assert writer.write(b'{"tags":1}') == b"asked"
    for key in (b"", b'"', b"a/b", b"a\\", b"\x7f", b"\n", b"\xff"):
        with pytest.raises(ValueError):
            objects.ObjectWriter(key, b"", bytes)


def test_an_answer_that_is_longer_than_the_room_is_refused() -> None:
    msg = b'{"a":1,}'
    room = len(msg) + len(MEMBER) + 64
    for size in (room, room + 1):
        writer = objects.ObjectWriter(KEY, MEMBER, lambda msg, size=size: b"x" * size)
        if size == room:
            assert writer.write(msg) == b"x" * size
        else:
            with pytest.raises(ValueError, match="longer than there is room for"):
                writer.write(msg)


def test_what_the_reference_does_wrong_is_passed_on() -> None:
    def fails(msg: bytes) -> bytes | None:
        raise KeyError(msg)

    with pytest.raises(KeyError):
        objects.ObjectWriter(KEY, MEMBER, fails).write(b"{,}")
    with pytest.raises(TypeError):
        objects.ObjectWriter(KEY, MEMBER, lambda msg: "text").write(b"{,}")


def test_what_is_not_bytes_is_a_type_error() -> None:
    for argument in ("{}", bytearray(b"{}"), None):
        with pytest.raises(TypeError):
            WRITER.write(argument)
        with pytest.raises(TypeError):
            objects.ObjectWriter(KEY, argument, bytes)


names = st.sampled_from(["logsene-app-token", "tags", "a", "message"]) | st.text(max_size=12)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
SEPARATORS = [(",", ":"), (", ", ": "), (" ,", " : "), ("\n,\r\n", "\t:")]
EDGES = [b"", b" ", b"\n", b"@cee:", b" @cee: ", b"\xef\xbb\xbf", b"\xef\xbb\xbf @cee:", b"x"]


@st.composite
def written_objects(draw: st.DrawFn) -> bytes:
    """The text of an object, whatever its layout."""
    text = json.dumps(
        draw(st.dictionaries(names, values, max_size=6)),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 0, 2, "\t"])),
        separators=draw(st.sampled_from(SEPARATORS)),
    )
    data = text.encode(errors="surrogatepass")  # half a pair is not UTF-8 then
    return draw(st.sampled_from(EDGES)) + data + draw(st.sampled_from(EDGES[:3]))


PIECES = [*b'"\\{}[],: \n\r0-.eE+u/tfn\x1f\x7f', *"ě".encode()]
pieces = st.sampled_from([bytes([byte]) for byte in PIECES]) | st.sampled_from(
    [
        b"\\u",
        b"\\ud83d",
        b"\\ude00",
        b"\\u006e",
        b"null",
        b'"tags"',
        b'"logsene-app-token":"t"',
        b"1,",
    ]
)


@st.composite
def edited_objects(draw: st.DrawFn) -> bytes:
    """One that was cut, or in which some bytes are missing or others."""
    text = draw(written_objects())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        after = at + draw(st.sampled_from([0, 0, 1, 1, 2, 9]))
        text = text[:at] + draw(st.just(b"") | pieces | st.binary(max_size=2)) + text[after:]
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


messages = written_objects() | edited_objects() | edited_objects() | st.binary(max_size=40)
fragments = st.lists(pieces, max_size=20).map(b"".join)


@given(messages)
def test_any_message(msg: bytes) -> None:
    same(msg)


@given(fragments)
def test_any_pieces_of_an_object(inside: bytes) -> None:
    same(b"{%b}" % inside)


@pytest.mark.slow
@settings(max_examples=1500)
@given(messages | fragments.map(lambda inside: b'{"a":%b}' % inside))
def test_many_messages(msg: bytes) -> None:
    same(msg)


@given(st.dictionaries(st.text(st.characters(codec="utf-8", min_codepoint=0x20)), st.floats()))
def test_of_flat_objects_python_is_not_asked(members: dict[str, Any]) -> None:
    members = {name: repr(value) for name, value in members.items() if name != KEY.decode()}
    text = json.dumps(members, ensure_ascii=False)
    written, asked = same(text.encode())
    assert written is not None
    assert asked == 0
