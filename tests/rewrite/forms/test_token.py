from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.model.token import Token
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.formats import bsd_stamps
from relay.rewrite.forms.token import (
    RFC5424,
    RSYSLOG,
    Header,
    Writer,
    app_name,
    byte_order_mark_of,
    cee,
    legacy_header,
    tag,
    text_with_tag,
)
from relay.rewrite.json.text import COOKIE
from relay.wire.parse import parse, parse_all

SECRET = b"01234567-89ab-cdef-0123-456789abcdef"
TOKEN = Token(SECRET)
ZONE = ZoneInfo("Europe/Budapest")
RECEIVED_AT = datetime(2026, 11, 21, 0, 53, 20, 250_000, tzinfo=UTC).timestamp()
NETWORK = Origin("in", Transport.UDP, "192.0.2.1", 40000, received_at=RECEIVED_AT)
LOCAL = Origin("in", Transport.UNIX, pid=1, uid=2, gid=3, received_at=RECEIVED_AT)

CEE = cee(TOKEN, ZONE, relay_name=b"vm")
TAG = tag(TOKEN, ZONE, relay_name=b"vm")
APP_NAME = app_name(TOKEN, ZONE, relay_name=b"vm")
CEE_WITH_DATA = cee(TOKEN, ZONE, relay_name=b"vm", known=[b"app"], structured_data=True)
ALL = [CEE, TAG, APP_NAME, CEE_WITH_DATA]

STAMP = b"2026-10-11T22:14:15+02:00"
NOW = b"2026-11-21T01:53:20.250000+01:00"


def send(rewrite: Writer, line: bytes, origin: Origin = NETWORK) -> bytes:
    (payload,) = rewrite([parse(line)], origin)
    return payload


def wrapped(message: bytes) -> bytes:
    return b'@cee: {"logsene-app-token": "%s", "message": %s}' % (SECRET, message)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed",
            b"<34>%s mymachine su[230]:%s" % (STAMP, wrapped(b"\"'su root' failed\"")),
        ),
        (
            b'<34>2003-10-11T22:14:15.003Z h sshd: "a\\b"\t\x01\xe9\0.',
            b"<34>2003-10-11T22:14:15.003Z h sshd:%s" % wrapped(rb'"\"a\\b\"\t\u0001\\xe9\\x00."'),
        ),
        (
            b'<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 [x@1 a="b"] \xef\xbb\xbfcaf\xc3\xa9',
            b"<165>2003-10-11T22:14:15.003Z h app[77]:%s" % wrapped(b'"caf\xc3\xa9"'),
        ),
        (b"<13>1 - - - - - -  x", b"<13>%s 192.0.2.1 -:%s" % (NOW, wrapped(b'"x"'))),
        (b"<13>1 - - - - - -   x", b"<13>%s 192.0.2.1 -:%s" % (NOW, wrapped(b'" x"'))),
        (
            b"<86>Oct 11 22:14:15 h sudo:    alice",
            b"<86>%s h sudo:%s" % (STAMP, wrapped(b'"   alice"')),
        ),
        (
            b"<13>1 - - - - - - a\nb\0",
            b"<13>%s 192.0.2.1 -:%s" % (NOW, wrapped(rb'"a\nb"')),
        ),
        (
            b"<13>1 - [2001:db8::1] a:b[c] - - - x",
            b"<13>%s 2001:db8::1 a_b_c_:%s" % (NOW, wrapped(b'"x"')),
        ),
    ],
)
def test_cee(line: bytes, expected: bytes) -> None:
    assert send(CEE, line) == expected


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        (b'@cee: {"a":1e400}', b'{"logsene-app-token": "%s", "a":1e400}' % SECRET),
        (b'@cee:{"a":1,"a":2}', b'{"logsene-app-token": "%s", "a":1,"a":2}' % SECRET),
        (b' {"a": 1}', b'{"logsene-app-token": "%s", "a": 1}' % SECRET),
        (b"{}", b'{"logsene-app-token": "%s"}' % SECRET),
        (
            b'{"a":{"logsene-app-token":"x"}}',
            b'{"logsene-app-token": "%s", "a":{"logsene-app-token":"x"}}' % SECRET,
        ),
        (b'{"logsene-app-token":"other","m":1}', b'{"logsene-app-token":"other","m":1}'),
        (
            rb'@cee: {"m":1, "logsene\u002dapp-token": "other"}',
            rb'{"m":1, "logsene\u002dapp-token": "other"}',
        ),
    ],
)
def test_cee_adds_the_token_to_objects_that_have_none(msg: bytes, expected: bytes) -> None:
    payload = send(CEE, b"<13>1 2003-10-11T22:14:15Z h a - - - " + msg)
    assert payload == b"<13>2003-10-11T22:14:15Z h a:@cee: " + expected


