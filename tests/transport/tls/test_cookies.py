from __future__ import annotations

from twisted.internet.task import Clock

from relay.transport.tls.cookies import Cookies


def test_a_cookie_is_for_one_address_and_at_most_two_minutes() -> None:
    clock = Clock()
    cookies = Cookies(clock.seconds)
    cookie = cookies.make(b"192.0.2.1:1000")
    assert cookies.is_valid(b"192.0.2.1:1000", cookie)
    assert not cookies.is_valid(b"192.0.2.1:1001", cookie)
    assert not cookies.is_valid(b"192.0.2.1:1000", b"")
    clock.advance(60)
    assert cookies.is_valid(b"192.0.2.1:1000", cookie)
    clock.advance(60)
    assert not cookies.is_valid(b"192.0.2.1:1000", cookie)


def test_cookies_of_another_relay_are_not_valid() -> None:
    clock = Clock()
    cookie = Cookies(clock.seconds).make(b"a")
    assert not Cookies(clock.seconds).is_valid(b"a", cookie)
    assert len(cookie) == 32  # DTLS takes 255 at most
