from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from relay.model.token import Token
from relay.observe.web.access import Denied, Needs, Tokens, WebAccess, WrongTokens, check_origin

READER, ADMIN = "reader-0123456789", "admin-0123456789"


def fixed(secret: str) -> Callable[[], Token]:
    return lambda: Token(secret.encode())


class Access:
    def __init__(self, reader: str = READER, admin: str = ADMIN) -> None:
        self.clock = Clock()
        self.wrong = WrongTokens(self.clock)
        tokens = Tokens(fixed(reader) if reader else None, fixed(admin) if admin else None)
        self._access = WebAccess((), tokens, self.wrong)

    def ask(self, needs: Needs, secret: str = "", address: str = "192.0.2.1") -> int:
        """0, or the status of the refusal."""
        try:
            self._access.check_token(needs, f"Bearer {secret}" if secret else "", address)
        except Denied as denied:
            return denied.status
        return 0


def test_each_token_allows_what_it_is_for() -> None:
    access = Access()
    assert access.ask(Needs.NOTHING) == 0
    assert [access.ask(Needs.READER, token) for token in ("", "x", READER, ADMIN)] == [
        401,
        401,
        0,
        0,
    ]
    assert [access.ask(Needs.ADMIN, token) for token in ("", "x", READER, ADMIN)] == [
        401,
        401,
        401,
        0,
    ]


def test_without_a_readers_token_everybody_may_look_and_nobody_act() -> None:
    access = Access(reader="")
    assert access.ask(Needs.READER) == 0
    assert [access.ask(Needs.ADMIN, token) for token in ("", READER, ADMIN)] == [401, 401, 0]


def test_one_token_for_both_allows_no_action() -> None:
    access = Access(admin=READER)
    assert access.ask(Needs.READER, READER) == 0
    assert access.ask(Needs.ADMIN, READER) == 503


def test_who_guesses_has_to_wait_and_others_do_not() -> None:
    access = Access()
    assert [access.ask(Needs.READER, "guess") for _ in range(12)] == [401] * 10 + [429] * 2
    assert access.ask(Needs.READER, READER) == 429
    assert access.ask(Needs.READER, READER, "192.0.2.2") == 0
    assert access.ask(Needs.NOTHING) == 0
    assert access.wrong.count == 10
    access.clock.advance(61)
    assert access.ask(Needs.READER, READER) == 0


def test_a_request_without_a_token_is_no_guess() -> None:
    access = Access()
    assert [access.ask(Needs.READER) for _ in range(20)] == [401] * 20
    assert access.wrong.count == 0


def test_a_host_has_many_addresses_of_ipv6_and_may_not_guess_with_each() -> None:
    access = Access()
    for number in range(10):
        access.ask(Needs.READER, "guess", f"2001:db8::{number:x}")
    assert access.ask(Needs.READER, READER, "2001:db8::ffff") == 429
    assert access.ask(Needs.READER, READER, "2001:db8:0:1::1") == 0


def test_the_table_of_guesses_is_bounded() -> None:
    access = Access()
    for number in range(3000):
        access.ask(Needs.READER, "guess", f"10.0.{number >> 8}.{number & 255}")
    assert len(access.wrong._recent) == 1000
    assert access.wrong.count == 3000


@pytest.mark.parametrize(
    ("origin", "site", "is_allowed"),
    [
        ("", "", True),
        ("http://relay:8514", "", True),
        ("https://RELAY:8514", "same-origin", True),
        ("", "same-origin", True),
        ("http://evil.example.com", "", False),
        ("http://relay:8515", "", False),
        ("null", "", False),
        ("http://relay:8514", "cross-site", False),
        ("", "same-site", False),
        ("", "none", False),
    ],
)
def test_actions_come_from_our_own_page(origin: str, site: str, is_allowed: bool) -> None:
    if is_allowed:
        check_origin(origin, site, "relay:8514")
    else:
        with pytest.raises(Denied, match="own page"):
            check_origin(origin, site, "relay:8514")