@pytest.mark.parametrize(
    "value",
    [b"null", b'""', b'" "', b"5", b"true", b"[]", b'["x"]', b'{"a":"}"}', b'"a b"'],
)
def test_what_cannot_be_a_token_gives_way_to_one(value: bytes) -> None:
    named = b'"logsene-app-token":%s' % value
    for msg in (b'{%s,"m":1}', b'@cee: {"m":1,%s}', b'{"logsene-app-token":"x","m":1,%s}'):
        line = b"<13>1 2003-10-11T22:14:15Z h a - - - " + msg % named
        payload = send(CEE, line)
        assert payload.endswith(b'@cee: {"logsene-app-token": "%s", "m":1}' % SECRET)
        assert send(TAG, line).startswith(b"<13>2003-10-11T22:14:15Z h %s:" % SECRET)
        assert b" h %s - - - " % SECRET in send(APP_NAME, line)


OTHER = b"99999999-8888-7777-6666-55555555555A"
KNOWN = b"token-of-an-app"


@pytest.mark.parametrize("own", [OTHER, KNOWN])
@pytest.mark.parametrize(
    "line",
    [
        b"my-host %s:hello",
        b"<13>Oct 11 22:14:15 my-host %s: hello",
        b"<13>Oct 11 22:14:15 my-host %s[12]: hello",
        b"<13>1 2026-10-11T22:14:15+02:00 my-host %s - - - hello",
    ],
)
def test_a_token_in_a_header_is_kept(line: bytes, own: bytes) -> None:
    known = [KNOWN]
    with_cee = cee(TOKEN, ZONE, relay_name=b"vm", known=known)
    with_tag = tag(TOKEN, ZONE, relay_name=b"vm", known=known)
    with_app_name = app_name(TOKEN, ZONE, relay_name=b"vm", known=known)
    payload = send(with_cee, line % own)
    assert payload.endswith(
        b' my-host -:@cee: {"logsene-app-token": "%s", "message": "hello"}' % own
    )
    assert re.fullmatch(rb"<13>\S+ my-host %s: ?hello" % own, send(with_tag, line % own))
    assert re.fullmatch(
        rb"<13>1 \S+ my-host %s (-|12) - - hello" % own, send(with_app_name, line % own)
    )


def test_an_object_gets_the_token_of_its_header_unless_it_names_one() -> None:
    line = b"<13>1 2003-10-11T22:14:15Z h %s - - - " % OTHER
    start = b"<13>2003-10-11T22:14:15Z h -:@cee: "
    expected = b'{"logsene-app-token": "%s", "a":1}' % OTHER
    assert send(CEE, line + b'{"a":1}') == start + expected
    assert send(CEE, line + b'{"a":1,"logsene-app-token":null}') == start + expected
    own = b'{"logsene-app-token":"x"}'
    assert send(CEE, line + own) == start + own


def test_what_only_looks_like_a_token_is_a_name() -> None:
    for name in (OTHER[:-1], OTHER + b"0", OTHER.replace(b"A", b"g"), KNOWN):
        payload = send(CEE, b"<13>1 2003-10-11T22:14:15Z h %s - - - x" % name)
        assert payload.startswith(b"<13>2003-10-11T22:14:15Z h %s:" % name)


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        (
            b"hello",
            b'"msgid": "ID1", "_SDATA":{"x@1.2":{"a":["1","2"],"b":"\\"]"},"y":""},'
            b' "logsene-app-token": "%s", "message": "hello"' % SECRET,
        ),
        (
            b'{"msgid":7,"c":1}',
            b'"_SDATA":{"x@1.2":{"a":["1","2"],"b":"\\"]"},"y":""},'
            b' "logsene-app-token": "%s", "msgid":7,"c":1' % SECRET,
        ),
        (b'{"msgid":7,"_SDATA":0}', b'"logsene-app-token": "%s", "msgid":7,"_SDATA":0' % SECRET),
        (
            b'{"logsene-app-token":"x","_SDATA":0}',
            b'"msgid": "ID1", "logsene-app-token":"x","_SDATA":0',
        ),
    ],
)
def test_structured_data_goes_into_the_object_where_that_is_asked_for(
    msg: bytes, expected: bytes
) -> None:
    rewrite = cee(TOKEN, ZONE, relay_name=b"vm", structured_data=True)
    line = rb'<13>1 2003-10-11T22:14:15Z h a - ID1 [x@1.2 a="1" a="2" b="\"\]"][y] ' + msg
    payload = send(rewrite, line)
    assert payload == b"<13>2003-10-11T22:14:15Z h a:@cee: {%s}" % expected
    assert send(rewrite, payload) == payload
    plain = b"<13>1 2003-10-11T22:14:15Z h a - - - " + msg
    assert send(rewrite, plain) == send(CEE, plain)


