from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from relay.model.parse_options import ParseOptions
from relay.service.configuration.model import Url
from relay.service.sources.files import FileSource
from relay.service.sources.listening import MultiLine
from relay.wire.parse import parse
from tests.clocks import wall_of
from tests.configurations import build_source, new_source
from tests.connections import RecordingNotices
from tests.threads import Reactor


class Queue:
    """Stores everything at once."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.positions: dict[str, bytes] = {}
        self.asked: list[str] = []

    def accept(
        self, frames: list[bytes], origin: Any, *, positions: Any, **_: Any
    ) -> Deferred[None]:
        self.frames += frames
        self.positions.update({name.partition("/")[2]: data for name, data in positions.items()})
        return succeed(None)

    def positions_of(self, source: str) -> dict[str, bytes]:
        self.asked.append(source)
        return self.positions


class Setup:
    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder = folder
        self.reactor = Reactor()
        self.queue = Queue()
        self.notices: Any = RecordingNotices()
        self.configuration = new_source("app", Url("file", path=f"{folder}/*.log"), **keys)

    def started(self) -> FileSource:
        service: FileSource = build_source(
            self.configuration,
            positions=self.queue.positions_of,
            intake=self.queue,
            notices=self.notices,
            wall=wall_of(self.reactor),
            reactor=self.reactor,
        )
        assert service.report()["received_records"] == 0  # asked before the start, too
        self.queue.asked.clear()
        service.privilegedStartService()
        assert self.queue.asked == []
        service.startService()
        self.reactor.advance(0)
        return service


def test_lines_become_messages(tmp_path: Path) -> None:
    setup = Setup(tmp_path, facility=16, severity=3)
    (tmp_path / "shop.log").write_bytes(b"one\n")
    service = setup.started()
    (message,) = map(parse, setup.queue.frames)
    assert (message.facility, message.severity, message.msg) == (16, 3, b"one")
    assert (message.hostname, message.app_name) == (b"web-1", b"shop")
    assert message.structured_data == f'[syslogrelay@32473 file="{tmp_path}/shop.log"]'.encode()
    assert setup.queue.asked == ["app"]
    report = service.report()
    assert (report["files_open"], report["behind_bytes"]) == (1, 0)
    service.stopService()
    assert setup.reactor.getDelayedCalls() == []


def test_where_reading_stopped_it_goes_on(tmp_path: Path) -> None:
    setup = Setup(tmp_path, tag="shop", read_from="end")
    (tmp_path / "a.log").write_bytes(b"old\n")
    setup.started().stopService()
    with (tmp_path / "a.log").open("ab") as file:
        file.write(b"new\n")
    setup.started().stopService()
    assert [(parse(frame).app_name, parse(frame).msg) for frame in setup.queue.frames] == [
        (b"shop", b"new")
    ]


def test_lines_that_are_messages(tmp_path: Path) -> None:
    setup = Setup(tmp_path, format="syslog", frame_bytes_max=12, oversize="drop")
    (tmp_path / "a.log").write_bytes(b"<1>one\n<2>two two two\n")
    service = setup.started()
    assert setup.queue.frames == [b"<1>one"]
    assert service.counters.dropped == {"too-long": 1}
    service.stopService()


def test_messages_of_several_lines(tmp_path: Path) -> None:
    setup = Setup(tmp_path, format="syslog", joining=MultiLine(r"^\S", 2.0))
    (tmp_path / "a.log").write_bytes(b"one\n at a\ntwo\n")
    service = setup.started()
    assert setup.queue.frames == [b"one\n at a"]
    setup.reactor.pump([1.0] * 3)
    assert setup.queue.frames == [b"one\n at a", b"two"]
    service.stopService()


def test_links_are_followed_out_of_the_directory_only_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    secret, logs = tmp_path / "secret", tmp_path / "logs"
    secret.write_bytes(b"root:x\n")
    logs.mkdir()
    (logs / "a.log").symlink_to(secret)
    refusing, following = Setup(logs), Setup(logs, follow_symlinks=True)
    refusing.started().stopService()
    following.started().stopService()
    assert refusing.queue.frames == []
    assert "follow_symlinks = true" in refusing.notices.said[0][-1]
    assert [parse(frame).msg for frame in following.queue.frames] == [b"root:x"]


def test_only_so_many_files(tmp_path: Path) -> None:
    setup = Setup(tmp_path, files_max=1)
    for name in ("a.log", "b.log"):
        (tmp_path / name).touch()
    service = setup.started()
    assert (service.report()["files_open"], service.report()["files_refused"]) == (1, 1)
    service.stopService()


TEXT = "line one café\r\nline \U0001f600\nthe end"


@pytest.mark.parametrize("name", ["utf-16le", "utf-16be", "cp037", "ISO-8859-1"])
@pytest.mark.parametrize("stop", [0, 3, 27, 30, 31, 35])
def test_files_in_other_character_sets(tmp_path: Path, name: str, stop: int) -> None:
    mark = {"utf-16le": b"\xff\xfe", "utf-16be": b"\xfe\xff"}.get(name, b"")
    data = mark + TEXT.encode(name, "ignore")
    setup = Setup(tmp_path, parse=ParseOptions(encoding=name))
    (tmp_path / "café.log").write_bytes(data[:stop])
    setup.started().stopService()  # and read on after a restart
    (tmp_path / "café.log").write_bytes(data)
    setup.started().stopService()
    messages = [parse(frame) for frame in setup.queue.frames]
    expected = TEXT.encode(name, "ignore").decode(name).split("\n")[:-1]
    assert [message.msg.decode() for message in messages] == [
        line.removesuffix("\r") for line in expected
    ]
    assert all("café.log".encode() in (message.structured_data or b"") for message in messages)


def test_reading_from_the_end_of_a_file_in_another_character_set(tmp_path: Path) -> None:
    setup = Setup(tmp_path, parse=ParseOptions(encoding="utf-16"), read_from="end", format="syslog")
    path = tmp_path / "a.log"
    path.write_bytes(b"\xfe\xff" + "old\nne".encode("utf-16be"))
    setup.started().stopService()
    with path.open("ab") as file:
        file.write("w\n".encode("utf-16be"))
    setup.started().stopService()
    assert setup.queue.frames == [b"new"]


def test_a_byte_order_mark_and_a_nul(tmp_path: Path) -> None:
    setup = Setup(tmp_path, format="syslog")
    path = tmp_path / "a.log"
    path.write_bytes(b"\xef\xbb\xbf<13>one\0 \0two\n\xef\xbb\xbfthree\n")
    service = setup.started()
    assert setup.queue.frames == [b"<13>one\0 \0two", b"\xef\xbb\xbfthree"]
    path.write_bytes(b"\xef\xbb\xbf<13>after rotation\n")
    setup.reactor.pump([1.0] * 3)
    assert setup.queue.frames[2:] == [b"<13>after rotation"]
    service.stopService()
