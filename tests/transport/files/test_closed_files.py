from __future__ import annotations

import errno
import gzip
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from relay.model.clock import WallClock
from relay.transport.files import closed_files
from relay.transport.files.closed_files import ClosedFiles, Keeping, MadeFiles, close_file

NOW = 1_800_000_000.0
STAMP = "20270115T080000Z"
HOUR, DAY = 3600.0, 86400.0


class Setup:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.made = MadeFiles(str(root), "out", is_kept=True)
        self.warnings: list[tuple[str, str]] = []

    def files(
        self, *, compress: str = "", keeping: Keeping | None = None, kept_always: str = ""
    ) -> ClosedFiles:
        return ClosedFiles(
            self.made,
            root=str(self.root),
            kept_always=kept_always,
            compress=compress,
            keeping=keeping or Keeping(),
            wall=WallClock(now=lambda: NOW, elapsed=lambda: NOW),
            say=lambda *what: self.warnings.append(what),
        )

    def write(self, name: str, text: bytes = b"text\n", *, age: float = 0.0) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        os.utime(path, (NOW - age, NOW - age))
        return path

    def names(self) -> list[str]:
        """All files but the list of them."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_file() and path.name != ".syslogrelay-out"
        )


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def unpacked(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()


# The list of files.


def test_files_are_known_after_a_start(setup: Setup) -> None:
    setup.made.add("a/b.log")
    setup.made.add("a/b.log")
    setup.made.add("c")
    again = MadeFiles(str(setup.root), "out", is_kept=True)
    again.read()
    assert again.names == {"a/b.log", "c"}
    again.forget(["c"])
    third = MadeFiles(str(setup.root), "out", is_kept=True)
    third.read()
    assert third.names == {"a/b.log"}
    assert MadeFiles(str(setup.root), "other", is_kept=True).names == set()


def test_a_name_that_was_being_written_at_the_end_is_none(setup: Setup) -> None:
    (setup.root / ".syslogrelay-out").write_bytes(b"a\nb\nhal")
    setup.made.read()
    assert setup.made.names == {"a", "b"}
    setup.made.add("c")
    assert (setup.root / ".syslogrelay-out").read_bytes() == b"a\nb\nc\n"


def test_a_full_disk_leaves_no_half_of_a_name(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.made.add("a")

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        setup.made.add("b")
    assert (setup.root / ".syslogrelay-out").read_bytes() == b"a\n"
    assert setup.made.names == {"a"}


def test_the_list_is_no_link(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (setup.root / ".syslogrelay-out").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        setup.made.add("a")


# Closing.


def test_a_closed_file_has_a_name_of_its_own(setup: Setup) -> None:
    setup.write(f"web/a.log.{STAMP}-1.zst")
    for _ in range(3):
        setup.write("web/a.log")
        close_file(str(setup.root), "web/a.log", NOW)
    assert setup.names() == [
        f"web/a.log.{STAMP}",
        f"web/a.log.{STAMP}-1.zst",
        f"web/a.log.{STAMP}-2",
        f"web/a.log.{STAMP}-3",
    ]


# Compression.


@pytest.mark.parametrize(("kind", "ending"), [("zstd", ".zst"), ("gzip", ".gz")])
def test_closed_files_are_compressed(setup: Setup, kind: str, ending: str) -> None:
    setup.made.add("web/a.log")
    setup.write("web/a.log", b"open\n")
    text = b"line\n" * 500_000
    closed = setup.write(f"web/a.log.{STAMP}", text, age=DAY)
    closed.chmod(0o604)
    files = setup.files(compress=kind)
    files.compress()
    files.compress()
    assert setup.names() == ["web/a.log", f"web/a.log.{STAMP}{ending}"]
    compressed = closed.with_name(closed.name + ending)
    assert unpacked(compressed) == text
    status = compressed.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o604, NOW - DAY)
    assert files.compressed_files == 1


def test_only_files_that_the_destination_has_made(setup: Setup) -> None:
    setup.made.add("web/a.log")
    others = ["a.log", f"a.log.{STAMP}", f"web/b.log.{STAMP}", "web/a.log.1", "web/xa.log"]
    for name in others:
        setup.write(name, age=9 * DAY)
    (setup.root / f"web/a.log.{STAMP}-7").symlink_to(setup.root / "a.log")
    files = setup.files(compress="zstd", keeping=Keeping(seconds=HOUR, size=1, files=1))
    files.compress()
    files.remove_surplus()
    assert setup.names() == sorted([*others, f"web/a.log.{STAMP}-7"])
    assert setup.warnings == []


def test_a_relay_that_ended_while_it_compressed_begins_again(setup: Setup) -> None:
    setup.made.add("a")
    setup.write(f"a.{STAMP}", b"whole\n")
    setup.write(f"a.{STAMP}.zst.part", b"half")
    setup.files(compress="zstd").compress()
    assert setup.names() == [f"a.{STAMP}.zst"]
    assert unpacked(setup.root / f"a.{STAMP}.zst") == b"whole\n"


def test_a_relay_that_ended_before_it_removed_the_original_does_not_compress_it_twice(
    setup: Setup,
) -> None:
    setup.made.add("a")
    setup.write(f"a.{STAMP}", b"whole\n")
    setup.write(f"a.{STAMP}.gz", gzip.compress(b"whole\n"))
    setup.files(compress="zstd").compress()
    assert setup.names() == [f"a.{STAMP}.gz"]


def fail_with(error: OSError) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_a_failure_leaves_the_original(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.made.add("web/a")
    setup.write(f"web/a.{STAMP}", b"whole\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_with(OSError(errno.ENOSPC, "No space left on device")))
        setup.files(compress="zstd").compress()
    assert setup.names() == [f"web/a.{STAMP}"]
    text = f"{setup.root}/web/a.{STAMP}: cannot compress it: No space left on device"
    assert setup.warnings == [("compress", text)]


def test_a_file_that_cannot_be_compressed_keeps_no_other_from_it(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.made.add("web/a")
    names = [f"web/a.20270114T0{hour}0000Z" for hour in (1, 2, 3)]
    for age, name in enumerate(names):
        setup.write(name, age=age)
    utime = os.utime

    def refused(fd: int, *, ns: tuple[int, int]) -> None:
        if ns[1] == int((NOW - 1) * 1e9):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        utime(fd, ns=ns)

    monkeypatch.setattr(os, "utime", refused)
    files = setup.files(compress="gzip")
    files.compress()
    assert setup.names() == [f"{names[0]}.gz", names[1], f"{names[2]}.gz"]
    assert files.compressed_files == 2
    text = f"{setup.root}/{names[1]}: cannot compress it: Operation not permitted"
    assert setup.warnings == [("compress", text)]


def test_compression_ends_when_the_relay_stops(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.made.add("a")
    setup.write(f"a.{STAMP}", b"x" * 3_000_000)
    files = setup.files(compress="gzip")
    new = closed_files._compressor

    def stop_meanwhile(*arguments: Any) -> Any:
        files.is_interrupted = True
        return new(*arguments)

    monkeypatch.setattr(closed_files, "_compressor", stop_meanwhile)
    files.compress()
    assert setup.names() == [f"a.{STAMP}"]
    assert (files.compressed_files, setup.warnings) == (0, [])


# What is kept.


def test_old_files_go(setup: Setup) -> None:
    setup.made.add("2027/01/a.log")
    setup.made.add("2027/02/a.log")
    setup.made.add("b.log")
    setup.write("2027/01/a.log", age=3 * DAY)
    setup.write(f"2027/02/a.log.{STAMP}.zst", age=3 * DAY)
    setup.write("2027/02/a.log", age=DAY)
    setup.write("b.log", age=HOUR / 2)
    setup.files(keeping=Keeping(seconds=2 * DAY)).remove_surplus()
    assert setup.names() == ["2027/02/a.log", "b.log"]
    assert not (setup.root / "2027" / "01").exists()  # nothing else was in it
    assert setup.made.names == {"2027/02/a.log", "b.log"}


def test_the_oldest_go_first_and_no_open_one(setup: Setup) -> None:
    for name in ("a", "b", "c"):
        setup.made.add(name)
    setup.write("a", b"x" * 60, age=HOUR / 2)
    setup.write("b", b"x" * 30, age=2 * DAY)
    setup.write(f"c.{STAMP}", b"x" * 30, age=DAY)
    setup.write(f"c.{STAMP}-1", b"x" * 30, age=3 * DAY)
    files = setup.files(keeping=Keeping(size=100))
    files.remove_surplus()
    assert setup.names() == ["a", f"c.{STAMP}"]
    assert files.removed_files == 2
    setup.files(keeping=Keeping(size=10)).remove_surplus()
    assert setup.names() == ["a"]


def test_so_many_closed_files_of_each(setup: Setup) -> None:
    for name in ("a", "b"):
        setup.made.add(name)
        for day in (1, 2, 3):
            setup.write(f"{name}.{STAMP}-{day}", age=day * DAY)
    setup.write("a", age=9 * DAY)
    setup.files(keeping=Keeping(files=2)).remove_surplus()
    kept = [f"{name}.{STAMP}-{day}" for name in ("a", "b") for day in (1, 2)]
    assert setup.names() == ["a", *kept]


def test_the_file_of_a_path_without_macros_stays(setup: Setup) -> None:
    setup.made.add("a")
    setup.write("a", age=9 * DAY)
    setup.files(keeping=Keeping(seconds=DAY, size=1), kept_always="a").remove_surplus()
    assert setup.names() == ["a"]


def test_what_cannot_be_removed_is_said(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.made.add("a")
    setup.write("a", age=9 * DAY)
    monkeypatch.setattr(os, "unlink", fail_with(OSError(errno.EPERM, "not permitted")))
    setup.files(keeping=Keeping(seconds=DAY)).remove_surplus()
    assert setup.warnings == [("keep", f"{setup.root}/a: cannot remove it: not permitted")]