def test_cee_wraps_what_is_nearly_an_object() -> None:
    payload = send(CEE, b'<13>1 2003-10-11T22:14:15Z h a - - - @cee: {"a":"\xff"}')
    assert payload.endswith(wrapped(rb'"@cee: {\"a\":\"\\xff\"}"'))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed",
            b"<34>%s mymachine %s:'su root' failed" % (STAMP, SECRET),
        ),
        (
            b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
            b"<13>2026-02-05T17:32:18+01:00 10.0.0.99 %s:Use the BFG!" % SECRET,
        ),
        (b"Restarting", b"<13>%s 192.0.2.1 %s:Restarting" % (NOW, SECRET)),
        (b"h %s:hello world!" % SECRET, b"<13>%s h %s:hello world!" % (NOW, SECRET)),
        (b"<13>1 - h a - - - a\nb", b"<13>%s h %s:a\nb" % (NOW, SECRET)),
        (b"<13>1 - h a - - -  x", b"<13>%s h %s: x" % (NOW, SECRET)),
    ],
)
def test_tag(line: bytes, expected: bytes) -> None:
    assert send(TAG, line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed",
            b"<34>1 %s mymachine %s 230 - - 'su root' failed" % (STAMP, SECRET),
        ),
        (
            b'<165>1 2003-10-11T22:14:15.123456789Z h app 77 ID47 [x@1 a="b"] \xef\xbb\xbftext\n',
            b"<165>1 2003-10-11T22:14:15.123456Z h %s 77 ID47 "
            b'[x@1 a="b"] \xef\xbb\xbftext' % SECRET,
        ),
        (b"<13>1 - h a - - - ", b"<13>1 %s h %s - - -" % (NOW, SECRET)),
        (b"<13>Oct 11 22:14:15 - a: x", b"<13>1 %s 192.0.2.1 %s - - - x" % (STAMP, SECRET)),
    ],
)
def test_app_name(line: bytes, expected: bytes) -> None:
    assert send(APP_NAME, line) == expected


def test_a_token_in_the_text_is_the_only_one() -> None:
    line = b'my-host my-process:@cee: {"logsene-app-token": "OTHER", "message": "hello world!"}'
    cookie = b'@cee: {"logsene-app-token": "OTHER", "message": "hello world!"}'
    assert send(CEE, line) == b"<13>%s my-host my-process:%s" % (NOW, cookie)
    assert send(TAG, line) == b"<13>%s my-host my-process:%s" % (NOW, cookie)
    assert send(APP_NAME, line) == b"<13>1 %s my-host my-process - - - %s" % (NOW, cookie)


def test_envelopes_are_opened_first() -> None:
    line = (
        b'<34>1 2026-10-11T22:14:15.123+02:00 relay @syslog-ng - - [x@1 a="b"] {"PROGRAM":"su",'
        b'"PID":"230","MSGID":"M","MESSAGE":"hello","LEGACY_MSGHDR":"su[230]: ","HOST":"mymachine"}'
    )
    stamp = b"2026-10-11T22:14:15.123+02:00"
    assert send(CEE, line) == b"<34>%s mymachine su[230]:%s" % (stamp, wrapped(b'"hello"'))
    assert send(TAG, line) == b"<34>%s mymachine %s:hello" % (stamp, SECRET)
    assert send(APP_NAME, line) == (
        b'<34>1 %s mymachine %s 230 M [x@1 a="b"] hello' % (stamp, SECRET)
    )


