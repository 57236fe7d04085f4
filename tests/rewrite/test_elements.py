from __future__ import annotations

import pytest
from hypothesis import given

from relay.model.message import JsonText, SyslogMessage
from relay.rewrite.fields import element_pairs, elements_of
from relay.wire.headers.structured_data import is_structured_data
from relay.wire.parse import parse
from tests.any_messages import messages


def message(elements: bytes, pairs: dict[str, bytes] | None = None) -> SyslogMessage:
    return parse(b"<13>1 - - - - - " + elements)._replace(pairs=pairs)


def test_parameters_are_pairs() -> None:
    text = rb'[a@1.2 b="1" c="x\]y"][empty][ip addr="10.0.0.1" addr="10.0.0.2"]'
    pairs = element_pairs(message(text))
    assert pairs == {
        ".SDATA.a@1.2.b": b"1",
        ".SDATA.a@1.2.c": b"x]y",
        ".SDATA.empty": b"",
        ".SDATA.ip.addr": b'["10.0.0.1","10.0.0.2"]',
    }
    assert type(pairs[".SDATA.ip.addr"]) is JsonText
    assert element_pairs(message(b"-")) == {}


def test_pairs_of_a_message_go_before_its_elements() -> None:
    found = element_pairs(message(b'[a b="1" c="2"]', {".SDATA.a.b": b"3", "other": b"4"}))
    assert found == {".SDATA.a.b": b"3", ".SDATA.a.c": b"2"}


@pytest.mark.parametrize(
    ("elements", "pairs", "expected"),
    [
        (b"-", None, None),
        (b'[a  b="1"] x', None, None),
        (b'[a b="1" b="2"]', {"c": b"3"}, b'[a b="1" b="2"]'),
        (b'[a b="1"]', {".SDATA.a.c": b'"]\\'}, b'[a b="1" c="\\"\\]\\\\"]'),
        (b'[x@1.2 b="1"]', {".SDATA.x@1.2.c.d": b"e"}, b'[x@1.2 b="1" c.d="e"]'),
        (b"-", {".SDATA.x@1.2.c": b"", ".SDATA.y": b""}, b'[x@1.2 c=""][y]'),
        (b"-", {".SDATA.a b.c=\u00e9": b"1"}, b'[a%20b c%3D%C3%A9="1"]'),
    ],
)
def test_elements_with_pairs(
    elements: bytes, pairs: dict[str, bytes] | None, expected: bytes | None
) -> None:
    assert elements_of(message(elements, pairs)) == expected


@given(messages)
def test_elements_are_valid(message: SyslogMessage) -> None:
    found = elements_of(message)
    assert found is None or is_structured_data(found)
    element_pairs(message)
