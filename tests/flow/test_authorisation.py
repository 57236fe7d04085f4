from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from relay.flow.authorisation import App, Authorisation, Authorised
from relay.model.origin import Origin, Transport
from relay.model.token import Token
from relay.wire.parse import parse, parse_all

WEB = b"web-token-0123456789"
NEW_WEB = b"web-token-9876543210"
SHOP = b"shop-token-0123456789"
ORIGIN = Origin("in", Transport.TCP, "192.0.2.1", 40000)
START = b"<13>2026-11-21T00:00:00Z web-1 "

APPS = [
    App("web", (Token(WEB), Token(NEW_WEB)), (ip_network("10.0.0.0/8"),), ("*.web.example.com",)),
    App("shop", (Token(SHOP),), (ip_network("10.1.0.0/16"), ip_network("fe80::/10"))),
    App("db", tls_fingerprints=("SHA-256:AA",)),
]


class Rules:
    """An authorisation and what it said."""

    def __init__(self, *ways: str, keep_tokens: bool = False, apps: list[App] = APPS) -> None:
        self.said: list[tuple[str, str, int, str]] = []
        self.authorise = Authorisation(
            apps,
            ways=ways or ("token", "tls-name", "network"),
            keep_tokens=keep_tokens,
            digest_key=b"0123456789abcdef",
            matches=lambda wanted, found: found.endswith(wanted.removeprefix("*")),
            on_refused=self.note,
        )

    def note(self, origin: Origin, reason: str, count: int, token: str) -> None:
        self.said.append((origin.peer, reason, count, token))

    def __call__(self, *frames: bytes, **about: Any) -> Authorised:
        return self.authorise(parse_all(frames), ORIGIN._replace(**about))

    def decided(self, frame: bytes, **about: Any) -> tuple[str, bytes]:
        """The app or the reason, and what the frame has become."""
        authorised = self(frame, **about)
        if authorised.messages:
            (message,) = authorised.messages
            assert message == parse(message.raw)._replace(app=message.app)
            return message.app, message.raw
        ((reason, (raw,)),) = authorised.refused.items()
        return reason, raw


def claiming(token: bytes) -> bytes:
    return START + b'su:@cee: {"logsene-app-token": "%s", "message": "x"}' % token


CLAIMED = START + b'su:@cee: {"message": "x"}'


@pytest.mark.parametrize(
    ("frame", "app", "rest"),
    [
        (claiming(WEB), "web", CLAIMED),
        (claiming(NEW_WEB), "web", CLAIMED),
        (claiming(SHOP), "shop", CLAIMED),
        (b"my-host %s:hello world!" % SHOP, "shop", b"my-host -:hello world!"),
        (START + WEB + b": hello", "web", START + b"-: hello"),
        (
            b"<13>1 2026-11-21T00:00:00Z h %s 1 - - hello" % WEB,
            "web",
            b"<13>1 2026-11-21T00:00:00Z h - 1 - - hello",
        ),
        # In two places: the JSON decides, and neither goes further.
        (
            START + SHOP + b': {"logsene-app-token": "%s"}' % WEB,
            "web",
            START + b"-: {}",
        ),
        (b"%s %s:hello" % (WEB, SHOP), "shop", b"-: -:hello"),
        (b"%s %s:hello" % (WEB, WEB), "web", b"-: -:hello"),
    ],
)
def test_a_token_says_which_app_and_goes_no_further(frame: bytes, app: str, rest: bytes) -> None:
    assert Rules().decided(frame) == (app, rest)
    assert Rules(keep_tokens=True).decided(frame) == (app, frame)


def test_the_order_is_token_name_network() -> None:
    rules = Rules()
    name = {"tls_names": ("a.web.example.com",)}
    assert rules.decided(claiming(SHOP), **name)[0] == "shop"
    assert rules.decided(START + b"su: x", **name, peer_host="10.1.2.3")[0] == "web"
    assert rules.decided(START + b"su: x", peer_host="10.1.2.3")[0] == "shop"
    assert rules.decided(START + b"su: x", tls_fingerprints=("SHA-1:B", "SHA-256:AA"))[0] == "db"


@pytest.mark.parametrize(
    ("host", "app"),
    [
        ("10.1.255.255", "shop"),  # the longest prefix
        ("10.2.0.0", "web"),
        ("fe80::1%eth0", "shop"),
        ("11.0.0.0", "unauthorised"),
        ("", "unauthorised"),
        ("no address", "unauthorised"),
    ],
)
def test_networks(host: str, app: str) -> None:
    assert Rules().decided(b"<13>x", peer_host=host) == (app, b"<13>x")