def test_line_ends_at_the_end_are_not_sent_from_envelopes_either() -> None:
    line = b'<13>Oct 11 22:14:15 h @syslog-ng: {"MESSAGE":"hello\\r\\n"}'
    assert send(TAG, line) == b"<13>%s h %s:hello" % (STAMP, SECRET)
    assert send(APP_NAME, line) == b"<13>1 %s h %s - - - hello" % (STAMP, SECRET)


def test_local_senders_are_on_the_host_of_the_relay() -> None:
    line = b"<13>Oct 11 22:14:15 app: x"
    assert send(TAG, line, LOCAL) == b"<13>%s vm %s:x" % (STAMP, SECRET)
    assert send(APP_NAME, line, LOCAL) == b"<13>1 %s vm %s - - - x" % (STAMP, SECRET)
    assert send(CEE, line, LOCAL) == b"<13>%s vm app:%s" % (STAMP, wrapped(b'"x"'))


def test_a_batch_keeps_its_order() -> None:
    batch = parse_all([b"<13>Oct 11 22:14:15 h a: 1", b"<14>Oct 11 22:14:15 h a: 2"])
    for rewrite in ALL:
        assert rewrite(batch, NETWORK) == [rewrite([message], NETWORK)[0] for message in batch]
        assert rewrite([], NETWORK) == []


def test_a_token_that_does_not_fit_is_refused_without_showing_it() -> None:
    for byte in b":[]":
        with pytest.raises(ValueError, match="tag") as refused:
            tag(Token(b"secret%c" % byte), ZONE, relay_name=b"vm")
        assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="APP-NAME") as refused:
        app_name(Token(b"secret" * 9), ZONE, relay_name=b"vm")
    assert "secret" not in str(refused.value)


