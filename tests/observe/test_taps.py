from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.model.counters.samples import Samples
from relay.model.counters.source import SourceCounters
from relay.model.errors import RelayError
from relay.model.origin import Origin, Received, Transport
from relay.model.seq import SeqRange
from relay.observe.taps import (
    BUFFER_BYTES_MAX,
    BUFFER_RECORDS_MAX,
    LOOKS_PER_SECOND_MAX,
    MESSAGE_BYTES_MAX,
    READERS_MAX,
    TapReader,
    Taps,
    Wanted,
)
from relay.rewrite.forms.record_key import with_key

TOKEN = b"11112222-3333-4444-5555-666677778888"


class Sender:
    """As much of a drain as is watched."""

    watch: Any = None


class Relay:
    def __init__(self) -> None:
        self.clock = Clock()
        self.sources = {"app": SourceCounters(), "web": SourceCounters()}
        self.drains: dict[str, list[Any]] = {"up": [Sender()], "two": [Sender(), Sender()]}
        self.secrets = [b"configured-secret-token"]
        self.ready = 0
        self.shed = {"up": Samples(), "app": Samples()}
        self.taps = Taps(
            sources=self.sources,
            destinations=list(self.drains),
            drains=self.drains.__getitem__,
            secrets=lambda: self.secrets,
            now=lambda: 1000.0 + self.clock.seconds(),
            clock=self.clock,
            shed=self.shed,
        )

    def open(self, stage: str, id: str = "", **given: Any) -> TapReader:
        return self.taps.open(Wanted(stage, id, **given), self._is_ready)

    def _is_ready(self) -> None:
        self.ready += 1

    def receive(self, source: str, *frames: bytes, host: str = "192.0.2.1") -> None:
        noted = self.sources[source].on_received
        if noted is not None:
            noted([Received(list(frames), Origin(source, Transport.TCP, host, 7))])

    def drop(self, source: str, reason: str, *frames: bytes) -> None:
        self.sources[source].samples.note(reason, frames, peer="192.0.2.9:1")

    def is_quiet(self) -> bool:
        drains = [drain for drains in self.drains.values() for drain in drains]
        sources = self.sources.values()
        return all(
            each is None
            for each in (
                *(drain.watch for drain in drains),
                *(source.on_received for source in sources),
                *(source.samples.on_note for source in sources),
                *(samples.on_note for samples in self.shed.values()),
            )
        )


@pytest.fixture
def relay() -> Relay:
    return Relay()


def taken(reader: TapReader) -> list[bytes]:
    found: list[bytes] = []
    while items := reader.take():
        found += [item["payload"] for item in items if "payload" in item]
    return found


def some(count: int, start: int = 0) -> list[bytes]:
    return [b"<13>m%d" % number for number in range(start, start + count)]


def test_a_reader_of_a_source_sees_its_frames_with_their_peer(relay: Relay) -> None:
    reader = relay.open("received", "app")
    relay.receive("app", b"<13>a", b"<13>b")
    relay.receive("web", b"<13>other")
    first, second = reader.take()
    assert first == {
        "at": 1000.0,
        "source": "app",
        "peer": "192.0.2.1:7",
        "payload": b"<13>a",
        "size": 5,
        "left_out": 0,
    }
    assert second["payload"] == b"<13>b"
    assert reader.take() == []
    assert (reader.shown, reader.left_out, relay.ready) == (2, 0, 2)


def test_without_an_id_all_sources_are_read(relay: Relay) -> None:
    reader = relay.open("received")
    relay.receive("app", b"a")
    relay.receive("web", b"b")
    assert [item["source"] for item in reader.take()] == ["app", "web"]


@pytest.mark.parametrize("stage", ["received", "rewritten", "delivered", "dropped"])
def test_nobody_looks_before_and_after(relay: Relay, stage: str) -> None:
    assert relay.is_quiet()
    one, two = relay.open(stage), relay.open(stage)
    one.close()
    assert not relay.is_quiet()
    two.close()
    assert relay.is_quiet()
    assert len(relay.taps) == 0
    two.close()


def test_readers_of_both_stages_share_a_drain(relay: Relay) -> None:
    stored, delivered = relay.open("rewritten", "up"), relay.open("delivered", "up")
    watch = relay.drains["up"][0].watch
    watch.stored(SeqRange(5, 7), [b"a", b"b"])
    watch.sent(SeqRange(5, 7), [b"a", b"b"])
    stored.close()
    assert relay.drains["up"][0].watch is watch
    watch.acknowledged(5, 7)
    assert taken(delivered) == [b"a", b"b"]


