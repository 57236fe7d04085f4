from __future__ import annotations

import json
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.model.parse_options import ParseOptions
from relay.model.token import Token
from relay.rewrite.forms.ewmm import ewmm
from relay.rewrite.forms.token import (
    app_name,
    cee,
    find_claim,
    names_of,
    parse_rest,
    redacted,
    tag,
    without_name,
)
from relay.wire.parse import parse
from relay.wire.parse_options import new_parser
from tests.lines import read_by

TOKEN = b"0f9e8d7c-89ab-cdef-0123-456789abcdef"
OTHER = Token(b"another-token-another-token")
ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", 40000, received_at=1e9)
REWRITES = [
    cee(OTHER, UTC, relay_name=b"vm"),
    tag(OTHER, UTC, relay_name=b"vm"),
    app_name(OTHER, UTC, relay_name=b"vm"),
    ewmm(b"vm", UTC),
]
STAMP = b"<13>2026-11-21T00:00:00Z web-1 "


def cut(line: bytes) -> tuple[tuple[bytes, ...], bytes] | None:
    claim = find_claim(parse(line))
    return None if claim is None else (claim.secrets, claim.rest)


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        (
            STAMP + b'su[1]:@cee: {"logsene-app-token": "T", "message": "x"}',
            STAMP + b'su[1]:@cee: {"message": "x"}',
        ),
        (STAMP + b'su: {"a": 1, "logsene-app-token":"T"}\n', STAMP + b'su: {"a": 1}\n'),
        (
            b'my-host my-process:@cee: {"logsene-app-token": "T", "message": "hello world!"}',
            b'my-host my-process:@cee: {"message": "hello world!"}',
        ),
        (
            b'my-host su[7]: {"x": [1, {"logsene-app-token": "no"}],"logsene-app-token":"T"}',
            b'my-host su[7]: {"x": [1, {"logsene-app-token": "no"}]}',
        ),
        (b'@cee: {"logsene-app-token": "T"}', b"@cee: {}"),
        (b'{"logsene-app-token": "T", "message": "x"}', b'{"message": "x"}'),
        (b'{"message": "x: y", "logsene-app-token": "T"}\0', b'{"message": "x: y"}\0'),
        (
            b'<13>1 2026-11-21T00:00:00Z h a 1 - - \xef\xbb\xbf{"logsene-app-token":"T","a":"b"}',
            b'<13>1 2026-11-21T00:00:00Z h a 1 - - \xef\xbb\xbf{"a":"b"}',
        ),
        (  # as syslog-ng sends it if there is no PID
            b'<13>1 2026-11-21T00:00:00Z h app  - - {"logsene-app-token":"T","a":"b"}',
            b'<13>1 2026-11-21T00:00:00Z h app  - - {"a":"b"}',
        ),
        (
            STAMP + b'a: {"logsene-app-token": "T", "m": "caf\xe9"}\n',
            STAMP + b'a: {"m": "caf\xe9"}\n',
        ),
        (STAMP + b'a: {"logsene-app-token": "T", "m": "c}', STAMP + b'a: {"m": "c}'),
        (STAMP + b'a: {"logsene\\u002dapp-token": "\\u0054"}', STAMP + b"a: {}"),
    ],
)
def test_a_claim_is_cut_out_of_the_frame(line: bytes, rest: bytes) -> None:
    assert cut(line) == ((b"T",), rest)


def test_every_one_of_several_is_cut_out() -> None:
    line = STAMP + b'a: {"logsene-app-token":"T","m":1,"logsene-app-token":"U"}'
    assert cut(line) == ((b"T", b"U"), STAMP + b'a: {"m":1}')


@pytest.mark.parametrize(
    "line",
    [
        b"",
        STAMP + b'a: {"message": "logsene-app-token"}',
        STAMP + b'a: {"logsene-app-token": 5}',
        STAMP + b'a: {"x": {"logsene-app-token": "T"}}',
        STAMP + b'a: said {"logsene-app-token": "T"}',
        STAMP + b'a: {"logsene-app-token": "T',
        b'my-host said {"logsene-app-token": "T"}',
        STAMP + b'it was su: {"logsene-app-token": "T"}',
    ],
)
def test_what_claims_nothing(line: bytes) -> None:
    assert cut(line) is None


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        (STAMP + b"T:hello", b"T", STAMP + b"-:hello"),
        (STAMP + b"T[12]: hello\n", b"T", STAMP + b"-[12]: hello\n"),
        (STAMP + b"T hello", b"T", STAMP + b"-: hello"),
        (b"my-host T:hello world!", b"T", b"my-host -:hello world!"),
        (b"my-host T: hello", b"T", b"my-host -: hello"),
        (b"<13>my-host T[3]:hello", b"T", b"<13>my-host -[3]:hello"),
        (b"T:hello", b"T", b"-:hello"),
        (
            b"<13>1 2026-11-21T00:00:00Z h T 1 ID - hello T",
            b"T",
            b"<13>1 2026-11-21T00:00:00Z h - 1 ID - hello T",
        ),
        (
            b"<13>1 2026-11-21T00:00:00Z h %s - - -" % (b"T" * 60),
            b"T" * 60,
            b"<13>1 2026-11-21T00:00:00Z h - - - -",
        ),
    ],
)
def test_a_name_gives_way_to_a_dash(line: bytes, name: bytes, rest: bytes) -> None:
    message = parse(line)
    assert name in names_of(message)
    assert without_name(message, name) == parse(rest)