PIECES = [
    *(b"<13>", b"<34>", b"<999>", b"1 ", b"- ", b"Oct 11 22:14:15 ", b"2003-10-11T22:14:15Z "),
    *(b" ", b":", b"[", b"]", b'"', b"-", b"host ", b"app", b'[a b="c"]', b"\n", b"\t", b"\r"),
    *(b"@cee:", b'{"a":1}', b"{}", b'{"logsene-app-token":"x"}', b'{\n"a":[\t]}', b"\xff", b"\0"),
    *(
        SECRET,
        b"@syslog-ng: ",
        b'{"MESSAGE":" h x[1]: @cee:{}"}',
        b"last message repeated",
        b"Message forwarded from ",
        b"12: *",
        b"\xef\xbb\xbf",
    ),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
fields = st.none() | st.binary(min_size=1, max_size=60)
messages = st.one_of(
    frames.map(parse),
    st.builds(
        SyslogMessage,
        facility=st.integers(0, 23),
        severity=st.integers(0, 7),
        version=st.integers(0, 1),
        timestamp=st.none()
        | st.sampled_from([b"Oct 11 22:14:15", b"2003-10-11T22:14:15.1234567Z"]),
        hostname=fields,
        app_name=fields | st.just(SECRET),
        procid=fields,
        msgid=fields,
        structured_data=st.sampled_from([None, b'[a b="\n"]']),
        msg=frames.map(lambda frame: frame.rstrip(b"\r\n\0")),
        raw=frames,
        pairs=st.none() | st.just({"LEGACY_MSGHDR": b"x: "}),
    ),
)
origins = st.sampled_from([NETWORK, LOCAL, NETWORK._replace(peer_host="2001:db8::1")])


@given(messages, origins)
def test_rewriting_again_changes_nothing(message: SyslogMessage, origin: Origin) -> None:
    for rewrite in ALL:
        once = rewrite([message], origin)
        again = rewrite(parse_all(once), NETWORK._replace(received_at=0.0))
        assert again == once


NAME = rb"[!-~\x80-\xff]"  # in US-ASCII or UTF-8
LEGACY_HEADER = re.compile(rb"<[0-9]{1,3}>[0-9T:.+-]+Z? %s+ %s*?:" % (NAME, NAME), re.DOTALL)
HEADER = re.compile(
    rb"<[0-9]{1,3}>1 [0-9T:.+-]+Z? %s+( [!-~]+){3} (-|\[a b=\"#012\"\]|\[.*)" % NAME, re.DOTALL
)


@given(messages, origins)
def test_headers_are_valid_and_cee_is_one_line_of_json(
    message: SyslogMessage, origin: Origin
) -> None:
    payload = CEE([message], origin)[0]
    assert LEGACY_HEADER.match(payload)
    assert b"\n" not in payload
    assert b"\0" not in payload
    members = json.loads(payload.partition(b":@cee: ")[2].decode("utf-8"))
    assert "logsene-app-token" in members
    with_data = CEE_WITH_DATA([message], origin)[0].partition(b":@cee: ")[2]
    pairs = json.loads(with_data, object_pairs_hook=list)
    assert [name for name, _ in pairs].count("logsene-app-token") == 1
    assert {name for name, _ in pairs} - members.keys() <= {"_SDATA", "msgid"}
    assert LEGACY_HEADER.match(TAG([message], origin)[0])
    assert HEADER.match(APP_NAME([message], origin)[0])


def test_the_zone_counts_only_for_stamps_without_offset() -> None:
    rewrite = tag(TOKEN, UTC, relay_name=b"vm")
    assert send(rewrite, b"<13>Oct 11 22:14:15 h a: x").startswith(b"<13>2026-10-11T22:14:15+00:00")
    stamped = b"<13>1 2003-10-11T22:14:15+05:45 h a - - - x"
    assert send(rewrite, stamped).startswith(b"<13>2003-10-11T22:14:15+05:45 ")


def test_each_message_of_a_batch_has_its_own_program() -> None:
    lines = [
        b"<%d>1 2003-10-11T22:14:15.003Z %s %s %s - - x" % (pri, host, name, pid)
        for pri in (13, 165)
        for host in (b"-", b"h", b"192.0.2.7")
        for name in (b"-", b"app", b"h")
        for pid in (b"-", b"7", b"app")
    ]
    assert CEE(parse_all(lines), NETWORK) == [send(CEE, line) for line in lines]


def test_a_mark_is_found_before_a_text_with_its_line_end() -> None:
    message = parse(b"<13>1 - h a - - - \xef\xbb\xbfx\r\n")
    kept = message._replace(msg=message.msg + b"\r\n")
    assert byte_order_mark_of(message) == byte_order_mark_of(kept) == b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("line", "tag_and_object", "text"),
    [
        (b"no header at all", b"-:", b"no header at all"),
        (b"x", b"-:", b"x"),
        (b"<13>hello world", b"-:", b"hello world"),
        (b"404: not found", b"-:", b"404: not found"),
        (b"<13>Oct 11 22:14:15 h [core:error] [pid 1] x", b"-:", b"[core:error] [pid 1] x"),
        (b"<13>Oct 11 22:14:15 h app[12 text", b"-:", b"app[12 text"),
        (b"<13>Oct 11 22:14:15 h [7] x", b"-:", b"[7] x"),
        (b"<13>Oct 11 22:14:15\ta=b\tc=d e", b"-:", rb"a=b\tc=d e"),
        (b"<13>Oct 11 22:14:15 h app: text", b"app:", b"text"),
        (b"<13>Oct 11 22:14:15 h app[7] text", b"app[7]:", b"text"),
        (b"<13>Oct 11 22:14:15 h app text", b"app:", b"text"),
        (b"<13>Oct 11 22:14:15 h sssd[be[X]][9]: x", b"sssd[be[X]][9]:", b"x"),
        (b"<13>Oct 11 22:14:15 h caf\xc3\xa9[1]: x", b"caf\xc3\xa9[1]:", b"x"),
        (b"<13>1 - h CEF:0|a|b c", b"-:", b"CEF:0|a|b c"),
        (b"<13>1 - h app 1 - [a b=c] d", b"app[1]:", b"[a b=c] d"),
    ],
)
def test_what_is_no_tag_is_text_in_every_form(
    line: bytes, tag_and_object: bytes, text: bytes
) -> None:
    payload = send(CEE, line)
    assert payload.endswith(b" %s%s" % (tag_and_object, wrapped(b'"%s"' % text)))
    assert send(CEE, payload) == payload
    for rewrite in (TAG, APP_NAME):
        written = send(rewrite, line)
        assert written.endswith(text.replace(rb"\t", b"\t"))
        assert send(rewrite, written) == written


@pytest.mark.parametrize(
    "text", [b"[core:error] [pid 1] x", b"sssd[be[X]][9]: x", b"app[12 text", b"[7] x"]
)
def test_irregular_tags_stay_as_they_came_behind_the_token(text: bytes) -> None:
    payload = send(TAG, b"<13>Oct 11 22:14:15 h " + text)
    assert payload == b"<13>%s h %s:%s" % (STAMP, SECRET, text)


