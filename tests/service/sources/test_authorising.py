from __future__ import annotations

from typing import Any

from relay.model.origin import Origin, Transport
from relay.model.token import Token
from relay.service.configuration.model import AppConfiguration, SourceConfiguration, Url
from relay.service.sources.authorising import new_authorise
from relay.wire.parse import parse_all
from tests.configurations import new_source
from tests.connections import RecordingNotices

APPS = [AppConfiguration("web", (Token(b"web-token-0123456789"),), tls_names=("*.example.com",))]
ORIGIN = Origin("in", Transport.TCP, "192.0.2.1", 40000)
WRONG = b'<13>a: {"logsene-app-token": "wrong-token-0123456789"}'


def source(**keywords: Any) -> SourceConfiguration:
    return new_source("in", Url("tls"), **keywords)


def test_without_ways_every_message_is_taken() -> None:
    notices: Any = RecordingNotices()
    assert new_authorise(source(), APPS, notices=notices) is None


def test_names_are_matched_as_those_of_certificates() -> None:
    notices: Any = RecordingNotices()
    authorise = new_authorise(source(authorise=("tls-name",)), APPS, notices=notices)
    assert authorise is not None
    for name, taken in (("a.EXAMPLE.com", 1), ("a.b.example.com", 0), ("example.com", 0)):
        authorised = authorise(parse_all([b"<13>a: b"]), ORIGIN._replace(tls_names=(name,)))
        assert len(authorised.messages) == taken


def test_what_was_refused_is_said_without_the_token() -> None:
    notices: Any = RecordingNotices()
    for unauthorised in ("drop", "quarantine"):
        authorise = new_authorise(
            source(authorise=("token", "network"), unauthorised=unauthorised),
            APPS,
            notices=notices,
        )
        assert authorise is not None
        authorise(parse_all([WRONG, b"<13>a: b", b"<13>a: c"]), ORIGIN)
    more = "if they are wanted, add the sender to an app"
    token = "no app has the token of the last one, wron…6789"
    none = "no app authorises them by token, network"
    assert notices.said == [
        ("source in, 192.0.2.1:40000", "unknown-token", f"1 message dropped: {token}; {more}"),
        ("source in, 192.0.2.1:40000", "unauthorised", f"2 messages dropped: {none}; {more}"),
        (
            "source in, 192.0.2.1:40000",
            "unknown-token",
            f"1 message set aside in the quarantine: {token}; {more}",
        ),
        (
            "source in, 192.0.2.1:40000",
            "unauthorised",
            f"2 messages set aside in the quarantine: {none}; {more}",
        ),
    ]
