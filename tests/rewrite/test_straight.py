from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.origin import Origin
from relay.model.token import Token
from relay.rewrite.straight import straight_cee
from relay.rewrite.token import cee
from relay.wire.parse import parse_all
from relay.wire.parse_options import ParseOptions, new_parser
from tests.any_messages import LOCAL, NETWORK, frames
from tests.rewrite.test_token import RECEIVED_AT, TOKEN, ZONE
from tests.wire.test_usual_headers import NEARLY_USUAL

PARSER = new_parser(ParseOptions(), zone=ZONE)
CEE = cee(TOKEN, ZONE, relay_name=b"vm")
WAYS = {pure: straight_cee(TOKEN, ZONE, relay_name=b"vm", pure=pure) for pure in (False, True)}

USUAL = [
    b'<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 [x@1 a="b"] \xef\xbb\xbfcaf\xc3\xa9',
    b"<13>1 2003-10-11T22:14:15+02:00 - - - - -  two spaces",
    b"<13>1 2003-10-11T22:14:15Z h a p m -",
    b'<13>1 2003-10-11T22:14:15Z h a[:] p m - "quoted" \\ \x01 \xe9',
    b"<13>1 2003-10-11T22:14:15Z h a p m - ends here\r\n\0",
    b"<13>1 2003-10-11T22:14:15Z h a p m - a\0b",
    b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed",
    b"<34>Oct 11 22:14:15 mymachine su:failed",
    b"<34>Oct 11 22:14:15 su: failed\n",
    b"<34>2003-10-11T22:14:15.003+02:00 sshd[1]: \xff",
    b'<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 - {"a": 1}',
    b'<165>1 2003-10-11T22:14:15.003Z h app 77 ID47 - \xef\xbb\xbf  @cee: {"tags": ["x"]} \n',
    b'<34>Oct 11 22:14:15 h prog:{"logsene-app-token":"x","a":"\xc3\xa9\r\n"}',
    b'<34>Oct 11 22:14:15 h prog: {"a":\r\n1}',
    b'<34>Oct 11 22:14:15 h prog: {"a":1,"logsene-app-token":null}',
    b"<34>Oct 11 22:14:15 h prog: {",
    b'<34>Oct 11 22:14:15 h prog: use {"a": "\xff"}',
]
WITH_TOKENS = [
    b"<13>1 2003-10-11T22:14:15Z h 99999999-8888-7777-6666-555555555555 p m - x",
    b'<13>Oct 11 22:14:15 h 99999999-8888-7777-6666-555555555555[7]: {"a": 1}',
]
UNUSUAL = [
    b"<192>1 2003-10-11T22:14:15.003Z h app 77 ID47 - x",
    b"<13>hello",
    b"<13>1 2003-10-11T22:14:15.003Z h app 77 ID47 [x",
    b"\n",
]


def both_ways(lines: list[bytes], origin: Origin = NETWORK) -> list[int]:
    """Check what goes straight; return the indexes of what does not."""
    expected = CEE(PARSER(lines, origin), origin)
    for way in WAYS.values():
        payloads, left = way(lines, origin)
        assert [b"" if i in left else expected[i] for i in range(len(lines))] == payloads
    assert left == WAYS[False](lines, origin)[1]
    return left


def legacy_with_host(lines: list[bytes], origin: Origin) -> list[int]:
    """Indexes of what has a host where none is expected."""
    return [
        index
        for index, message in enumerate(parse_all(lines))
        if message.hostname and not message.version and origin.is_local_socket
    ]


@pytest.mark.parametrize("line", USUAL)
def test_usual_frames_become_what_the_long_way_makes_of_them(line: bytes) -> None:
    assert both_ways([line]) == []
    assert both_ways([line, line], LOCAL) == legacy_with_host([line, line], LOCAL)


@pytest.mark.parametrize("line", UNUSUAL + WITH_TOKENS)
def test_unusual_frames_are_left_alone(line: bytes) -> None:
    assert both_ways([line]) == [0]


def test_usual_and_unusual_ones_in_one_batch_stay_in_order() -> None:
    lines = [line for pair in zip(UNUSUAL, USUAL, strict=False) for line in pair]
    assert both_ways(lines) == [0, 2, 4, 6]
    assert both_ways(lines[::-1]) == [1, 3, 5, 7]
    assert both_ways(USUAL) == []
    assert both_ways(USUAL[::-1]) == []
    lines = [USUAL[0], WITH_TOKENS[0], UNUSUAL[0], WITH_TOKENS[1], USUAL[6]]
    assert both_ways(lines) == [1, 2, 3]


@given(
    st.lists(
        st.one_of(NEARLY_USUAL, frames, st.sampled_from(USUAL + WITH_TOKENS)),
        min_size=1,
        max_size=6,
    )
)
def test_nothing_becomes_what_the_long_way_would_not_make_of_it(lines: list[bytes]) -> None:
    both_ways(lines)
    both_ways(lines, LOCAL)


def test_a_token_may_have_any_character() -> None:
    token = Token(b'a"b\\c')
    lines = USUAL[-1:]
    origin = NETWORK._replace(received_at=RECEIVED_AT)
    straight = straight_cee(token, ZONE, relay_name=b"vm")(lines, origin)
    assert straight == (cee(token, ZONE, relay_name=b"vm")(parse_all(lines), origin), [])