TEXTS = st.lists(
    st.sampled_from(
        [
            *(
                b"a",
                b"app",
                b"[",
                b"]",
                b"[7]",
                b": ",
                b":",
                b" ",
                b"host ",
                b"{",
                b'{"a":1}',
                b"@cee:",
            ),
            *(b"404: ", b"\t", b"\xc3\xa9", b"=", b'"', b"-", b"[b[c]]", b"|", b"CEF:0|"),
        ]
    ),
    min_size=1,
    max_size=8,
).map(b"".join)


@given(st.sampled_from([b"", b"<13>", b"<13>Oct 11 22:14:15 ", b"<13>Oct 11 22:14:15 h "]), TEXTS)
def test_no_form_loses_a_byte_of_a_text(start: bytes, text: bytes) -> None:
    message = parse(start + text)
    whole = text_with_tag(message)
    payload = CEE([message], NETWORK)[0]
    again = parse(payload)
    members = json.loads(payload.partition(b"@cee: ")[2])
    if "message" in members:
        sent = members["message"].encode()
        if message.msg[:1] == b" " and not legacy_header(message).endswith(b" "):
            sent = b" " + sent  # which separates it from the tag
        names = (again.app_name, again.procid)
        kept = sent == message.msg and names == (message.app_name or b"-", message.procid)
        assert kept or sent == whole, payload
    for rewrite in (TAG, APP_NAME):
        assert rewrite([message], NETWORK)[0].endswith(message.msg)
    for line in (payload, TAG([message], NETWORK)[0]):
        assert parse(line).hostname == (message.hostname or b"192.0.2.1")


BSD = Header("rfc3164", bsd_stamps(MacroContext(relay_name=b"vm", now=float, zone=ZONE)))
LINE = b'<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 [x@1 a="b"] say "hi"'
OBJECT = b'{"logsene-app-token": "%s", "message": "say \\"hi\\""}' % SECRET


@pytest.mark.parametrize(
    ("header", "cookie", "before"),
    [
        (RSYSLOG, COOKIE, b"<165>2003-10-11T22:14:15.003Z h app[77]:@cee: "),
        (BSD, COOKIE, b"<165>Oct 12 00:14:15 h app[77]: @cee: "),
        (RFC5424, COOKIE, b'<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 [x@1 a="b"] @cee: '),
        (RSYSLOG, b"", b"<165>2003-10-11T22:14:15.003Z h app[77]: "),
        (BSD, b"", b"<165>Oct 12 00:14:15 h app[77]: "),
        (RFC5424, b"", b"<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 - "),
    ],
)
def test_objects_behind_each_header(header: Header, cookie: bytes, before: bytes) -> None:
    form = cee(TOKEN, ZONE, relay_name=b"vm", header=header, cookie=cookie)
    assert send(form, LINE) == before + OBJECT
    again = send(form, before + OBJECT)
    assert again.endswith(OBJECT)
    assert again.count(SECRET) == 1


def test_without_a_program_or_pid_the_header_of_rfc5424_is_valid() -> None:
    form = cee(TOKEN, ZONE, relay_name=b"vm", header=RFC5424, cookie=b"")
    payload = send(form, b"<13>Oct 11 22:14:15 h cron: x")
    assert payload.startswith(b"<13>1 2026-10-11T22:14:15+02:00 h cron - - - {")
    assert json.loads(payload.partition(b" - - - ")[2])["message"] == "x"


def test_a_tag_behind_a_stamp_of_rfc3164() -> None:
    form = tag(TOKEN, ZONE, relay_name=b"vm", header=BSD)
    assert send(form, LINE) == b'<165>Oct 12 00:14:15 h %s:say "hi"' % SECRET


@pytest.mark.parametrize("header", [RSYSLOG, BSD, RFC5424])
@pytest.mark.parametrize("cookie", [COOKIE, b""])
def test_a_token_in_the_tag_moves_into_the_object(header: Header, cookie: bytes) -> None:
    form = cee(TOKEN, ZONE, relay_name=b"vm", header=header, cookie=cookie)
    payload = send(form, b"my-host %s:hello world!" % OTHER)
    assert payload.endswith(b'{"logsene-app-token": "%s", "message": "hello world!"}' % OTHER)
    assert SECRET not in payload
    assert payload.count(OTHER) == 1
