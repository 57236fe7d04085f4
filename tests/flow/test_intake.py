from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.codec import Lines
from relay.codec.messages import Messages
from relay.flow.authorisation import Authorised
from relay.flow.intake import Intake, Quarantine, Reading
from relay.flow.marks import ORIGINAL_BYTES, SPLIT_TAG, TRUNCATED_TAG
from relay.flow.routing import Rewrite, Route
from relay.flow.sequences import SequenceCheck
from relay.model.clock import WallClock
from relay.model.counters.kept import KeptCounters
from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Received, Transport
from relay.queue.admission.limits import QueueLimit
from relay.queue.transaction import Counted, Refusal
from relay.rewrite.conditions import field_in
from relay.rewrite.forms.form import form_of
from relay.wire.parse import parse
from tests.clocks import wall_at
from tests.connections import fired

ORIGIN = Origin("in", Transport.TCP, "192.0.2.1", 40000)


class Queue:
    def __init__(self) -> None:
        self.appended: list[Mapping[str, Sequence[bytes]]] = []
        self.refusals: list[Refusal] = []
        self.positions: list[Mapping[str, bytes] | None] = []
        self.drops: list[Mapping[str, Mapping[str, int]] | None] = []
        self.stored: list[Deferred[None]] = []
        self.senders: list[Collection[Hashable]] = []

    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
        counted: Counted | None = None,
    ) -> Deferred[None]:
        self.senders.append(senders)
        self.appended.append(payloads)
        self.refusals += refusals
        self.positions.append(positions)
        self.drops.append(drops)
        self.stored.append(Deferred())
        return self.stored[-1]


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def counters() -> SourceCounters:
    return SourceCounters()


def intake(queue: Queue, counters: SourceCounters, *routes: Route, **given: Any) -> Intake:
    given.setdefault("wall", wall_at(1000.5))
    return Intake(
        routes=routes, append=queue.append, counters=KeptCounters("in", counters), **given
    )


@pytest.mark.parametrize(("answers", "senders"), [(False, [()]), (True, [{("192.0.2.9", 7)}])])
def test_who_waits_for_an_answer_is_told_to_the_queue(
    queue: Queue, counters: SourceCounters, answers: bool, senders: list[object]
) -> None:
    both = intake(queue, counters, Route("a", None), answers=answers)
    both.accept([b"<13>x"], Origin("in", Transport.TCP, "192.0.2.9", 7))
    assert queue.senders == senders