def test_what_is_dropped_comes_with_its_reason(relay: Relay) -> None:
    reader = relay.open("dropped", "app")
    relay.drop("app", "unauthorised", b"<13>x")
    (item,) = reader.take()
    assert (item["reason"], item["peer"]) == ("unauthorised", "192.0.2.9:1")


def test_drops_that_are_only_counted_are_left_out(relay: Relay) -> None:
    reader = relay.open("dropped", "app")
    relay.sources["app"].samples.note("loop", [b"<13>x"], others=5)
    assert [item["left_out"] for item in reader.take()] == [5]
    assert (reader.shown, reader.left_out) == (1, 5)


def test_what_is_kept_out_of_a_queue_names_the_destination(relay: Relay) -> None:
    every, up, app = (relay.open("dropped", id) for id in ("", "up", "app"))
    relay.shed["up"].note("noise", [b"<13>x"])
    relay.shed["app"].note("noise", [b"<13>y"])
    (item,) = up.take()
    assert (item["destination"], item["reason"], item["payload"]) == ("up", "noise", b"<13>x")
    assert [item["destination"] for item in every.take()] == ["up", "app"]
    assert app.take() == []  # that is the source, where one has the name as well
    for reader in (every, up, app):
        reader.close()
    assert relay.is_quiet()


def test_what_is_stored_has_its_number(relay: Relay) -> None:
    reader = relay.open("rewritten", "two")
    relay.drains["two"][1].watch.stored(SeqRange(10, 12), [b"a", b"b"])
    assert [(item["destination"], item["seq"]) for item in reader.take()] == [
        ("two", 10),
        ("two", 11),
    ]


def test_what_a_command_has_moved_is_left_out(relay: Relay) -> None:
    reader = relay.open("rewritten", "up")
    relay.drains["up"][0].watch.stored(SeqRange(10, 15), [])
    assert (reader.shown, reader.left_out) == (0, 5)


class Way:
    """One queue on its way to the upstream, seen by a reader."""

    def __init__(self, relay: Relay) -> None:
        self.reader = relay.open("delivered", "up")
        self.watch = relay.drains["up"][0].watch

    def send(self, start: int, *payloads: bytes) -> None:
        self.watch.sent(SeqRange(start, start + len(payloads)), payloads)

    def delivered(self, start: int, upto: int) -> list[tuple[int, bytes]]:
        self.watch.acknowledged(start, upto)
        return [(item["seq"], item["payload"]) for item in self.reader.take() if "seq" in item]


def test_what_is_delivered_is_what_was_sent(relay: Relay) -> None:
    way = Way(relay)
    way.send(1, b"a", b"b", b"c")
    way.send(4, b"d")
    assert way.delivered(1, 1) == []
    assert way.delivered(1, 3) == [(1, b"a"), (2, b"b")]
    assert way.delivered(3, 5) == [(3, b"c"), (4, b"d")]
    assert way.reader.left_out == 0
    assert way.watch._bytes == 0


def test_what_was_sent_before_anybody_looked_is_left_out(relay: Relay) -> None:
    way = Way(relay)
    way.send(3, b"c")
    assert way.delivered(1, 4) == [(3, b"c")]
    assert way.reader.left_out == 2


def test_what_is_sent_again_is_delivered_once(relay: Relay) -> None:
    way = Way(relay)
    way.send(1, b"a", b"b", b"c")
    way.send(2, b"b", b"c", b"d")
    assert way.delivered(1, 5) == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")]
    assert way.watch._bytes == 0


def test_what_left_the_queue_undelivered_is_not_shown(relay: Relay) -> None:
    way = Way(relay)
    way.send(1, b"a", b"b", b"c")
    assert way.delivered(3, 4) == [(3, b"c")]
    assert way.reader.left_out == 0


def test_what_is_in_flight_takes_bounded_memory(relay: Relay) -> None:
    way = Way(relay)
    for number in range(1, 100):
        way.send(number, b"x" * 1024 * 1024)
    assert way.watch._bytes <= 17 * 1024 * 1024
    way.watch.acknowledged(1, 100)
    assert way.reader.shown + way.reader.left_out == 99