@pytest.mark.parametrize("line", [b"", b"<13>", b"<999>T:x", b"<13>1 x y z", STAMP + b": x"])
def test_where_there_is_no_name(line: bytes) -> None:
    assert names_of(parse(line)) == []


def test_the_host_of_a_line_without_stamp_survives_its_token() -> None:
    message = without_name(parse(b"my-host %s:hello world!" % TOKEN), TOKEN)
    (payload,) = REWRITES[0]([message], ORIGIN)
    assert b' my-host -:@cee: {"logsene-app-token": "%s"' % OTHER.reveal() in payload
    assert payload.endswith(b'"message": "hello world!"}')


def without_token(message: SyslogMessage) -> SyslogMessage:
    claim = find_claim(message)
    if claim is not None:
        assert set(claim.secrets) == {TOKEN}
        message = parse(claim.rest)
    for _ in range(2):
        if TOKEN in names_of(message):
            message = without_name(message, TOKEN)
    return message


space = st.text(" \t", max_size=2).map(str.encode)
# No letter or digit in other places, so that the token cannot be there by chance.
texts = st.text("{}[]:,\" '\\é-_.@<>", max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | texts,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(texts | st.just("logsene-app-token"), inner, max_size=2)
    ),
    max_leaves=5,
)
keys = st.sampled_from(
    [b'"logsene-app-token"', b'"logsene\\u002Dapp-token"', b'"\\u006cogsene-app-token"']
)
header = st.sampled_from(
    [
        STAMP + b"su[1]:",
        STAMP + TOKEN + b": ",
        b"my-host my-process:@cee: ",
        b"my-host %s:@cee:" % TOKEN,
        b"@cee:",
        b"<13>1 2026-11-21T00:00:00Z h %s - - - " % TOKEN,
        b"<13>1 2026-11-21T00:00:00Z h app - - - @cee:",
    ]
)


@st.composite
def objects(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, object]]]:
    """A JSON object with one token or more, and the members that are none."""
    others = draw(st.lists(st.tuples(texts, values), max_size=4))
    members = [
        b"%s%s%s:%s%s"
        % (
            draw(space),
            json.dumps(key, ensure_ascii=False).encode(),
            draw(space),
            draw(space),
            json.dumps(value, ensure_ascii=False).encode(),
        )
        for key, value in others
    ]
    for _ in range(draw(st.integers(1, 3))):
        member = b'%s%s%s:%s"%s"%s' % (
            draw(space),
            draw(keys),
            *(draw(space) for _ in "ab"),
            TOKEN,
            draw(space),
        )
        members.insert(draw(st.integers(0, len(members))), member)
    return b"{%s%s}" % (b",".join(members), draw(space)), others


@given(header, objects())
def test_no_rewrite_has_the_token_and_all_have_the_rest(
    start: bytes, made: tuple[bytes, list[tuple[str, object]]]
) -> None:
    text, others = made
    message = without_token(parse(start + text))
    assert parse(message.raw) == message
    rest = json.loads(message.raw[message.raw.index(b"{") :], object_pairs_hook=list)
    assert rest == json.loads(_pairs_text(others), object_pairs_hook=list)
    for payload in [message.raw, *(rewrite([message], ORIGIN)[0] for rewrite in REWRITES)]:
        assert TOKEN not in payload


def _pairs_text(pairs: list[tuple[str, object]]) -> str:
    return "{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in pairs) + "}"


names = st.sampled_from(
    [
        STAMP + b"%s:",
        STAMP + b"%s[7]: ",
        STAMP + b"%s ",
        b"<13>Oct 11 22:14:15 %s: ",
        b"my-host %s:",
        b"<13>my-host %s: ",
        b"%s: ",
        b'<13>1 2026-11-21T00:00:00Z h %s 1 ID [a@1 b="c"] ',
    ]
)