def test_a_wrong_token_is_refused_whoever_sends_it() -> None:
    rules = Rules()
    assert rules.decided(claiming(b"not-a-token-of-ours"), peer_host="10.0.0.1") == (
        "unknown-token",
        claiming(b"not-a-token-of-ours"),
    )
    assert rules.said == [("10.0.0.1:40000", "unknown-token", 1, "not-…ours")]
    twice = START + b'su: {"logsene-app-token": "wrong", "logsene-app-token": "%s"}' % WEB
    assert rules.decided(twice) == ("unknown-token", START + b"su: {}")


def test_a_name_that_is_no_token_is_a_name() -> None:
    assert Rules().decided(START + b"su: x", peer_host="10.0.0.1") == ("web", START + b"su: x")
    assert Rules().decided(START + b"x" * len(WEB) + b": x")[0] == "unauthorised"


def test_only_the_ways_of_the_source_count() -> None:
    name = {"tls_names": ("a.web.example.com",), "peer_host": "10.1.2.3"}
    assert Rules("token").decided(b"<13>x", **name)[0] == "unauthorised"
    assert Rules("tls-name").decided(b"<13>x", **name)[0] == "web"
    assert Rules("network").decided(b"<13>x", **name)[0] == "shop"
    # A token still does not go further, and a strange one is not ours to judge.
    assert Rules("network").decided(claiming(WEB), **name) == ("shop", CLAIMED)
    assert Rules("network").decided(claiming(b"strange"), **name) == ("shop", claiming(b"strange"))
    assert Rules("tls-name").decided(claiming(WEB)) == ("unauthorised", CLAIMED)
    assert Rules("network", keep_tokens=True).decided(claiming(WEB), **name) == (
        "shop",
        claiming(WEB),
    )


def test_a_batch_keeps_its_order_and_says_what_it_lost_once() -> None:
    rules = Rules()
    authorised = rules(b"a", claiming(WEB), b"b", claiming(b"wrong"), claiming(SHOP))
    assert [message.app for message in authorised.messages] == ["web", "shop"]
    assert authorised.indexes == [1, 4]
    assert authorised.refused == {
        "unauthorised": [b"a", b"b"],
        "unknown-token": [claiming(b"wrong")],
    }
    assert [said[1:] for said in rules.said] == [
        ("unauthorised", 2, "****"),
        ("unknown-token", 1, "****"),
    ]


def test_a_token_that_is_a_dash_is_harmless() -> None:
    rules = Rules(apps=[App("dash", (Token(b"-"),))])
    assert rules.decided(START + b"-: x") == ("dash", START + b"-: x")


def test_the_digest_depends_on_the_key() -> None:
    def digests(key: bytes) -> set[bytes]:
        rules = Authorisation(
            APPS,
            ways=("token",),
            keep_tokens=False,
            digest_key=key,
            matches=str.__eq__,
            on_refused=lambda *_: None,
        )
        return set(rules._by_digest)

    assert len(digests(b"a" * 16)) == 3
    assert not digests(b"a" * 16) & digests(b"b" * 16)


@pytest.mark.parametrize(
    ("ways", "secrets", "host", "app"),
    [
        (("token",), [b"other", SHOP], "192.0.2.1", "shop"),
        (("token", "network"), [], "10.2.0.1", "web"),
        (("token", "network"), [b"wrong"], "10.2.0.1", ""),
        (("network",), [b"wrong"], "10.2.0.1", "web"),
        (("token",), [], "10.2.0.1", ""),
    ],
)
def test_a_token_beside_the_messages(
    ways: tuple[str, ...], secrets: list[bytes], host: str, app: str
) -> None:
    rules = Rules(*ways)
    assert rules.authorise.app_of_sender(ORIGIN._replace(peer_host=host), secrets) == app


def test_the_app_of_the_batch_is_that_of_messages_without_a_token() -> None:
    rules = Rules("token")
    assert rules.decided(START + b"su: x", app="shop")[0] == "shop"
    assert rules.decided(claiming(WEB), app="shop")[0] == "web"
    assert rules.decided(claiming(b"unknown-token"), app="shop")[0] == "unknown-token"


def test_other_apps_count_from_the_next_message_on() -> None:
    rules = Rules()
    frame = START + b"x - - - text"
    assert rules.decided(frame, peer_host="10.2.0.1")[0] == "web"
    rules.authorise.use([App("shop", (Token(NEW_WEB),), (ip_network("10.0.0.0/8"),))])
    assert rules.decided(frame, peer_host="10.2.0.1")[0] == "shop"
    assert rules.decided(START + NEW_WEB + b" - - - text")[0] == "shop"
    assert rules.decided(START + WEB + b" - - - text")[0] != "web"