def test_a_rate_takes_some_of_each_batch_and_counts_the_others(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=10.0)
    relay.receive("app", *some(100))
    assert taken(reader) == some(100)[::10]
    assert reader.left_out == 90
    relay.receive("app", *some(5))
    assert taken(reader) == []
    relay.clock.advance(0.5)
    relay.receive("app", *some(5))
    assert len(taken(reader)) == 5
    assert (reader.shown, reader.left_out) == (15, 95)


def test_items_say_how_many_were_missed_before_them(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=1.0)
    relay.receive("app", *some(3))
    relay.clock.advance(1.0)
    relay.receive("app", b"x")
    assert [item["left_out"] for item in reader.take()] == [0, 2]


def test_what_is_left_out_is_said_once_a_second_even_if_nothing_is_shown(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=1.0, fits=lambda payload: payload == b"no")
    relay.receive("app", *some(int(LOOKS_PER_SECOND_MAX) + 3))
    assert (reader.take(), relay.ready) == ([], 0)
    relay.clock.advance(1.0)
    assert relay.ready == 1
    assert reader.take() == [{"left_out": 3}]
    relay.clock.advance(1.0)
    assert (reader.take(), relay.ready) == ([], 1)
    relay.receive("app", *some(int(LOOKS_PER_SECOND_MAX) + 3))
    assert reader.take() == []
    relay.clock.advance(1.0)
    assert reader.take() == [{"left_out": 6}]


def test_a_reader_that_does_not_read_has_a_bounded_buffer(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=1000.0)
    for _ in range(10):
        relay.receive("app", *some(500))
        relay.clock.advance(1.0)
    assert reader.is_full
    assert len(reader._waiting) == BUFFER_RECORDS_MAX
    assert (reader.shown, reader.left_out) == (1000, 4000)
    assert len(taken(reader)) == 1000
    relay.receive("app", b"again")
    assert taken(reader) == [b"again"]


def test_the_end_says_what_was_left_out(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=1.0, seconds=0.5)
    relay.receive("app", *some(3))
    relay.clock.advance(0.5)
    assert reader.take()[1:] == [{"left_out": 2}]
    assert reader.take() == []


def test_a_full_buffer_looks_at_no_message(relay: Relay) -> None:
    looked: list[bytes] = []

    def fits(payload: bytes) -> bool:
        looked.append(payload)
        return True

    reader = relay.open("received", "app", rate=1000.0, fits=fits)
    relay.receive("app", *some(1000))
    looked.clear()
    relay.clock.advance(5.0)
    relay.receive("app", *some(1000))
    assert looked == []
    assert reader.left_out == 1000


def test_long_messages_fill_the_buffer_earlier_and_are_cut(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=1000.0)
    for _ in range(200):
        relay.receive("app", b"x" * 100_000)
    assert reader._bytes <= BUFFER_BYTES_MAX + MESSAGE_BYTES_MAX
    assert reader.shown == BUFFER_BYTES_MAX // MESSAGE_BYTES_MAX
    first = reader.take()[0]
    assert first["size"] == 100_000
    assert 0 < len(first["payload"]) < MESSAGE_BYTES_MAX


def test_a_filter_chooses_and_does_not_count_what_does_not_fit(relay: Relay) -> None:
    reader = relay.open("received", "app", fits=lambda payload: b"7" in payload)
    relay.receive("app", *some(20))
    assert taken(reader) == [b"<13>m7", b"<13>m17"]
    assert (reader.shown, reader.left_out) == (2, 0)


def test_a_filter_looks_at_so_many_a_second(relay: Relay) -> None:
    looked = 0

    def fits(payload: bytes) -> bool:
        nonlocal looked
        looked += 1
        return False

    reader = relay.open("received", "app", fits=fits)
    relay.receive("app", *some(20_000))
    assert looked == LOOKS_PER_SECOND_MAX
    assert reader.left_out == 20_000 - looked
    relay.clock.advance(1.0)
    looked = 0
    relay.receive("app", *[b"x" * 10_000] * 5000)
    assert looked < LOOKS_PER_SECOND_MAX / 4


