from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.service.configuration.model import SourceConfiguration, Url
from relay.service.sources.journal import FieldNames, JournalSource, Matches
from relay.wire.journal_export import JournalEntry
from tests.configurations import build_source, new_source, receiving
from tests.connections import fired


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
        new_source("j", Url("journald", is_bare=True)),
        receiving(Clock()),
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
    source = build_source(configuration, reactor=Clock())
    assert (source.id, source.url) == (configuration.id, configuration.listen)
    return source._reader


def test_what_is_configured_is_read() -> None:
    reader = reader_of(
        new_source(
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
    assert (reader._oversize.frame_bytes_max, reader._oversize._name) == (500, "drop")
    assert reader._from_beginning
    entry = JournalEntry([(b"_UID", b"0"), (b"MESSAGE", b"hello")], {})
    assert reader._format(entry).endswith(b'_UID="0"] hello')


def test_it_is_read_from_its_end_unless_told_otherwise() -> None:
    assert not reader_of(new_source("in", Url("journald")))._from_beginning


def test_matches_as_journalctl_takes_them() -> None:
    written = ["_TRANSPORT=kernel", "+", "_SYSTEMD_UNIT=ssh.service", "_PID=", "A=x y=z", "A=x"]
    assert Matches().read(written) == tuple(written)
    assert Matches().read([]) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("_PID=1", "expected a list such as .*, found '_PID=1'"),
        ([1], "expected a list such as .*, found a list of 1"),
        (["_PID"], "expected FIELD=value, .* found '_PID'"),
        (["_pid=1"], "found '_pid=1'"),
        (["=1"], "found '=1'"),
        (["1A=1"], "found '1A=1'"),
        (["--since=now"], "found '--since=now'"),
        (["/usr/bin/dbus"], "found '/usr/bin/dbus'"),
        (["A=\0"], r"found 'A=\\x00'"),
        (["A" * 65 + "=1"], "expected FIELD=value"),
        (["+", "A=1"], r"'\+' stands between two matches"),
        (["A=1", "+"], r"'\+' stands between two matches"),
        (["A=1", "+", "+", "A=1"], r"'\+' stands between two matches"),
        (["A=1"] * 101, "expected at most 100 of them, found 101"),
    ],
)
def test_bad_matches(value: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Matches().read(value)


def test_fields() -> None:
    assert FieldNames().read(["_SYSTEMD_UNIT", "X_1"]) == ("_SYSTEMD_UNIT", "X_1")
    assert FieldNames().read([]) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("_UID", "expected a list of fields such as .*, found '_UID'"),
        (["_uid"], "expected names of fields, .* found '_uid'"),
        (["A=1"], "found 'A=1'"),
        (["A,B"], "found 'A,B'"),
        (["A" * 33], "at most 32 characters long, found 'A"),
        (["_UID", "_UID"], "'_UID' is in the list twice; remove one"),
    ],
)
def test_bad_fields(value: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FieldNames().read(value)
