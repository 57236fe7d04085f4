from __future__ import annotations

import pytest

from relay.model.token import Token, has_token_form, is_secret, redacted_secret

SECRET = b"0123-secret-secret-cdef"


def test_only_reveal_reveals() -> None:
    token = Token(SECRET)
    shown = [str(token), repr(token), f"{token}", str([token]), repr({"token": token})]
    assert not [text for text in shown if "secret" in text]
    assert str(token) == "0123…cdef"
    assert token.reveal() == SECRET


@pytest.mark.parametrize("secret", [b"x", b"123456789012345"])
def test_nothing_of_a_short_one_is_shown(secret: bytes) -> None:
    assert str(Token(secret)) == "****"


@pytest.mark.parametrize("secret", [b"!", b"~" * 255])
def test_taken(secret: bytes) -> None:
    assert Token(secret).reveal() == secret


@pytest.mark.parametrize(
    "secret", [b"", b"x" * 256, b"has space", b"newline\n", b"nul\0", b"\x7f", b"\xc3\xbcmlaut"]
)
def test_an_error_does_not_contain_the_secret(secret: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        Token(secret)
    assert not secret or secret.decode("latin-1") not in str(caught.value)


def test_tokens_are_values() -> None:
    assert Token(SECRET) == Token(SECRET)
    assert Token(SECRET) != Token(b"other")
    assert Token(SECRET) != SECRET
    assert len({Token(SECRET), Token(SECRET)}) == 1


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (b"0123456789abcdef", "0123…cdef"),
        (b"0123456789abcde", "****"),
        (b"", "****"),
        (b"a\nb" + b"x" * 20, "****"),
        (b"x" * 20 + b"\xff", "****"),
    ],
)
def test_what_may_be_a_secret_is_masked(secret: bytes, shown: str) -> None:
    assert redacted_secret(secret) == shown


def test_what_can_be_a_token_and_what_looks_like_one() -> None:
    form = b"0f9e8d7c-89AB-cdef-0123-456789abcdef"
    assert is_secret(form)
    assert has_token_form(form)
    for text in (b"x", form + b"0", form[1:], form.replace(b"-", b"_"), form.replace(b"f", b"g")):
        assert is_secret(text)
        assert not has_token_form(text)
    for text in (b"", b"a b", b"x" * 256, form + b"\n"):
        assert not is_secret(text)
        assert not has_token_form(text)