def test_a_filter_sees_what_is_sent_and_the_key_stands_apart(relay: Relay) -> None:
    seen: list[bytes] = []

    def fits(payload: bytes) -> bool:
        seen.append(payload)
        return True

    reader = relay.open("rewritten", "up", fits=fits)
    keyed = with_key(b"index-1", b"<13>text")
    slot = b"\0TOKEN - 4\n<13>:x"
    relay.drains["up"][0].watch.stored(SeqRange(1, 3), [keyed, slot])
    first, second = reader.take()
    assert (first["key"], first["payload"]) == (b"index-1", b"<13>text")
    assert second["payload"] == b"<13>****:x"
    assert seen == [b"<13>text", b"<13>****:x"]


def test_tokens_are_masked(relay: Relay) -> None:
    reader = relay.open("received", "app")
    relay.secrets.append(b"one-that-came-later")
    for text in (TOKEN, b"configured-secret-token", b"one-that-came-later"):
        relay.receive("app", b"<13>Oct 11 22:14:15 host " + text + b": x")
    relay.receive("app", b'<13>host x: {"logsene-app-token": "' + TOKEN + b'"}')
    relay.receive("app", b"<13>host x: " + b"y" * (MESSAGE_BYTES_MAX - 30) + TOKEN * 20)
    shown = b"\n".join(taken(reader))
    assert shown.count(b"host") == 5
    for secret in (TOKEN, b"configured-secret-token", b"one-that-came-later", TOKEN[:12]):
        assert secret not in shown


def test_a_reader_ends_after_a_count(relay: Relay) -> None:
    reader = relay.open("received", "app", count=3)
    relay.receive("app", *some(10))
    assert reader.end == "count"
    assert relay.is_quiet()
    assert taken(reader) == some(3)
    assert reader.left_out == 0


def test_a_reader_ends_after_a_time(relay: Relay) -> None:
    reader = relay.open("received", "app", seconds=5.0)
    relay.clock.advance(4.9)
    assert reader.end == ""
    relay.clock.advance(0.2)
    assert reader.end == "time"
    assert relay.is_quiet()


def test_closing_leaves_no_timer(relay: Relay) -> None:
    reader = relay.open("received", "app", seconds=5.0, rate=1.0)
    relay.receive("app", *some(3))
    reader.close()
    assert relay.clock.getDelayedCalls() == []


def test_there_are_few_readers(relay: Relay) -> None:
    readers = [relay.open("received") for _ in range(READERS_MAX)]
    with pytest.raises(RelayError, match="8 taps are open, which is the limit"):
        relay.open("dropped")
    readers[0].close()
    relay.open("dropped")


@pytest.mark.parametrize(
    ("stage", "id", "text"),
    [
        ("sent", "", "found stage 'sent', expected one of received, rewritten, delivered, dropped"),
        ("received", "up", "there is no source 'up'; there is: app, web"),
        ("delivered", "app", "there is no destination 'app'; there is: two, up"),
    ],
)
def test_what_is_not_there_cannot_be_read(relay: Relay, stage: str, id: str, text: str) -> None:
    with pytest.raises(RelayError, match=text):
        relay.open(stage, id)
    assert len(relay.taps) == 0


def test_many_small_batches_of_one_turn_are_sampled_too(relay: Relay) -> None:
    reader = relay.open("received", "app", rate=10.0)
    noted: Callable[[Sequence[Received]], None] | None = relay.sources["app"].on_received
    assert noted is not None
    for _ in range(10):
        noted([Received([b"x"], Origin("app", Transport.TCP, "192.0.2.1", 7))] * 10)
        relay.clock.advance(0.1)
    assert reader.shown + reader.left_out == 100
    assert 10 <= reader.shown <= 20


def test_readers_of_all_follow_sources_and_destinations_that_come_and_change() -> None:
    relay = Relay()
    received, delivered = relay.open("received"), relay.open("delivered")
    one = relay.open("received", "app")
    relay.sources["new"] = SourceCounters()
    del relay.sources["web"]
    before, relay.drains["up"] = relay.drains["up"], [Sender()]
    relay.taps.follow()
    relay.receive("new", b"<13>new: x")
    (document,) = received.take()
    assert (document["source"], one.take()) == ("new", [])
    assert relay.drains["up"][0].watch is not None
    assert before[0].watch is not None  # it is stopped, and nobody asks it
    for reader in (received, delivered, one):
        reader.close()
    assert relay.sources["new"].on_received is None
    assert relay.drains["up"][0].watch is None
