from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.queue.admission.backpressure import Admission
from relay.transport.files.followed import FileOptions, FollowedFiles
from relay.transport.files.positions import FilePositions
from relay.transport.reception import Reception
from relay.wire.framing.lines import LineDecoder
from tests.connections import RecordingNotices


class Folder:
    def __init__(self, path: Path, *, stored: dict[str, bytes], **limits: Any) -> None:
        self.clock = Clock()
        self.notices: Any = RecordingNotices()
        self.logged: list[str] = []
        admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        self.files = FollowedFiles(
            FileOptions(
                f"{path}/*.log",
                new_decoder=lambda start, head: LineDecoder(start=start, frame_bytes_max=100),
                **{"files_max": 10, **limits},
            ),
            positions=FilePositions(stored),
            reception=Reception("app", None, admission, SourceCounters(), self.notices),
            clock=self.clock,
            say=self.logged.append,
        )


def test_a_search_opens_new_files_and_returns_their_positions(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\n")
    folder = Folder(tmp_path, stored={})
    changes = folder.files.search()
    (file,) = folder.files
    assert set(changes) == {*folder.files.names, "used"}
    assert (file.path, file.position().offset) == (str(tmp_path / "a.log"), 0)
    folder.files.close_all()
    assert list(folder.files) == []


def test_from_end_skips_what_is_there_at_the_first_use_only(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\n")
    for stored, offset in (({}, 4), ({"used": b"{}"}, 0)):
        folder = Folder(tmp_path, stored=stored, from_end=True)
        folder.files.search()
        (file,) = folder.files
        assert file.position().offset == offset
        folder.files.close_all()


def test_more_files_than_files_max_are_reported(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.log").write_bytes(b"")
    folder = Folder(tmp_path, stored={}, files_max=2)
    folder.files.search()
    assert folder.files.report()["files_refused"] == 1
    assert folder.notices.kinds == ["files_max"]
    folder.files.close_all()


def test_a_failed_file_is_closed_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\n")
    folder = Folder(tmp_path, stored={})
    folder.files.search()
    (file,) = folder.files
    folder.files.failed(file, OSError(5, "Input/output error"))
    assert (list(folder.files), folder.notices.kinds) == ([], ["unreadable"])
    folder.clock.advance(60)
    folder.files.search()
    assert len(list(folder.files)) == 1
    assert folder.files.report()["files_unreadable"] == 1
    folder.files.close_all()
