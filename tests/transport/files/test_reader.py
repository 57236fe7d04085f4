from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.queue.admission.backpressure import Admission
from relay.transport.files.followed import FileOptions
from relay.transport.files.reader import FileReader
from relay.transport.files.tailed_file import CHUNK_BYTES, fits
from relay.transport.reception import OversizePolicy, Reception
from relay.wire.file_position import parse_position
from relay.wire.framing.lines import LineDecoder
from relay.wire.line_message import LineFormat
from tests.clocks import wall_of
from tests.connections import RecordingNotices


class Queue:
    """Stores lines and positions together, at once or when it is told to."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.batches: list[list[bytes]] = []
        self.cut: list[Mapping[int, int]] = []
        self.positions: dict[str, bytes] = {}
        self.is_slow = False
        self.is_failing = False
        self._waiting: list[Callable[[], None]] = []

    def accept(
        self,
        frames: list[bytes],
        origin: Origin,
        *,
        cut: Mapping[int, int] | None = None,
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]:
        assert origin.source == "app"
        if self.is_failing:
            return fail(QueueError("the queue is closed"))
        done: Deferred[None] = Deferred()

        def commit() -> None:
            self.lines += frames
            self.batches += [frames] if frames else []
            self.cut += [cut] if cut else []
            for name, data in (positions or {}).items():
                assert name.startswith("app/")
                self.positions[name.removeprefix("app/")] = data
                if not data:
                    del self.positions[name.removeprefix("app/")]
            done.callback(None)

        self._waiting.append(commit)
        if not self.is_slow:
            self.settle()
        return done

    def settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for commit in waiting:
            commit()

    def forget_what_waits(self) -> None:
        self._waiting = []


class Site:
    """A folder with log files, and the relay's reader of them."""

    def __init__(self, folder: Path, wildcard: str = "*.log", **options: Any) -> None:
        self.folder = folder
        self.queue = Queue()
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.notices: Any = RecordingNotices()
        self.said: list[str] = []
        self._wildcard = wildcard
        self._options = options
        self.reader: FileReader | None = None

    def start(self) -> FileReader:
        options = dict(self._options)
        oversize = options.pop("oversize", "truncate")
        limit, begins = options.pop("frame_bytes_max", 1000), options.pop("begins", None)
        self.counters = SourceCounters()
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        queue: Any = self.queue
        self.reader = FileReader(
            Reception("app", queue, self.admission, self.counters, self.notices),
            FileOptions(
                f"{self.folder}/{self._wildcard}",
                new_decoder=lambda start, head: LineDecoder(
                    start=start, frame_bytes_max=limit, begins=begins
                ),
                **{"files_max": 10, **options},
            ),
            oversize=OversizePolicy(oversize, frame_bytes_max=limit, counters=self.counters),
            stored=dict(self.queue.positions),
            wall=wall_of(self.clock),
            clock=self.clock,
            say=self.said.append,
        )
        self.reader.start()
        self.turn()
        return self.reader

    def turn(self) -> None:
        """Let everything be read that can be."""
        for _ in range(100):
            self.clock.advance(0)

    def poll(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.turn()

    def crash(self) -> None:
        assert self.reader is not None
        self.queue.forget_what_waits()
        self.reader.stop()

    def restart(self) -> None:
        self.crash()
        self.start()

    def append(self, name: str, data: bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(data)

    def rename(self, name: str, new_name: str) -> None:
        (self.folder / name).rename(self.folder / new_name)

    def take(self) -> list[bytes]:
        lines, self.queue.lines = self.queue.lines, []
        return lines


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    if site.reader is not None:
        site.reader.stop()
    assert site.clock.getDelayedCalls() == []


def test_lines_are_taken_as_they_are_completed(site: Site) -> None:
    site.append("a.log", b"one\ntwo\r\nthr")
    site.start()
    assert site.take() == [b"one", b"two"]
    site.append("a.log", b"ee\n")
    site.poll()
    assert site.take() == [b"three"]
    site.append("b.log", b"new\n")
    site.poll()
    assert site.take() == [b"new"]


def test_the_end_is_where_reading_begins_if_so_wanted_but_not_of_files_that_come_later(
    site: Site,
) -> None:
    site._options["from_end"] = True
    site.append("a.log", b"old\nhal")
    site.start()
    site.append("a.log", b"f\nnew\n")
    site.append("b.log", b"later\n")
    site.poll()
    assert site.take() == [b"half", b"new", b"later"]
    site.crash()
    site.append("c.log", b"while down\n")
    site.append("a.log", b"more\n")
    site.start()
    assert sorted(site.take()) == [b"more", b"while down"]


def test_the_first_use_is_over_even_if_there_was_nothing(site: Site) -> None:
    site._options["from_end"] = True
    site.start()
    site.crash()
    site.append("a.log", b"one\n")
    site.start()
    assert site.take() == [b"one"]


def test_a_restart_repeats_nothing_and_leaves_nothing_out(site: Site) -> None:
    site.append("a.log", b"one\ntw")
    site.start()
    site.restart()
    site.append("a.log", b"o\nthree\n")
    site.poll()
    site.restart()
    assert site.take() == [b"one", b"two", b"three"]


def test_what_was_not_committed_is_read_again(site: Site) -> None:
    site.append("a.log", b"one\n")
    site.start()
    site.queue.is_slow = True
    site.append("a.log", b"two\n")
    site.poll()
    site.append("a.log", b"three\n")
    site.poll(3)
    assert site.queue.batches == [[b"one"]]  # one batch at a time
    site.crash()
    site.queue.is_slow = False
    site.start()
    assert site.take() == [b"one", b"two", b"three"]


def test_a_renamed_file_is_read_to_its_end(site: Site) -> None:
    site.append("a.log", b"one\n")
    site.start()
    site.append("a.log", b"two\n")
    site.rename("a.log", "a.log.1")
    site.append("a.log", b"three\n")
    site.poll()
    assert sorted(site.take()) == [b"one", b"three", b"two"]
    site.append("a.log.1", b"four\nrest")
    site.poll(59)
    assert site.take() == [b"four"]
    site.poll(3)
    assert site.take() == [b"rest"]
    assert site.reader is not None
    assert site.reader is not None
    assert site.reader.report()["files_open"] == 1
    site.restart()
    assert site.take() == []


def test_a_renamed_file_that_still_matches_is_not_read_twice(tmp_path: Path) -> None:
    site = Site(tmp_path, "a.log*")
    site.append("a.log", b"one\n")
    site.start()
    for number in (3, 2, 1):
        site.rename("a.log", f"a.log.{number}")
        site.append("a.log", b"new %d\n" % number)
        site.append(f"a.log.{number}", b"late %d\n" % number)
        site.poll()
    site.restart()
    assert sorted(site.take()) == [
        *(b"late 1", b"late 2", b"late 3"),
        *(b"new 1", b"new 2", b"new 3"),
        b"one",
    ]
    site.crash()


def test_a_truncated_file_is_read_from_its_start(site: Site) -> None:
    site.append("a.log", b"one\ntwo\nrest")
    site.start()
    shutil.copy(site.folder / "a.log", site.folder / "a.log.1")
    os.truncate(site.folder / "a.log", 0)
    site.append("a.log", b"three\n")
    site.poll()
    # The rest was in the file when it was read, and it is no longer.
    assert site.take() == [b"one", b"two", b"rest", b"three"]
    os.truncate(site.folder / "a.log", 0)
    site.append("a.log", b"longer than it was before\n")
    site.poll()
    site.restart()
    assert site.take() == [b"longer than it was before"]
    assert site.said == [f"{site.folder}/a.log was truncated: reading from its start"] * 2


def test_a_file_that_was_replaced_while_nobody_looked(site: Site) -> None:
    site.append("a.log", b"one\ntwo\n")
    site.start()
    site.crash()
    os.truncate(site.folder / "a.log", 0)
    site.append("a.log", b"other\nlines\n")
    site.start()
    assert site.take() == [b"one", b"two", b"other", b"lines"]
    assert "is not the file that was read before" in site.said[0]


def test_a_deleted_file_is_read_to_its_end_and_forgotten(site: Site) -> None:
    site.append("a.log", b"one\n")
    site.start()
    with (site.folder / "a.log").open("ab") as still_open:
        (site.folder / "a.log").unlink()
        site.append("a.log", b"new\n")
        site.poll()
        still_open.write(b"two\nrest")
    site.poll()
    assert site.take() == [b"one", b"new", b"two"]
    site.poll(6)
    assert site.take() == [b"rest"]
    assert len(site.queue.positions) == 2  # the mark and the new file
    assert site.reader is not None
    assert site.reader is not None
    assert site.reader.report()["files_open"] == 1


@pytest.mark.parametrize("wildcard", ["*.log", "*.log*"])
def test_a_rotation_while_nobody_looked(tmp_path: Path, wildcard: str) -> None:
    site = Site(tmp_path, wildcard)
    site.append("a.log", b"one\n")
    site.start()
    site.crash()
    site.append("a.log", b"two\n")
    site.rename("a.log", "a.log.1")
    site.append("a.log", b"three\n")
    (site.folder / "unrelated").write_text("x\n")
    site.start()
    assert sorted(site.take()) == [b"one", b"three", b"two"]
    site.restart()
    site.poll(70)
    site.restart()
    assert site.take() == []
    site.crash()


def test_a_file_that_was_empty_is_found_after_a_rotation(site: Site) -> None:
    site.append("a.log", b"")
    site.start()
    site.crash()
    site.append("a.log", b"one\n")
    site.rename("a.log", "a.log.1")
    site.start()
    assert site.take() == [b"one"]


def test_after_a_reboot_the_device_may_have_another_number(site: Site) -> None:
    site.append("a.log", b"one\n")
    site.append("b.log", b"two\n")
    site.start()
    site.crash()
    device = os.stat(site.folder).st_dev
    for name, data in list(site.queue.positions.items()):
        del site.queue.positions[name]
        new_name = name.replace(f"{device:x}-", "fff-")
        text = f'"device": {device}'.encode()
        site.queue.positions[new_name] = data.replace(text, b'"device": 4095')
    site.append("b.log", b"three\n")
    site.rename("b.log", "b.log.1")
    site.start()
    assert sorted(site.take()) == [b"one", b"three", b"two"]
    site.restart()
    assert site.take() == []
    assert not any(name.startswith("fff-") for name in site.queue.positions)


def test_messages_of_several_lines(tmp_path: Path) -> None:
    site = Site(tmp_path, begins=re.compile(rb"^\S").search)
    site.append("a.log", b"one\n at a\n")
    site.start()
    assert site.take() == []
    site.poll(3)
    site.restart()
    site.append("a.log", b" at b\ntwo\n")
    site.poll()
    assert site.take() == [b"one\n at a\n at b"]
    site.poll(4)
    assert site.take() == []
    site.poll(2)
    assert site.take() == [b"two"]
    site.restart()
    site.poll(10)
    assert site.take() == []
    site.append("a.log", b"three\n x\n")
    site.poll()
    (site.folder / "a.log").unlink()
    site.poll(10)
    assert site.take() == [b"three\n x"]
    site.crash()


def test_long_lines_are_cut_or_dropped(tmp_path: Path) -> None:
    site = Site(tmp_path, frame_bytes_max=5)
    site.append("a.log", b"short\nlonger\n")
    site.start()
    assert (site.take(), site.queue.cut) == ([b"short", b"longe"], [{1: 6}])
    assert (site.counters.truncated_records, site.notices.kinds) == (1, ["truncated"])
    site.crash()
    site._options["oversize"] = "drop"
    site.start()
    site.append("a.log", b"longer\nshort\n")
    site.poll()
    site.append("a.log", b"longer\n")
    site.poll()
    assert site.take() == [b"short"]
    assert site.counters.dropped == {"too-long": 2}
    assert (site.counters.received_records, site.counters.received_bytes) == (2, 10)
    said = f"{site.folder}/a.log: 1 longer than frame_bytes_max (5 B)"
    texts = [text for _, _, text in site.notices.said]
    assert texts == [f"{said}: cut there", f"{said}: dropped", f"{said}: dropped"]
    site.restart()
    assert site.counters.received_records == 0
    site.crash()


def test_big_files_are_read_in_turns(site: Site) -> None:
    line = b"x" * 99 + b"\n"
    count = 3 * CHUNK_BYTES // 100
    for name in ("a.log", "b.log"):
        site.append(name, line * count)
    site.queue.is_slow = True
    site.start()
    site.queue.settle()
    sizes = [sum(map(len, batch)) for batch in site.queue.batches]
    assert len(sizes) == 2
    assert max(sizes) <= CHUNK_BYTES
    site.queue.is_slow = False
    site.poll()
    site.turn()
    assert len(site.take()) == 2 * count


def test_a_line_longer_than_a_read(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.append("a.log", b"x" * (3 * CHUNK_BYTES) + b"\nnext\n")
    site.start()
    assert site.take() == [b"x" * 1000, b"next"]
    assert site.queue.cut == [{0: 3 * CHUNK_BYTES}]
    site.crash()


def test_nothing_is_read_while_admission_is_closed(site: Site) -> None:
    site.append("a.log", b"one\n")
    site.start()
    site.take()
    site.admission.set_queue_bytes(100)
    site.append("a.log", b"two\n")
    site.poll(3)
    assert site.take() == []
    assert site.reader is not None
    assert site.reader is not None
    assert site.reader.report()["files_behind"] == [
        {"path": f"{site.folder}/a.log", "behind_bytes": 4}
    ]
    assert site.counters.pauses == 1
    site.admission.set_queue_bytes(0)
    site.turn()
    assert site.take() == [b"two"]


def test_what_could_not_be_stored_is_read_again(site: Site) -> None:
    site.append("a.log", b"one\n")
    site.start()
    site.queue.is_failing = True
    site.append("a.log", b"two\n")
    site.poll()
    assert site.notices.kinds == ["not-stored"]
    site.queue.is_failing = False
    site.poll()
    assert site.take() == [b"one", b"two"]


def test_files_leave_descriptors_to_everybody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [32]
    monkeypatch.setattr("relay.transport.connections.descriptors_left", lambda: left[0])
    monkeypatch.setattr("relay.transport.connections.descriptors_limit", lambda: 1024)
    site = Site(tmp_path)
    site.append("a.log", b"a\n")
    reader = site.start()
    assert site.take() == [b"a"]
    left[0] = 31
    for name in ("b", "c"):
        site.append(f"{name}.log", b"%s\n" % name.encode())
    site.poll()
    assert site.take() == []
    assert (reader.report()["files_open"], reader.report()["files_refused"]) == (1, 2)
    assert site.notices.said[0] == (
        "source app",
        "descriptors",
        "2 files not read: 31 of 1,024 file descriptors are left, for connections and what the "
        "relay itself opens; raise LimitNOFILE= of the unit or ulimit -n, or lower files_max",
    )
    left[0] = 33
    site.poll()
    assert site.take() == [b"b", b"c"]
    assert reader.report()["files_refused"] == 0


def test_only_so_many_files_are_read(tmp_path: Path) -> None:
    site = Site(tmp_path, files_max=2)
    for name in ("a.log", "b.log", "c.log", "d.log"):
        site.append(name, name.encode() + b"\n")
    reader = site.start()
    assert site.take() == [b"a.log", b"b.log"]
    assert (reader.report()["files_open"], reader.report()["files_refused"]) == (2, 2)
    assert site.notices.said[0] == (
        "source app",
        "files_max",
        "2 files not read: more match than files_max (2)",
    )
    (site.folder / "a.log").unlink()
    site.poll()
    assert site.take() == [b"c.log"]
    site.crash()


def test_what_cannot_be_read_does_not_keep_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: str, *arguments: Any, **keywords: Any) -> int:
        if str(path).endswith("secret.log"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    site.append("secret.log", b"x\n")
    site.append("a.log", b"one\n")
    (site.folder / "dir.log").mkdir()
    site.start()
    assert site.take() == [b"one"]
    texts = [text for _, _, text in site.notices.said]
    assert f"{site.folder}/dir.log: is a directory" in texts[0]
    assert f"{site.folder}/secret.log: Permission denied; let the relay's user" in texts[1]
    assert site.reader is not None
    assert site.reader.report()["files_unreadable"] == 1
    monkeypatch.setattr(os, "open", real)
    site.poll()
    assert site.reader is not None
    assert site.reader.report()["files_unreadable"] == 0


def test_a_failing_disk_is_said_and_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.append("a.log", b"one\n")
    site.start()
    site.append("a.log", b"two\n")
    with monkeypatch.context() as broken:

        def fail_to_read(*arguments: Any) -> bytes:
            raise OSError(5, "Input/output error")

        broken.setattr(os, "pread", fail_to_read)
        site.poll(2)
    assert set(site.notices.kinds) == {"unreadable"}
    assert site.reader is not None
    assert site.reader.report()["files_unreadable"] == 1
    site.poll()
    assert site.take() == [b"one", b"two"]


def test_a_slow_search_is_not_repeated_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = site.start()
    runs: list[float] = []
    real = reader._files._search.run

    def slow() -> Any:
        runs.append(site.clock.seconds())
        site.clock.rightNow += 0.25
        return real()

    monkeypatch.setattr(reader._files._search, "run", slow)
    site.poll(12)
    assert 2 <= len(runs) <= 3


def test_a_name_that_is_not_utf_8(site: Site) -> None:
    path = os.fsencode(site.folder) + b"/\xff\n.log"
    with open(path, "wb") as file:
        file.write(b"one\n")
    site.start()
    assert site.take() == [b"one"]
    site.restart()
    assert site.take() == []
    os.truncate(path, 0)
    site.poll()
    assert site.said == [f"{site.folder}/\\xff\\n.log was truncated: reading from its start"]


def test_a_line_becomes_a_message_that_names_its_file(tmp_path: Path) -> None:
    line_format = LineFormat(pri=13, hostname=b"relay", tag=b"app")
    site = Site(tmp_path, line_format=line_format)
    with open(os.fsencode(tmp_path) + b"/\xff.log", "wb") as file:
        file.write(b"one\n")
    site.start()
    (message,) = site.take()
    assert message.startswith(b"<13>1 ") and message.endswith(b" one")
    assert b'file="%b/\\\\xff.log"' % os.fsencode(tmp_path) in message


def test_positions_that_cannot_be_stored_are_no_error(site: Site) -> None:
    site.queue.is_failing = True
    site.append("a.log", b"")
    site.start()
    assert (site.notices.said, site.queue.positions) == ([], {})


NAMES = st.sampled_from(["a", "b"])


class Rotations(RuleBasedStateMachine):
    """Programs write, rotate and truncate; the relay reads, crashes and starts again.

    A line may be lost only if its file was truncated or deleted before the line was
    stored, or renamed before the relay knew the file, or knew that it was truncated.
    """

    wildcard = "*.log"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="rotations-"))
        self.site = Site(self.folder, self.wildcard, files_max=1000)
        self.site.start()
        self.is_up = True
        self.number = 0
        self.files: list[list[bytes]] = []  # the lines of every file that there was
        self.lines: dict[str, list[bytes]] = {}  # of the file at a name
        self.rest: dict[str, bytes] = {}  # likewise: the line that is not complete
        self.known: set[str] = set()  # names whose file the relay can find again
        self.may_be_lost: set[bytes] = set()
        self.truncated: set[bytes] = set()  # lines that were in a file when it was truncated

    def append(self, name: str, data: bytes) -> None:
        if name not in self.lines:
            self.lines[name], self.rest[name] = [], b""
            self.files.append(self.lines[name])
        self.site.append(f"{name}.log", data)
        *lines, self.rest[name] = (self.rest[name] + data).split(b"\n")
        self.lines[name] += lines

    def leave(self, name: str) -> list[bytes]:
        """The file loses its name; its last line needs no LF then."""
        lines, rest = self.lines.pop(name), self.rest.pop(name)
        if rest:
            lines.append(rest)
        if name not in self.known:
            self.may_be_lost |= set(lines)
        self.known.discard(name)
        return lines

    @rule(name=NAMES, count=st.integers(0, 40))
    def append_lines(self, name: str, count: int) -> None:
        numbers = range(self.number, self.number + count)
        self.number += count
        self.append(name, b"".join(b"%s %d\n" % (name.encode(), number) for number in numbers))

    @rule(name=NAMES)
    def append_half_a_line(self, name: str) -> None:
        self.number += 1
        self.append(name, b"half %d;" % self.number)

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def rename(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.lines)))
        self.leave(name)
        self.number += 1
        self.site.rename(f"{name}.log", f"{name}.log.{self.number}")

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.lines)))
        was_open = self.is_up and name in self.known
        lines = self.leave(name)
        if not was_open:
            self.may_be_lost |= set(lines)
        (self.folder / f"{name}.log").unlink()

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.lines)))
        lines = set(self.leave(name))
        self.may_be_lost |= lines
        self.truncated |= lines
        os.truncate(self.folder / f"{name}.log", 0)
        self.append(name, b"")

    @precondition(lambda self: self.is_up)
    @rule(seconds=st.sampled_from([1, 1, 1, 65]))
    def poll(self, seconds: int) -> None:
        self.site.poll(seconds)
        self.known = set(self.lines)

    @rule(is_slow=st.booleans())
    def disk(self, is_slow: bool) -> None:
        self.site.queue.is_slow = is_slow
        if not is_slow:
            self.site.queue.settle()

    @precondition(lambda self: self.is_up)
    @rule()
    def crash(self) -> None:
        self.site.crash()
        self.is_up = False
        there = b"\n".join(path.read_bytes() for path in self.folder.iterdir()).split(b"\n")
        everything = {line for lines in self.files for line in lines}
        self.may_be_lost |= everything - set(there) - set(self.site.queue.lines)
        for path in self.folder.glob("*.log.*"):  # renamed, and not known by now
            if not self.is_stored(path):
                self.may_be_lost |= set(path.read_bytes().split(b"\n"))
        self.known = {name for name in self.known if self.is_stored(self.folder / f"{name}.log")}

    def is_stored(self, path: Path) -> bool:
        status = os.stat(path)
        name = f"{status.st_dev:x}-{status.st_ino:x}"
        position = parse_position(self.site.queue.positions.get(name, b""))
        if position is None:
            return False
        with path.open("rb") as file:  # the inode may have been another file's
            return fits(file.fileno(), position)

    @precondition(lambda self: not self.is_up)
    @rule()
    def start(self) -> None:
        self.site.start()
        self.is_up = True
        self.known = set(self.lines)

    @invariant()
    def nothing_is_repeated(self) -> None:
        lines = self.site.queue.lines
        assert len(lines) == len(set(lines))

    def teardown(self) -> None:
        try:
            for name, rest in self.rest.items():
                if rest:
                    self.append(name, b"\n")
            if not self.is_up:
                self.start()
            self.disk(is_slow=False)
            self.site.poll(70)
            delivered = self.site.queue.lines
            place = {line: number for number, line in enumerate(delivered)}
            assert len(delivered) == len(place)
            # Of a line that was not complete when it was read, only a part may be left.
            for line in set(delivered) - {line for lines in self.files for line in lines}:
                assert any(whole.startswith(line) for whole in self.truncated)
            for lines in self.files:
                assert {line for line in lines if line not in place} <= self.may_be_lost
                places = [place[line] for line in lines if line in place]
                assert places == sorted(places)
        finally:
            self.site.crash()
            shutil.rmtree(self.folder)


TestRotations = pytest.mark.slow(Rotations.TestCase)
TestRotations.settings = settings(max_examples=100, stateful_step_count=40, derandomize=True)
