"""A source that reads a log, with any reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.model.origin import Origin, Received, Transport
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from relay.service.log.source import LogSource
from relay.service.prerequisite import Prerequisite
from tests.configurations import build_source, new_source, receiving
from tests.connections import RecordingIntake, fired

ADDRESS = KINDS.source("kafka").address.read("kafka", "//k1:9092/logs", "listen", "/")


class Reader:
    def __init__(self) -> None:
        self.started: list[Mapping[str, bytes]] = []
        self.stopped: Deferred[None] = Deferred()
        self.state = "reads 2 partitions of 4"
        self.is_reading = True

    def report(self) -> dict[str, int]:
        return {"lag_records": 7}

    def start(self, load: Callable[[], Mapping[str, bytes]]) -> None:
        self.started.append(load())

    def stop(self) -> Deferred[None]:
        return self.stopped


def source_with(positions: dict[str, bytes], trouble: str = "") -> tuple[LogSource, Any, Any]:
    reader: Any = Reader()
    files = Prerequisite("it waits")
    files.trouble = trouble
    source = LogSource(
        new_source("bus", ADDRESS),
        receiving(Clock()),
        reader=reader,
        positions={"bus": positions}.__getitem__,
        files=files,
    )
    return source, reader, files


def test_it_begins_where_it_stopped() -> None:
    source, reader, _ = source_with({"offset/0": b"5 logs"})
    source.privilegedStartService()
    assert reader.started == []  # the queue is not open yet
    source.startService()
    assert reader.started == [{"offset/0": b"5 logs"}]


def test_it_has_stopped_when_its_reader_has() -> None:
    source, reader, _ = source_with({})
    source.startService()
    results = fired(source.stopService())
    assert results == []
    reader.stopped.callback(None)
    assert results == [None]


def test_it_waits_for_the_files_of_tls() -> None:
    source, reader, files = source_with({}, "no certificate")
    source.startService()
    assert reader.started == []
    assert source.report()["state"] == "no certificate; it waits"
    files.fulfil()
    files.fulfil()  # new files do not begin it again
    assert reader.started == [{}]


def test_it_can_stop_before_it_has_begun() -> None:
    source, _, files = source_with({}, "no certificate")
    source.startService()
    assert fired(source.stopService()) == [None]
    files.fulfil()


def test_its_report_has_that_of_its_reader() -> None:
    source, _, _ = source_with({})
    report = source.report()
    assert (report["id"], report["state"]) == ("bus", "reads 2 partitions of 4")
    assert (report["ready"], report["lag_records"]) == (True, 7)


@pytest.mark.parametrize(
    "listen", ['"kafka://k1:9092/logs"\npartitions = "0"', '"nats://n1:4222/LOGS"\nconsumer = "a"']
)
def test_text_in_another_encoding_is_converted(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        f'[sources.in]\nlisten = {listen}\nparse.encoding = "latin-1"\n'
        '[destinations.out]\nconnect = "udp://127.0.0.1:5514"\n'
    )
    (configuration,) = read_configuration(str(path), KINDS).sources
    intake = RecordingIntake()
    source = build_source(configuration, intake=intake)
    batch = Received([b"\xe4"], Origin("in", Transport.NONE))
    source._reader._intake.accept_all([batch], {})
    assert intake.batches == [["ä".encode()]]