def shouted(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [b"%s at %.1f" % (message.raw.upper(), origin.received_at) for message in messages]


SHOUT = form_of(shouted)


def pending(counters: SourceCounters) -> int:
    done = counters.stored_records + counters.quarantined_records + sum(counters.dropped.values())
    return counters.received_records - done


def test_a_batch_has_its_moment_on_both_clocks(queue: Queue, counters: SourceCounters) -> None:
    origins: list[Origin] = []

    def note(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        origins.append(origin)
        return [message.raw for message in messages]

    intake(
        queue,
        counters,
        Route("d", form_of(note)),
        wall=WallClock(now=lambda: 1e9, elapsed=lambda: 5.0),
    ).accept([b"<13>x"], ORIGIN)
    assert [(each.received_at, each.monotonic_at) for each in origins] == [(1e9, 5.0)]


def test_every_destination_gets_its_own_form_in_one_append(
    queue: Queue, counters: SourceCounters
) -> None:
    both = intake(queue, counters, Route("raw", None), Route("loud", SHOUT))
    both.accept([b"<13>a", b"<13>b"], ORIGIN)
    assert queue.appended == [
        {"raw": [b"<13>a", b"<13>b"], "loud": [b"<13>A at 1000.5", b"<13>B at 1000.5"]}
    ]


def test_it_fires_when_the_queue_has_stored_and_not_before(
    queue: Queue, counters: SourceCounters
) -> None:
    results = fired(intake(queue, counters, Route("raw", None)).accept([b"a", b"b"], ORIGIN))
    assert (results, counters.stored_records, pending(counters)) == ([], 0, 2)
    queue.stored[0].callback(None)
    assert (results, counters.stored_records, pending(counters)) == ([None], 2, 0)
    assert counters.received_bytes == 2


def test_empty_frames_are_counted_and_not_stored(queue: Queue, counters: SourceCounters) -> None:
    raw = intake(queue, counters, Route("raw", None))
    raw.accept([b"", b"a", b""], ORIGIN)
    queue.stored[0].callback(None)
    assert fired(raw.accept([b""], ORIGIN)) == [None]
    assert queue.appended == [{"raw": [b"a"]}]
    assert counters.dropped == {"empty": 3}
    assert pending(counters) == 0


def test_without_a_destination_frames_are_dropped_under_a_name(
    queue: Queue, counters: SourceCounters
) -> None:
    assert fired(intake(queue, counters).accept([b"a", b""], ORIGIN)) == [None]
    assert queue.appended == []
    assert counters.dropped == {"no-destination": 1, "empty": 1}
    assert pending(counters) == 0


def test_what_could_not_be_stored_is_counted_and_said(
    queue: Queue, counters: SourceCounters
) -> None:
    results = fired(intake(queue, counters, Route("raw", None)).accept([b"a", b"b"], ORIGIN))
    error = QueueError("stopped")
    queue.stored[0].errback(Failure(error))
    assert results == [error]
    assert (counters.dropped, pending(counters)) == ({"not-stored": 2}, 0)


def test_a_defect_is_not_a_loss_that_anybody_chose(queue: Queue, counters: SourceCounters) -> None:
    results = fired(intake(queue, counters, Route("raw", None)).accept([b"a"], ORIGIN))
    error = ZeroDivisionError()
    queue.stored[0].errback(Failure(error))
    assert results == [error]
    assert (counters.dropped, pending(counters)) == ({}, 1)


def test_a_message_that_was_cut_says_so(queue: Queue, counters: SourceCounters) -> None:
    seen: list[SyslogMessage] = []

    def look(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        seen.extend(messages)
        return [message.raw for message in messages]

    both = intake(queue, counters, Route("look", form_of(look)))
    both.accept([b"", b"<13>whole", b"<13>cu"], ORIGIN, cut={2: 70000})
    both.accept([b"", b"<13>spl", b"<13>it"], ORIGIN, cut={2: 9}, pieces={1: 1, 2: 2})
    assert [message.tags for message in seen] == [
        *((), (TRUNCATED_TAG,)),
        *((SPLIT_TAG,), (SPLIT_TAG, TRUNCATED_TAG)),
    ]
    assert seen[1].pairs is not None
    assert seen[1].pairs[ORIGINAL_BYTES] == b"70000"
    assert queue.appended[0] == {"look": [b"<13>whole", b"<13>cu"]}


def test_what_was_cut_can_go_to_the_quarantine(queue: Queue, counters: SourceCounters) -> None:
    strict = intake(
        queue, counters, Route("raw", None), quarantine=Quarantine(long=True, bytes_max=1000)
    )
    strict.accept([b"a", b"bbb", b"c"], ORIGIN, cut={1: 5})
    assert queue.appended == [{"raw": [b"a", b"c"]}]
    assert queue.refusals == [Refusal("in", "too-long", "192.0.2.1:40000", [b"bbb"], 1000, [5])]
    queue.stored[0].callback(None)
    assert (counters.stored_records, counters.quarantined_records, pending(counters)) == (2, 1, 0)


def test_positions_are_stored_with_the_frames_and_without_any(
    queue: Queue, counters: SourceCounters
) -> None:
    files = intake(queue, counters, Route("raw", None))
    files.accept([b"a"], ORIGIN, positions={"in/f": b"1"})
    files.accept([b""], ORIGIN, positions={"in/f": b"2"})
    assert queue.appended == [{"raw": [b"a"]}, {}]
    assert queue.positions == [{"in/f": b"1"}, {"in/f": b"2"}]


def by_first_letter(messages: Sequence[SyslogMessage], origin: Origin) -> Authorised:
    """Messages of a and b belong to the app of that name, less the letter; others to none."""
    taken = [index for index, message in enumerate(messages) if message.raw[4:5] in (b"a", b"b")]
    apps = [
        parse(b"<13>" + messages[index].raw[5:])._replace(app=messages[index].raw[4:5].decode())
        for index in taken
    ]
    rest = [message.raw for index, message in enumerate(messages) if index not in taken]
    return Authorised(apps, taken, {"unauthorised": rest} if rest else {})


def authorising(
    queue: Queue, counters: SourceCounters, *routes: Route, quarantines: bool = False
) -> Intake:
    return intake(
        queue,
        counters,
        *routes,
        wall=wall_at(0.0),
        reading=Reading(authorise=by_first_letter),
        quarantine=Quarantine(unauthorised=quarantines, bytes_max=1000),
    )


def test_messages_go_where_their_app_goes(queue: Queue, counters: SourceCounters) -> None:
    apps = authorising(
        queue,
        counters,
        Route("all", None),
        Route("a", None, field_in("app", "a")),
        Route("loud", SHOUT, field_in("app", "ab")),
    )
    apps.accept([b"<13>b1", b"<13>b2"], ORIGIN)
    apps.accept([b"<13>a1", b"<13>c", b"<13>b2"], ORIGIN)
    loud = [b"<13>1 at 0.0", b"<13>2 at 0.0"]
    assert queue.appended == [
        {"all": [b"<13>1", b"<13>2"], "loud": loud},
        {
            "all": [b"<13>1", b"<13>2"],
            "a": [b"<13>1"],
            "loud": loud,
        },
    ]
    for stored in queue.stored:
        stored.callback(None)
    assert counters.apps == {"a": 1, "b": 3}
    assert counters.dropped == {"unauthorised": 1}
    assert (counters.stored_records, pending(counters)) == (4, 0)


def test_what_nobody_authorised_is_answered_at_once(queue: Queue, counters: SourceCounters) -> None:
    apps = authorising(queue, counters, Route("all", None))
    assert fired(apps.accept([b"<13>c", b""], ORIGIN)) == [None]
    assert queue.appended == []
    assert counters.dropped == {"unauthorised": 1, "empty": 1}
    assert pending(counters) == 0


def test_what_nobody_authorised_can_be_set_aside_and_is_answered_then(
    queue: Queue, counters: SourceCounters
) -> None:
    apps = authorising(queue, counters, Route("all", None), quarantines=True)
    results = fired(apps.accept([b"<13>c", b"<13>a1"], ORIGIN))
    assert queue.refusals == [Refusal("in", "unauthorised", "192.0.2.1:40000", [b"<13>c"], 1000)]
    assert (queue.appended, results) == ([{"all": [b"<13>1"]}], [])
    queue.stored[0].callback(None)
    assert results == [None]
    assert (counters.stored_records, counters.quarantined_records, pending(counters)) == (1, 1, 0)


def test_an_app_without_a_destination_is_counted(queue: Queue, counters: SourceCounters) -> None:
    apps = authorising(queue, counters, Route("a", None, field_in("app", "a")))
    assert fired(apps.accept([b"<13>b1"], ORIGIN)) == [None]
    assert (counters.dropped, pending(counters)) == ({"no-destination": 1}, 0)


def test_without_authorisation_no_message_is_of_an_app(
    queue: Queue, counters: SourceCounters
) -> None:
    both = intake(queue, counters, Route("all", None), Route("a", None, field_in("app", "a")))
    both.accept([b"<13>a1"], ORIGIN)
    assert queue.appended == [{"all": [b"<13>a1"]}]


def test_a_cut_message_is_still_marked_after_others_were_refused(
    queue: Queue, counters: SourceCounters
) -> None:
    seen: list[SyslogMessage] = []

    def look(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        seen.extend(messages)
        return [message.raw for message in messages]

    apps = authorising(queue, counters, Route("look", form_of(look), field_in("app", "ab")))
    apps.accept([b"<13>c", b"<13>a1", b"<13>b2"], ORIGIN, cut={0: 70, 2: 80})
    assert [(message.app, message.tags) for message in seen] == [
        ("a", ()),
        ("b", (TRUNCATED_TAG,)),
    ]


def test_what_each_origin_was_authorised_for_keeps_its_marks(
    queue: Queue, counters: SourceCounters
) -> None:
    seen: list[tuple[str, str, tuple[bytes, ...]]] = []

    def look(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        seen.extend((origin.peer_host, message.app, message.tags) for message in messages)
        return [message.raw for message in messages]

    apps = authorising(queue, counters, Route("look", form_of(look)), quarantines=True)
    apps.accept_all(
        [
            Received([b"<13>c", b"<13>a1"], ORIGIN, cut={1: 70}),
            Received([b"<13>d"], OTHER, cut={0: 60}),
            Received([b"<13>b2", b"<13>e", b"<13>a3"], OTHER, pieces={0: 1, 2: 2}),
        ]
    )
    assert seen == [
        ("192.0.2.1", "a", (TRUNCATED_TAG,)),
        ("192.0.2.2", "b", (SPLIT_TAG,)),
        ("192.0.2.2", "a", (SPLIT_TAG,)),
    ]
    assert [(each.peer, each.frames) for each in queue.refusals] == [
        ("192.0.2.1:40000", [b"<13>c"]),
        ("192.0.2.2:40001", [b"<13>d"]),
        ("192.0.2.2:40001", [b"<13>e"]),
    ]
    queue.stored[0].callback(None)
    assert counters.apps == {"a": 2, "b": 1}
    assert (counters.stored_records, counters.quarantined_records, pending(counters)) == (3, 3, 0)


def test_what_cannot_be_parsed_is_counted(queue: Queue, counters: SourceCounters) -> None:
    intake(queue, counters, Route("loud", SHOUT)).accept(
        [b"<13>1 - h - - - [] x", b"<999>x", b"<13>fine", b"no pri"], ORIGIN
    )
    assert counters.parse_failures == 2


def test_missing_numbers_are_counted(queue: Queue, counters: SourceCounters) -> None:
    warned: list[tuple[str, int]] = []
    check = SequenceCheck(lambda counter, missing: warned.append((counter, missing)))
    numbered = intake(queue, counters, Route("raw", None), reading=Reading(sequences=check))
    element = b'[meta sequenceId="%d"][syslogrelay@32473 from="web/central"]'
    numbered.accept([b"<13>1 - h a - - %s x" % (element % value) for value in (1, 2, 5)], ORIGIN)
    assert (warned, counters.missing_records) == ([("web/central", 2)], 2)


def full(destination: str, when_full: str, used: int) -> QueueLimit:
    limit = QueueLimit(destination=destination, bytes_max=1000, when_full=when_full)
    limit.settle(0, used)
    return limit


def test_what_a_full_queue_does_not_take_is_dropped_there_and_stored_elsewhere(
    queue: Queue, counters: SourceCounters
) -> None:
    both = intake(
        queue,
        counters,
        Route("free", None),
        Route("full", SHOUT, limit=full("full", "drop-by-severity", 870)),
    )
    done = fired(both.accept([b"<15>debug", b"<13>notice", b"<14>info"], ORIGIN))
    assert queue.appended == [
        {"free": [b"<15>debug", b"<13>notice", b"<14>info"], "full": [b"<13>NOTICE at 1000.5"]}
    ]
    assert queue.drops == [{"full": {"queue-full-debug": 1, "queue-full-info": 1}}]
    queue.stored[0].callback(None)
    assert (done, counters.stored_records, pending(counters)) == ([None], 3, 0)


def test_where_nothing_gets_in_the_account_is_kept_all_the_same(
    queue: Queue, counters: SourceCounters
) -> None:
    only = intake(queue, counters, Route("full", None, limit=full("full", "drop-newest", 1000)))
    only.accept([b"<13>a", b"<8>b"], ORIGIN)
    assert (queue.appended, queue.drops) == ([{}], [{"full": {"queue-full": 2}}])


def test_below_its_limit_a_queue_takes_everything(queue: Queue, counters: SourceCounters) -> None:
    only = intake(queue, counters, Route("full", None, limit=full("full", "drop-newest", 999)))
    only.accept([b"<13>a"], ORIGIN)
    assert (queue.appended, queue.drops) == ([{"full": [b"<13>a"]}], [{}])


def test_limits_and_apps_go_together(queue: Queue, counters: SourceCounters) -> None:
    apps = authorising(
        *(queue, counters, Route("all", None)),
        Route("a", None, field_in("app", "a"), limit=full("a", "drop-newest", 1000)),
    )
    apps.accept([b"<13>a1", b"<13>b2"], ORIGIN)
    assert queue.appended == [{"all": [b"<13>1", b"<13>2"]}]
    assert queue.drops == [{"a": {"queue-full": 1}}]


def test_what_no_destination_takes_is_told(queue: Queue, counters: SourceCounters) -> None:
    unrouted: list[int] = []
    nobody = intake(
        queue,
        counters,
        Route("errors", None, field_in("severity", [3])),
        on_unrouted=unrouted.append,
    )
    nobody.accept([b"<11>error", b"<13>a", b"<13>b"], ORIGIN)
    nobody.accept([b"<11>error"], ORIGIN)
    assert (unrouted, counters.dropped) == ([2], {"no-destination": 2})
    ((reason, samples),) = counters.samples
    assert (reason, [each.start for each in samples]) == ("no-destination", [b"<13>a", b"<13>b"])


class Looked:
    """A watch that notes what it is given."""

    def __init__(self) -> None:
        self.looks: list[tuple[list[bytes], int]] = []

    def look(self, lines: Lines, arrival: Arrival) -> None:
        self.looks.append(([*lines.frames], len(arrival.runs)))


def test_a_watch_sees_every_message_once(queue: Queue, counters: SourceCounters) -> None:
    watch: Any = Looked()
    plain = intake(queue, counters, Route("raw", None), reading=Reading(watch=watch))
    plain.accept_all([Received([b"<13>a", b""], ORIGIN), Received([b"<14>b"], ORIGIN)])
    assert watch.looks == [([b"<13>a", b"<14>b"], 2)]
    assert queue.appended == [{"raw": [b"<13>a", b"<14>b"]}]


@pytest.mark.parametrize("cut", [{}, {0: 9}])
def test_odd_lines_are_counted_and_stay_in_their_place(
    queue: Queue, counters: SourceCounters, cut: dict[int, int]
) -> None:
    """Lines with tags that tell of no failure are none."""
    loud = intake(queue, counters, Route("loud", SHOUT))
    loud.accept([b"<15>a", b"<999>x", b"5 <15>b", b"<13>1 - h a - - [] y"], ORIGIN, cut=cut)
    written = [b"<15>A", b"<999>X", b"5 <15>B", b"<13>1 - H A - - [] Y"]
    assert queue.appended == [{"loud": [b"%s at 1000.5" % frame for frame in written]}]
    assert counters.parse_failures == 2
    queue.stored[0].callback(None)
    assert (counters.stored_records, pending(counters)) == (4, 0)


def test_frames_are_read_by_the_parser_of_their_source(
    queue: Queue, counters: SourceCounters
) -> None:
    arrivals: list[Arrival] = []

    def parser(frames: Sequence[bytes], arrival: Arrival) -> Lines:
        arrivals.append(arrival)
        return Messages([parse(frame)._replace(raw=b"read") for frame in frames])

    both = intake(
        queue,
        counters,
        Route("loud", SHOUT),
        Route("raw", None),
        wall=WallClock(now=lambda: 7.0, elapsed=lambda: 5.0),
        reading=Reading(parser),
    )
    both.accept_all([Received([b"<15>a"], ORIGIN), Received([b"b", b"c"], OTHER)])
    assert arrivals == [Arrival([(1, ORIGIN), (3, OTHER)], 7.0, 5.0)]
    assert queue.appended == [{"loud": [b"READ at 7.0"] * 3, "raw": [b"read"] * 3}]


def test_nobody_reads_frames_that_pass_as_they_are(queue: Queue, counters: SourceCounters) -> None:
    def parser(frames: Sequence[bytes], arrival: Arrival) -> Lines:
        raise AssertionError(frames)

    raw = intake(queue, counters, Route("raw", None), reading=Reading(parser))
    raw.accept([b"<999>x"], ORIGIN, cut={0: 9})
    assert queue.appended == [{"raw": [b"<999>x"]}]


OTHER = Origin("in", Transport.TCP, "192.0.2.2", 40001)


def signed(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [b"%s of %s" % (message.raw, origin.peer.encode()) for message in messages]


@pytest.mark.parametrize("rewrite", [None, form_of(signed)])
def test_batches_of_several_origins_are_stored_by_one_append_in_their_order(
    queue: Queue, counters: SourceCounters, rewrite: Rewrite | None
) -> None:
    raw = intake(queue, counters, Route("raw", None), Route("own", rewrite))
    came = [
        *(Received([b"<13>a"], ORIGIN), Received([b"", b"<13>b"], OTHER), Received([b""], OTHER)),
        *(Received([b"<13>c", b"<13>d"], ORIGIN), Received([b"<13>e"], OTHER)),
    ]
    results = fired(raw.accept_all(came, {"in/f": b"1"}))
    frames = [b"<13>a", b"<13>b", b"<13>c", b"<13>d", b"<13>e"]
    ports = [b"1:40000", b"2:40001", b"1:40000", b"1:40000", b"2:40001"]
    own = [b"%s of 192.0.2.%s" % (frame, port) for frame, port in zip(frames, ports, strict=True)]
    assert queue.appended == [{"raw": frames, "own": own if rewrite else frames}]
    assert queue.positions == [{"in/f": b"1"}]
    assert (results, pending(counters), counters.dropped) == ([], 5, {"empty": 2})
    queue.stored[0].callback(None)
    assert (results, counters.stored_records, pending(counters)) == ([None], 5, 0)
    assert (counters.received_records, counters.received_bytes) == (7, 25)


def test_samples_are_kept_of_what_cannot_be_parsed_and_of_nothing_else(
    queue: Queue, counters: SourceCounters
) -> None:
    own = intake(queue, counters, Route("loud", SHOUT))
    bad = [b"<999>bad", b"<13>1 - h - - - [] cut"]
    batches = [
        Received([b"<13>1 - host app - - - good"], Origin("in", Transport.UDP, "192.0.2.1", 1)),
        Received([bad[0], b"<13>Oct 11 22:14:15 host app: good", bad[1]], ORIGIN),
    ]
    own.accept_all(batches)
    kept = [sample for _, samples in counters.samples for sample in samples]
    assert {sample.start for sample in kept} == set(bad)
    assert {sample.peer for sample in kept} == {ORIGIN.peer}
    assert all(reason.startswith("syslog.") for reason, _ in counters.samples)
    assert counters.parse_failures == 2


def test_samples_are_kept_where_no_destination_is(queue: Queue, counters: SourceCounters) -> None:
    intake(queue, counters).accept([b"<13>lost"], ORIGIN)
    ((reason, (sample,)),) = counters.samples
    assert (reason, sample.start, sample.size) == ("no-destination", b"<13>lost", 8)


def test_frames_are_counted_by_peer_and_severity(queue: Queue, counters: SourceCounters) -> None:
    seconds = iter([0.0, 5.0, 5.25])
    reading = Reading(default_severity=6)
    wall = WallClock(now=lambda: 1e9, elapsed=lambda: next(seconds))
    both = intake(queue, counters, Route("raw", None), reading=reading, wall=wall)
    batches = [
        Received([b"<11>error", b"no PRI", b""], Origin("in", Transport.UDP, "192.0.2.1", 1)),
        Received([b"<12>warning"], Origin("in", Transport.UDP, "192.0.2.2", 1)),
    ]
    both.accept_all(batches)
    queue.stored[0].callback(None)
    peers = {name: (peer.records, peer.bytes, peer.last_seen) for name, peer in counters.peers}
    assert peers == {"192.0.2.1": (3, 15, 5.0), "192.0.2.2": (1, 11, 5.0)}
    assert counters.peers.severities() == [0, 0, 0, 1, 1, 0, 2, 0]
    assert (counters.stored_seconds.total, counters.stored_seconds.sum) == (3, 0.75)


def test_one_moment_for_all_batches_that_came_together(
    queue: Queue, counters: SourceCounters
) -> None:
    seconds = iter(range(10))
    loud = intake(
        queue,
        counters,
        Route("loud", SHOUT),
        wall=WallClock(now=lambda: float(next(seconds)), elapsed=lambda: 5.0),
    )
    loud.accept_all([Received([b"<13>a"], ORIGIN), Received([b"<13>b"], OTHER)])
    (appended,) = queue.appended
    assert len({payload.rpartition(b" ")[2] for payload in appended["loud"]}) == 1


def test_marks_refusals_and_drops_of_each_origin_stay_with_it(
    queue: Queue, counters: SourceCounters
) -> None:
    tags: list[tuple[bytes, ...]] = []

    def note(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        tags.extend(message.tags for message in messages)
        return [message.raw for message in messages]

    split = intake(
        queue,
        counters,
        Route("noted", form_of(note)),
        Route("full", None, limit=full("full", "drop-newest", 1000)),
    )
    split.accept_all(
        [
            Received([b"<13>a", b"<13>b"], ORIGIN, pieces={0: 1, 1: 2}),
            Received([b"<13>c"], OTHER),
            Received([b"<13>d"], OTHER, cut={0: 90}),
        ]
    )
    assert tags == [(SPLIT_TAG,), (SPLIT_TAG,), (), (TRUNCATED_TAG,)]
    assert queue.drops == [{"full": {"queue-full": 4}}]
    strict = intake(queue, counters, Route("raw", None), quarantine=Quarantine(long=True))
    strict.accept_all(
        [Received([b"x", b"long"], ORIGIN, cut={1: 9}), Received([b"y"], OTHER, cut={0: 8})]
    )
    assert queue.appended[1] == {"raw": [b"x"]}
    assert [(each.peer, each.frames) for each in queue.refusals] == [
        ("192.0.2.1:40000", [b"long"]),
        ("192.0.2.2:40001", [b"y"]),
    ]


def test_all_that_wait_for_an_answer_are_told_to_the_queue(
    queue: Queue, counters: SourceCounters
) -> None:
    relp = intake(queue, counters, Route("a", None), answers=True)
    relp.accept_all([Received([b"a"], ORIGIN), Received([b"b"], OTHER), Received([b"c"], ORIGIN)])
    assert queue.senders == [{("192.0.2.1", 40000), ("192.0.2.2", 40001)}]


def test_what_is_not_stored_of_several_origins_is_counted_once(
    queue: Queue, counters: SourceCounters
) -> None:
    raw = intake(queue, counters, Route("raw", None))
    results = fired(raw.accept_all([Received([b"a"], ORIGIN), Received([b"b"], OTHER)]))
    queue.stored[0].errback(QueueError("no"))
    assert [str(error) for error in results] == ["no"]
    assert (counters.dropped, pending(counters)) == ({"not-stored": 2}, 0)


def test_what_a_rewrite_holds_back_is_stored_with_the_positions_of_the_source(
    queue: Queue, counters: SourceCounters
) -> None:
    held = [{"/groups/a/1/0/0": b"member"}, {}]
    way = Route("a", None, field_in("severity", [3]), take_positions=lambda: held.pop(0))
    it = intake(queue, counters, way, Route("b", None))
    it.accept([b"<13>x"], ORIGIN, positions={"in/file": b"1"})
    it.accept([b"<13>y"], ORIGIN)
    assert queue.positions == [{"in/file": b"1", "/groups/a/1/0/0": b"member"}, None]


def test_who_looks_sees_what_came_before_anything_is_done(
    queue: Queue, counters: SourceCounters
) -> None:
    seen: list[Sequence[Received]] = []
    counters.on_received = seen.append
    batch = Received([b"<13>a", b""], ORIGIN)
    intake(queue, counters, Route("raw", None)).accept_all([batch])
    assert seen == [[batch]]
    counters.on_received = None
    intake(queue, counters, Route("raw", None)).accept_all([batch])
    assert len(seen) == 1
