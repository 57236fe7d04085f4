from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from relay.transport.notices import Notices


class Log:
    """A clock, the notices and what they logged."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        log = Logger(namespace="test", observer=self._keep)
        self.notices = Notices(clock=self.clock, log=log, interval_seconds=60)

    def _keep(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_first_is_said_at_once(log: Log) -> None:
    log.notices.warn("source in", "idle", "closed")
    assert log.lines == ["source in: closed"]


def test_braces_of_a_peer_are_no_format(log: Log) -> None:
    log.notices.warn("source in", "protocol", "no RELP header: {x!r} {")
    assert log.lines == ["source in: no RELP header: {x!r} {"]


def test_what_a_peer_says_is_one_line(log: Log) -> None:
    log.notices.warn("destination up", "connection", "500 \x1b[2J\r\nall is well\x9b31m\u202e")
    log.notices.warn("destination\nup", "connection", "x" * 100_000)
    one, other = log.lines
    assert one == r"destination up: 500 \x1b[2J\r\nall is well\x9b31m\u202e"
    assert other.startswith(r"destination\nup: xxx") and len(other) < 2100


def test_what_is_held_back_is_counted_and_said_later(log: Log) -> None:
    for number in range(1, 1236):
        log.notices.warn("source in", "idle", f"closed {number}")
    assert log.lines == ["source in: closed 1"]
    log.clock.advance(60)
    assert log.lines[1:] == ["source in: closed 1235 (and 1,233 more of this kind)"]
    log.notices.warn("source in", "idle", "closed again")
    assert log.lines[2:] == ["source in: closed again"]


def test_nothing_more_is_said_if_nothing_was_held_back(log: Log) -> None:
    log.notices.warn("source in", "idle", "closed")
    log.clock.advance(60)
    assert (len(log.lines), log.clock.getDelayedCalls()) == (1, [])


def test_kinds_and_subjects_have_their_own_intervals(log: Log) -> None:
    log.notices.warn("source in", "idle", "closed")
    log.notices.warn("source in", "protocol", "garbage")
    log.notices.warn("source out", "idle", "closed")
    assert len(log.lines) == 3


def test_a_peer_that_comes_from_ever_new_ports_is_bounded(log: Log) -> None:
    for number in range(5000):
        log.notices.warn(f"peer {number}", "idle", "closed")
    assert len(log.lines) == 1001
    assert len(log.clock.getDelayedCalls()) == 1001
    log.clock.advance(60)
    assert log.lines[1001:] == ["peer 4999: closed (and 3,998 more of this kind, also from others)"]


def test_the_summary_is_of_one_kind_and_one_peer(log: Log) -> None:
    for _ in range(3):
        for host in ("10.0.0.1", "10.0.0.2"):
            for kind in ("tls-not-tls", "tls-unknown-ca"):
                group = f"source in, {host}"
                log.notices.warn(f"source in, {host}:99", kind, kind, group=group)
    assert len(log.lines) == 4
    log.clock.advance(60)
    assert log.lines[4:] == [
        f"source in, {host}:99: {kind} (and 1 more of this kind)"
        for host in ("10.0.0.1", "10.0.0.2")
        for kind in ("tls-not-tls", "tls-unknown-ca")
    ]


def test_reasons_of_one_kind_have_their_own_intervals(log: Log) -> None:
    for number in range(3):
        log.notices.warn("source in", "protocol", f"the peer speaks TLS: {number}")
        log.notices.warn("source in", "protocol", f"expected a length, found {number}")
    log.clock.advance(60)
    assert [line.removeprefix("source in: ") for line in log.lines] == [
        "the peer speaks TLS: 0",
        "expected a length, found 0",
        "the peer speaks TLS: 2 (and 1 more of this kind)",
        "expected a length, found 2 (and 1 more of this kind)",
    ]
    assert [last["text"][:8] for last in log.notices.last_of("source in")] == [
        "expected",
        "the peer",
    ]


@pytest.mark.parametrize(
    "target", ["central:6514", "192.0.2.1:6514", "[2001:db8::1]:6514", "/a/b.log"]
)
def test_the_address_or_path_before_a_reason_is_no_part_of_it(log: Log, target: str) -> None:
    texts = [
        f"{target}: the server closed the session",
        f"{target}: the receiver requires a client certificate",
        f"{target}: the connection ended",
        "certificate: the certificate in /etc/own.pem expired",
        "certificate: cannot read /etc/own.pem",
    ]
    for text in texts * 2:
        log.notices.warn("destination up", "connection", text)
    assert log.lines == [f"destination up: {text}" for text in texts]
    assert [last["text"] for last in log.notices.last_of("destination up")] == texts[::-1]


def test_a_peer_that_chooses_the_words_is_bounded(log: Log) -> None:
    for number in range(500):
        log.notices.warn("source in", "protocol", chr(97 + number % 26) * (number + 1))
    assert len(log.lines) == 9
    log.clock.advance(60)
    assert log.notices._held == log.notices._reasons == {}


def test_the_last_of_each_kind_is_kept_with_its_peer_and_age(log: Log) -> None:
    log.notices.warn("source in, 10.0.0.1:99", "idle", "closed")
    log.clock.advance(5)
    log.notices.warn("source in, 10.0.0.2:98", "protocol", "garbage \x1b")
    log.clock.advance(5)
    log.notices.warn("source in, 10.0.0.3:97", "idle", "closed")
    log.notices.warn("destination out", "connection", "refused")
    log.notices.warn("queue", "fill", "of nobody")
    log.clock.advance(1)
    assert log.notices.last_of("source in") == [
        {
            "kind": "idle",
            "peer": "10.0.0.3:97",
            "text": "closed",
            "seconds_ago": 1.0,
            "count": 2,
        },
        {
            "kind": "protocol",
            "peer": "10.0.0.2:98",
            "text": r"garbage \x1b",
            "seconds_ago": 6.0,
            "count": 1,
        },
    ]
    (last,) = log.notices.last_of("destination out")
    assert (last["peer"], last["text"]) == ("", "refused")
    assert log.notices.last_of("queue") == log.notices.last_of("source other") == []


def test_what_is_kept_is_bounded(log: Log) -> None:
    for number in range(100):
        log.notices.warn("source in", f"kind {number}", "x" * 10_000 + str(number))
    kept = log.notices.last_of("source in")
    assert [each["kind"] for each in kept] == [f"kind {99 - number}" for number in range(32)]
    assert all(len(each["text"]) <= 520 for each in kept)


def test_a_group_shares_an_interval(log: Log) -> None:
    for port in range(4000, 4003):
        log.notices.warn(
            f"source in, 10.0.0.9:{port}", "idle", "closed", group="source in, 10.0.0.9"
        )
    log.clock.advance(60)
    assert log.lines == [
        "source in, 10.0.0.9:4000: closed",
        "source in, 10.0.0.9:4002: closed (and 1 more of this kind)",
    ]
