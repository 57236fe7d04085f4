from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.model.clock import WallClock
from relay.rewrite.forms.record_key import with_key
from relay.transport.files.closed_files import ClosedFiles, Keeping, MadeFiles
from relay.transport.files.file_tree import FileOptions, FileTree, NewFiles

START = 1_800_000_000.0
DAY = 86400.0


class Tree:
    """A tree in `root`, with a clock."""

    def __init__(
        self,
        root: Path,
        *,
        compress: str = "",
        keeping: Keeping = Keeping(),  # noqa: B008
        **options: Any,
    ) -> None:
        self.root = root
        self.now = START
        self.warnings: list[tuple[str, str]] = []
        wall = WallClock(now=lambda: self.now, elapsed=lambda: self.now)
        self.made = MadeFiles(str(root), "out", is_kept=True)
        self.closed = ClosedFiles(
            self.made,
            root=str(root),
            kept_always=options.get("only", ""),
            compress=compress,
            keeping=keeping,
            wall=wall,
            say=lambda *what: self.warnings.append(what),
        )
        self.tree = FileTree(
            FileOptions(root=str(root), **options),
            made=self.made,
            closed=self.closed,
            wall=wall,
            say=lambda *what: self.warnings.append(what),
        )

    def add(self, *records: tuple[str, str], peer: str = "10.0.0.1") -> str:
        """Append records, each with the name of its file and its text."""
        return self.tree.append(
            [with_key(f"{peer} {name}".encode(), text.encode()) for name, text in records]
        )

    def texts(self) -> dict[str, str]:
        """All files that senders see."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def test_each_record_goes_to_the_file_that_its_key_names(tree: Tree) -> None:
    assert tree.add(("a/1.log", "one"), ("b/1.log", "two"), ("a/1.log", "three\nlines")) == ""
    tree.add(("a/1.log", "four"))
    assert tree.texts() == {"a/1.log": "one\nthree#012lines\nfour\n", "b/1.log": "two\n"}
    assert (tree.tree.made_files, tree.tree.open_files) == (2, 2)
    tree.tree.close()


@pytest.mark.parametrize(
    "record", [b"text", with_key(b"10.0.0.1 ../x", b"text"), with_key(b"10.0.0.1 /x", b"text")]
)
def test_a_record_without_a_usable_key_is_not_lost(tree: Tree, record: bytes) -> None:
    tree.tree.append([record])
    assert tree.texts() == {"_overflow.log": "text\n"}
    assert not (tree.root.parent / "x").exists()
    assert tree.tree.overflow_records == 1
    assert tree.warnings[0][1].startswith("1 message without the name of a file, from another path")


def test_one_file_for_all_needs_no_keys(tmp_path: Path) -> None:
    tree = Tree(tmp_path, only="out.log")
    tree.tree.append((), reopen=True)
    assert tree.texts() == {"out.log": ""}
    tree.tree.append([b"one", b"two"])
    assert tree.texts() == {"out.log": "one\ntwo\n"}


def test_a_batch_is_in_all_files_or_in_none(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.add(("a", "1"), ("b", "1"))
    sync, syncs = os.fdatasync, [0]

    def fail_at_the_second(fd: int) -> None:
        syncs[0] += 1
        if syncs[0] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", fail_at_the_second)
    with pytest.raises(OSError, match="No space left") as raised:
        tree.add(("a", "2"), ("b", "2"))
    assert raised.value.filename == str(tree.root / "b")
    assert tree.texts() == {"a": "1\n", "b": "1\n"}
    tree.add(("a", "2"), ("b", "2"))
    assert tree.texts() == {"a": "1\n2\n", "b": "1\n2\n"}


def test_more_files_than_may_be_open_are_written_in_turns(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path / "few", files_open_max=2)
    names = "abcab"
    tree.add(*((name, str(index)) for index, name in enumerate(names)))
    assert tree.texts() == {"a": "0\n3\n", "b": "1\n4\n", "c": "2\n"}
    assert tree.tree.open_files == 2
    write = os.write

    def full(fd: int, data: Any) -> int:
        if bytes(data) == b"7\n":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        tree.add(("a", "5"), ("b", "6"), ("c", "7"), ("a", "8"))
    assert tree.texts() == {"a": "0\n3\n", "b": "1\n4\n", "c": "2\n"}
    assert tree.tree.batch_records < 8192


def test_a_sender_with_too_many_new_files_gets_them_in_one(tmp_path: Path) -> None:
    tree = Tree(tmp_path, files_new_per_peer_max=2)
    for name in "abcd":
        tree.add((name, name))
    tree.add(("e", "other"), peer="10.0.0.2")
    tree.add(("a", "again"))
    assert tree.texts() == {
        "_overflow.log": "c\nd\n",
        "a": "a\nagain\n",
        "b": "b\n",
        "e": "other\n",
    }
    assert tree.tree.overflow_records == 2
    assert tree.warnings[0] == (
        "overflow",
        f"1 message for {tmp_path}/c: 10.0.0.1 has caused more new files in an hour than "
        f"files_new_per_peer_max = 2; written to {tmp_path}/_overflow.log",
    )
    tree.now += 3600
    tree.add(("c", "later"))
    assert tree.texts()["c"] == "later\n"


def test_files_that_are_there_count_for_nobody(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text("before\n")
    tree = Tree(tmp_path, files_new_per_peer_max=1)
    tree.add(*((name, name) for name in "abcd"))
    assert tree.texts()["d"] == "d\n"
    assert tree.tree.overflow_records == 0


def test_many_senders_share_a_count() -> None:
    new = NewFiles(1, lambda: 0.0)
    assert all(new.allow(b"%d" % peer) for peer in range(1000))
    assert [new.allow(b"x"), new.allow(b"y"), new.allow(b"1")] == [True, False, False]


@pytest.mark.parametrize("link", ["web", "web/1.log"])
def test_a_link_that_leads_out_is_not_followed_and_nothing_is_lost(tree: Tree, link: str) -> None:
    outside = tree.root.parent / "outside"
    outside.mkdir()
    (outside / "1.log").write_text("")
    (tree.root / link).parent.mkdir(parents=True)
    (tree.root / link).symlink_to(outside if link == "web" else outside / "1.log")
    tree.add(("web/1.log", "text"), ("db/1.log", "other"), ("web/1.log", "more"))
    assert (outside / "1.log").read_text() == ""
    assert (tree.root / "_overflow.log").read_text() == "text\nmore\n"
    assert (tree.root / "db" / "1.log").read_text() == "other\n"
    assert tree.tree.overflow_records == 2
    (warning,) = tree.warnings
    assert warning[1] == (
        f"2 messages for {tree.root}/web/1.log: it is a link, or not what belongs there; "
        f"written to {tree.root}/_overflow.log"
    )


def test_a_directory_that_becomes_a_link_is_noticed(tree: Tree) -> None:
    tree.add(("web/1.log", "one"))
    (tree.root / "web").rename(tree.root.parent / "moved")
    outside = tree.root.parent / "outside"
    outside.mkdir()
    (tree.root / "web").symlink_to(outside)
    tree.add(("web/1.log", "two"))
    assert [*outside.iterdir()] == []
    assert (tree.root / "_overflow.log").read_text() == "two\n"


def test_a_renamed_file_is_made_again(tree: Tree) -> None:
    tree.add(("a", "one"), ("b", "one"))
    (tree.root / "a").rename(tree.root / "a.1")
    text = f"{tree.root}/a was renamed or replaced; opened it again by its name"
    assert tree.add(("a", "two"), ("b", "two")) == text
    assert tree.texts() == {"a": "two\n", "a.1": "one\n", "b": "one\ntwo\n"}
    (tree.root / "a").unlink()
    (tree.root / "b").rename(tree.root / "b.1")
    assert tree.tree.append(()).startswith(f"{tree.root}/a was removed")
    assert tree.tree.append(()) == ""
    tree.add(("a", "three"))
    assert tree.texts()["a"] == "three\n"


def test_reopening_closes_all_and_looks_at_the_directory(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add(("a", "one"))
    tree.tree.append((), reopen=True)
    assert tree.tree.open_files == 0
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(PermissionError, match="may not write to it, owned by") as raised:
        tree.tree.append((), reopen=True)
    assert raised.value.filename == str(tree.root)


# Rotation.


def test_a_file_is_closed_before_it_grows_too_large(tmp_path: Path) -> None:
    tree = Tree(tmp_path, rotate_bytes=10)
    for text in ("12345", "678", "9", "x" * 20, "y"):
        tree.add(("a", text))
    assert tree.texts() == {
        "a": "y\n",
        "a.20270115T080000Z": "12345\n678\n",
        "a.20270115T080000Z-1": "9\n",
        "a.20270115T080000Z-2": "x" * 20 + "\n",
    }


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is five hours behind UTC: START is 03:00."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_a_file_is_closed_at_midnight(tmp_path: Path) -> None:
    tree = Tree(tmp_path, rotate_seconds=DAY)
    tree.add(("a", "one"))
    tree.now += 20.9 * 3600
    tree.add(("a", "two"), ("b", "two"))
    assert [*tree.texts()] == ["a", "b"]
    tree.now += 0.2 * 3600
    tree.add(("a", "three"))
    assert tree.texts() == {"a": "three\n", "a.20270116T050600Z": "one\ntwo\n", "b": "two\n"}
    tree.tree.tidy()
    assert "b.20270116T050600Z" in tree.texts()
    tree.tree.tidy()
    assert len(tree.texts()) == 3
    again = Tree(tmp_path, rotate_seconds=DAY)
    os.utime(tmp_path / "a", (tree.now, tree.now))
    again.now = tree.now + DAY
    again.add(("a", "four"))
    assert again.texts()["a"] == "four\n"


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize(
    ("unit", "before", "after"),
    [  # seconds after 2027-01-15 03:00:00 in New York
        ("minute", 659, 660),
        ("hour", 3599, 3600),
        ("day", 21 * 3600 - 1, 21 * 3600),
        ("week", 21 * 3600 + 2 * DAY - 1, 21 * 3600 + 2 * DAY),
        ("month", 21 * 3600 + 16 * DAY - 1, 21 * 3600 + 16 * DAY),
        ("year", 21 * 3600 + 350 * DAY - 1, 21 * 3600 + 350 * DAY),
    ],
)
def test_a_file_is_closed_when_the_date_in_its_name_has_passed(
    tmp_path: Path, unit: str, before: float, after: float
) -> None:
    tree = Tree(tmp_path, unit=unit)
    tree.add(("a", "one"))
    if unit == "minute":
        tree.now += 60
        tree.add(("a", "late"))
    start = START
    tree.now = start + before
    tree.tree.tidy()
    assert [*tree.texts()] == ["a"]
    tree.now = start + after
    tree.tree.tidy()
    ((name, text),) = tree.texts().items()
    assert name.startswith("a.20")
    assert text.startswith("one\n")
    # A late message is in no closed file, and waits for the next date.
    tree.add(("a", "later"))
    tree.tree.tidy()
    assert tree.texts()["a"] == "later\n"
    assert tree.tree.overflow_records == 0


def test_ten_minutes_are_for_late_messages(tmp_path: Path) -> None:
    tree = Tree(tmp_path, unit="hour")
    tree.now += 3590  # ten seconds before the next hour
    tree.add(("a", "one"))
    tree.now += 300
    tree.tree.tidy()
    tree.add(("a", "late"))
    assert tree.texts() == {"a": "one\nlate\n"}
    tree.now += 4000
    tree.tree.tidy()
    assert [*tree.texts()] == ["a.20270115T101130Z"]


def test_a_file_of_a_date_is_closed_after_a_start_too(tmp_path: Path) -> None:
    Tree(tmp_path, unit="day").add(("a", "one"))
    os.utime(tmp_path / "a", (START, START))
    again = Tree(tmp_path, unit="day", compress="gzip")
    again.now = START + 2 * DAY
    again.tree.tidy()
    again.closed.compress()
    assert [path.suffix for path in tmp_path.iterdir() if path.name[0] != "."] == [".gz"]


def test_a_file_that_is_rotated_is_nobodys_new_file(tmp_path: Path) -> None:
    tree = Tree(tmp_path, rotate_bytes=1, files_new_per_peer_max=1)
    for _ in range(3):
        tree.add(("a", "text"))
    assert tree.tree.overflow_records == 0


def test_a_file_that_cannot_be_rotated_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    tree = Tree(tmp_path, rotate_bytes=1)
    monkeypatch.setattr(os, "rename", fail)
    tree.add(("a", "one"))
    tree.add(("a", "two"))
    assert tree.texts() == {"a": "one\ntwo\n"}
    assert tree.warnings[0][1].startswith(
        f"{tmp_path}/a: cannot rotate it: Permission denied: user"
    )


def test_what_was_closed_is_compressed_and_removed_in_time(tmp_path: Path) -> None:
    tree = Tree(tmp_path, rotate_bytes=1, compress="gzip", keeping=Keeping(files=2))
    for text in "abcde":
        tree.add(("x", text))
        os.utime(tmp_path / "x", (tree.now, tree.now))
        tree.now += 1
    tree.tree.tidy()
    tree.closed.compress()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[1:] == ["x", "x.20270115T080003Z.gz", "x.20270115T080004Z.gz"]
    assert tree.closed.text == "compressed 2 closed files, removed 2 old files"


def test_only_the_file_that_grew_is_rotated(tmp_path: Path) -> None:
    tree = Tree(tmp_path, rotate_bytes=10)
    tree.add(("a", "x" * 9))
    (tmp_path / "a").rename(tmp_path / "a.1")
    (tmp_path / "a").write_text("new\n")
    assert (
        tree.add(("a", "y")) == f"{tmp_path}/a was renamed or replaced; opened it again by its name"
    )
    assert tree.texts() == {"a": "new\ny\n", "a.1": "x" * 9 + "\n"}
    (tmp_path / "a").unlink()
    assert "a was removed" in tree.add(("a", "z" * 9))
    assert tree.texts() == {"a": "z" * 9 + "\n", "a.1": "x" * 9 + "\n"}
    assert tree.warnings == []


def test_an_overflow_file_that_is_a_link_keeps_the_records_in_the_queue(tree: Tree) -> None:
    tree.root.mkdir()
    (tree.root.parent / "victim").write_text("")
    (tree.root / "_overflow.log").symlink_to(tree.root.parent / "victim")
    with pytest.raises(OSError, match="is a link, or not what belongs there") as raised:
        tree.tree.append([b"text"])
    assert raised.value.filename == f"{tree.root}/_overflow.log"
    assert (tree.root.parent / "victim").read_text() == ""


def test_many_files_in_one_batch_are_synced_before_it_ends(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tree.root, files_open_max=20)
    synced: set[int] = set()
    sync = os.fdatasync

    def note(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", note)
    names = [f"{number % 50}" for number in range(200)]
    tree.add(*((name, name) for name in names))
    assert tree.texts() == {name: f"{name}\n" * 4 for name in names}
    assert synced == {(tree.root / name).stat().st_ino for name in names}
    assert tree.tree.open_files == 20
