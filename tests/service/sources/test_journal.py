from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.flow.intake import Intake
from relay.model.counters import SourceCounters
from relay.queue.admission.backpressure import Admission
from relay.service.configuration.model import SourceConfiguration, Url
from relay.service.sources.journal import JournalSource, new_journal_source
from relay.wire.journal_export import JournalEntry
from tests.clocks import wall_at
from tests.connections import RecordingNotices, fired


class Reader:
    def __init__(self) -> None:
        self.started: list[bytes] = []
        self.stopped: Deferred[None] = Deferred()
        self.state = "follows the journal"
        self.is_reading = True
        self.starts, self.gaps = 3, 1

    def start(self, cursor: bytes, *, is_lost: bool = False) -> None:
        self.started.append(b"lost" if is_lost else cursor)

    def stop(self) -> Deferred[None]:
        return self.stopped


def source_with(positions: dict[str, bytes]) -> tuple[JournalSource, Reader]:
    reader: Any = Reader()
    source = JournalSource(
        source="j",
        url=Url("journald"),
        counters=SourceCounters(),
        reactor=Clock(),
        reader=reader,
        positions={"j": positions}.__getitem__,
    )
    return source, reader


def test_it_begins_where_it_stopped() -> None:
    source, reader = source_with({"cursor": b"i=5"})
    source.privilegedStartService()
    assert reader.started == []  # the queue is not open yet
    source.startService()
    assert reader.started == [b"i=5"]


def test_it_begins_for_the_first_time() -> None:
    source, reader = source_with({})
    source.startService()
    assert reader.started == [b""]


def test_a_damaged_position_has_everything_read() -> None:
    source, reader = source_with({"cursor": b""})
    source.startService()
    assert reader.started == [b"lost"]


def test_it_has_stopped_when_its_reader_has() -> None:
    source, reader = source_with({})
    source.startService()
    results = fired(source.stopService())
    assert results == []
    reader.stopped.callback(None)
    assert results == [None]
    assert not source.running


def test_its_report() -> None:
    source, _ = source_with({})
    report = source.report()
    assert report["address"] == "journald://"
    assert (report["state"], report["ready"]) == ("follows the journal", True)
    assert (report["journalctl_starts"], report["gaps"]) == (3, 1)
    assert report["received_records"] == 0


def reader_of(configuration: SourceConfiguration) -> Any:
    notices: Any = RecordingNotices()
    counters = SourceCounters()
    append: Any = None
    source = new_journal_source(
        configuration,
        intake=Intake(routes=[], append=append, wall=wall_at(0.0), counters=counters),
        admission=Admission(pending_bytes_max=100, queue_bytes_max=100),
        counters=counters,
        positions=lambda source: {},
        notices=notices,
        reactor=Clock(),
    )
    assert (source.id, source.url) == (configuration.id, configuration.listen)
    return source._reader


def test_what_is_configured_is_read() -> None:
    reader = reader_of(
        SourceConfiguration(
            "in",
            Url("journald", path="/journal"),
            frame_bytes_max=500,
            oversize="drop",
            matches=("_PID=1",),
            read_from="beginning",
            fields=("_UID", "_PID"),
        )
    )
    selection = reader._selection
    assert (selection.directory, selection.matches) == ("/journal", ("_PID=1",))
    assert {"MESSAGE", "_UID", "_PID"} < set(selection.fields)
    assert len(set(selection.fields)) == len(selection.fields)
    assert (reader._messages.bytes_max, reader._messages.drop_long) == (500, True)
    assert reader._from_beginning
    entry = JournalEntry([(b"_UID", b"0"), (b"MESSAGE", b"hello")], {})
    assert reader._messages.format(entry).endswith(b'_UID="0"] hello')


def test_it_is_read_from_its_end_unless_told_otherwise() -> None:
    assert not reader_of(SourceConfiguration("in", Url("journald")))._from_beginning
