from __future__ import annotations

import pytest

from relay.rewrite.forms.token import (
    has_legacy_header,
    is_irregular,
    legacy_header,
    text_with_tag,
)
from relay.wire.parse import parse


@pytest.mark.parametrize(
    ("text", "literal", "irregular"),
    [
        (b"su: x", b"su: ", False),
        (b"su[1]:x", b"su[1]:", False),
        (b"su[1] x", b"su[1] ", False),
        (b"su x", b"su ", False),
        (b": x", b": ", False),
        (b"sssd[be[X]][9]: x", b"sssd[be[X]][9]: ", False),
        (b"caf\xc3\xa9: x", b"caf\xc3\xa9: ", False),
        (b"[core:error] x", b"", False),
        (b"[12] x", b"[12] ", True),
        (b"su[12 x", b"su[12 ", True),
        (b"su[]: x", b"su[]: ", True),
        (b"caf\xe9: x", b"caf\xe9: ", True),
    ],
)
def test_a_tag_that_cannot_be_made_of_its_fields_is_irregular(
    text: bytes, literal: bytes, irregular: bool
) -> None:
    message = parse(b"<13>Oct 11 22:14:15 h " + text)
    assert (legacy_header(message), is_irregular(message)) == (literal, irregular)
    assert has_legacy_header(message)
    assert text_with_tag(message) == text


def test_rfc5424_has_none() -> None:
    message = parse(b"<13>1 - h a - - - x")
    assert (has_legacy_header(message), legacy_header(message)) == (False, b"")
    assert not is_irregular(message)
    assert text_with_tag(message) == b"x"