@given(names, st.binary(max_size=20))
def test_no_rewrite_has_a_token_that_was_a_name(start: bytes, text: bytes) -> None:
    message = without_token(parse(start % TOKEN + text))
    assert parse(message.raw) == message
    for payload in [message.raw, *(rewrite([message], ORIGIN)[0] for rewrite in REWRITES)]:
        assert TOKEN not in payload


@given(st.binary())
def test_any_bytes_will_do(data: bytes) -> None:
    message = parse(data)
    find_claim(message)
    for name in names_of(message):
        changed = without_name(message, name)
        assert parse(changed.raw) == changed


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_any_bytes_around_a_claim(before: bytes, after: bytes) -> None:
    claim = find_claim(parse(before + b'{"logsene-app-token":"T"}' + after))
    if claim is not None:
        assert claim.rest == before + b"{}" + after


pieces = st.lists(
    st.sampled_from([*(b'{ } [ ] , : " " "logsene-app-token": \\ \xff 1'.split()), b" "]),
    max_size=15,
).map(b"".join)


@given(pieces | st.binary())
def test_any_bytes_behind_a_claim(after: bytes) -> None:
    claim = find_claim(parse(STAMP + b'a: {"logsene-app-token":"T",' + after))
    if claim is not None:
        assert claim.secrets[0] == b"T"
        assert claim.rest.startswith(STAMP + b"a: {")


def test_what_cannot_be_a_token_is_no_claim() -> None:
    for value in (b'""', b"null", b"5", b'"a b"', b'["x"]'):
        assert cut(STAMP + b'su: {"logsene-app-token":%s,"a":1}' % value) is None
        line = STAMP + b'su: {"logsene-app-token":"T","logsene-app-token":%s,"a":1}' % value
        found = cut(line)
        assert found is not None
        assert found[0] == (b"T",)
        assert b'"T"' not in found[1]


@pytest.mark.parametrize(
    "line",
    [
        STAMP + b'su: {"logsene-app-token":"T","a":1}',
        STAMP + b"T: hello",
        b"<13>1 2003-10-11T22:14:15Z h T - - - hello",
    ],
)
def test_a_line_end_that_belongs_to_msg_stays_behind_the_token(line: bytes) -> None:
    parser = new_parser(ParseOptions(keep_line_end=True), zone=UTC)
    (message,) = read_by(parser, [line + b"\r\n"], ORIGIN)
    claim = find_claim(message)
    if claim is None:
        rest = without_name(message, b"T")
    else:
        assert claim.secrets == (b"T",)
        rest = parse_rest(message, claim.rest)
    assert rest.msg in (b'{"a":1}\r\n', b"hello\r\n")
    assert b"T" not in rest.raw.replace(b"T0", b"").replace(b"T2", b"")


SECRET = b"0d3f1f60-aaaa-bbbb-cccc-123456789abc"
SHORT = "0d3f…9abc".encode()
BSD_HEADER = b"<13>Oct 11 22:14:15 web-1 "


@pytest.mark.parametrize(
    "payload",
    [
        BSD_HEADER + b'prog: @cee: {"logsene-app-token": "%s", "message": "x"}',
        BSD_HEADER + b'prog: {"a": 1, "logsene-app-token":"%s"}',
        BSD_HEADER + b'prog: {"logsene-app-token": "%s", "cut": "of',
        BSD_HEADER + b'prog: text and {"logsene-app-token" : "%s"} more',
        BSD_HEADER + b'prog: {"inner": "{\\"logsene-app-token\\": \\"%s\\"}"}',
        BSD_HEADER + b'prog: {"\\u006cogsene-app-token": "%s"}',
        BSD_HEADER + b"%s: hello",
        BSD_HEADER + b"%s[7]: hello",
        b"web-1 %s:hello",
        b"<13>1 2026-10-11T22:14:15Z web-1 %s 1 - - hello",
    ],
)
def test_a_token_is_not_shown_where_tokens_stand(payload: bytes) -> None:
    assert redacted(payload % SECRET) == payload % SHORT


def test_an_id_in_a_text_is_no_token() -> None:
    payload = BSD_HEADER + b"prog: request " + SECRET
    assert redacted(payload) == payload


def test_what_is_known_is_masked_wherever_it_stands() -> None:
    payload = BSD_HEADER + b"prog: key=secret-of-ours-123 and secret-of-ours-1234"
    shown = redacted(payload, [b"secret-of-ours-123", b"secret-of-ours-1234", b""])
    assert shown == BSD_HEADER + "prog: key=secr…-123 and secr…1234".encode()


@given(st.binary())
def test_any_bytes_can_be_redacted(payload: bytes) -> None:
    assert isinstance(redacted(payload), bytes)
