from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relay.transport.files.search import (
    FileSearch,
    identity_of,
    inodes_in,
    printable_path,
)


def paths(folder: Path, wildcard: str) -> list[str]:
    found = FileSearch(f"{folder}/{wildcard}").run()
    assert found.problems == []
    return [os.path.relpath(path, folder) for path in found.files.values()]


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_what_is_found(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "b.log", "c.txt", ".d.log", "x/e.log", "y/z/f.log", ".h/g.log")
    assert paths(tmp_path, "a.log") == ["a.log"]
    assert paths(tmp_path, "*.log") == ["a.log", "b.log"]
    assert paths(tmp_path, "[bc].*") == ["b.log", "c.txt"]
    assert paths(tmp_path, "?/*.log") == ["x/e.log"]
    assert paths(tmp_path, "**/*.log") == ["a.log", "b.log", "x/e.log", "y/z/f.log"]
    assert paths(tmp_path, "**/z/**") == ["y/z/f.log"]
    assert paths(tmp_path, "nothing/*.log") == []
    assert paths(tmp_path, "a.log/*.log") == []
    assert paths(tmp_path, "nothing.log") == []


def test_a_file_is_found_once_by_the_first_of_its_names(tmp_path: Path) -> None:
    make(tmp_path, "real/b.log")
    (tmp_path / "a.log").symlink_to("real/b.log")
    (tmp_path / "c.log").symlink_to("nowhere")
    os.link(tmp_path / "real/b.log", tmp_path / "d.log")
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path, "*.log") == ["a.log"]
    assert paths(tmp_path, "li*/*.log") == ["link/b.log"]


def test_links_cannot_lead_round_in_circles(tmp_path: Path) -> None:
    make(tmp_path, "x/a.log")
    (tmp_path / "x/loop").symlink_to("..")
    assert paths(tmp_path, "**/*.log") == ["x/a.log"]


def test_what_is_no_regular_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder.log").mkdir()
    os.mkfifo(tmp_path / "pipe.log")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.log"))
    found = FileSearch(f"{tmp_path}/*.log").run()
    assert found.files == {}
    assert [(os.path.basename(path), text.split(",")[0]) for path, text in found.problems] == [
        ("folder.log", "is a directory"),
        ("pipe.log", "is a FIFO"),
        ("s.log", "is a socket"),
    ]
    for name in ("folder.log", "pipe.log"):
        with pytest.raises(OSError, match="only regular files are read"):
            FileSearch(f"{tmp_path}/*.log").open(str(tmp_path / name))
    assert "is a device" in FileSearch("/dev/null").run().problems[0][1]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that a link leads to from where somebody else may write."""
    make(tmp_path, "secret/shadow", "logs/a.log")
    return tmp_path / "secret/shadow"


def refusal(tmp_path: Path, target: Path) -> str:
    return (
        f"leads to {target}, outside of {tmp_path}/logs; "
        "if that is intended, set follow_symlinks = true"
    )


def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path, outside: Path) -> None:
    link = tmp_path / "logs/b.log"
    link.symlink_to(outside)
    search = FileSearch(f"{tmp_path}/logs/*.log")
    found = search.run()
    assert list(found.files.values()) == [f"{tmp_path}/logs/a.log"]
    assert found.problems == [(str(link), refusal(tmp_path, outside))]
    with pytest.raises(OSError, match="outside of"):
        search.open(str(link))


@pytest.mark.parametrize("wildcard", ["*/shadow", "**/shadow", "x/shadow"])
def test_nor_is_one_of_a_directory(tmp_path: Path, outside: Path, wildcard: str) -> None:
    (tmp_path / "logs/x").symlink_to(outside.parent)
    search = FileSearch(f"{tmp_path}/logs/{wildcard}")
    assert not search.run().files or wildcard == "x/shadow"  # which names the link itself
    if wildcard != "x/shadow":
        with pytest.raises(OSError, match="outside of"):
            search.open(str(tmp_path / "logs/x/shadow"))


def test_a_path_without_wildcards_may_not_be_a_link_elsewhere_either(
    tmp_path: Path, outside: Path
) -> None:
    link = tmp_path / "logs/b.log"
    link.symlink_to(outside)
    assert FileSearch(str(link)).run().problems == [(str(link), refusal(tmp_path, outside))]


def test_a_link_that_took_the_place_of_a_file_is_not_opened(tmp_path: Path, outside: Path) -> None:
    search = FileSearch(f"{tmp_path}/logs/*.log")
    ((path,),) = (search.run().files.values(),)
    os.unlink(path)
    os.symlink(outside, path)
    with pytest.raises(OSError, match="outside of"):
        search.open(path)


def test_links_within_the_directory_and_the_directorys_own_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/sub/a.txt")
    (tmp_path / "logs").symlink_to("real")
    (tmp_path / "real/current.log").symlink_to("sub/a.txt")
    search = FileSearch(f"{tmp_path}/logs/*.log")
    found = search.run()
    assert (list(found.files.values()), found.problems) == ([f"{tmp_path}/logs/current.log"], [])
    os.close(search.open(f"{tmp_path}/logs/current.log"))


def test_links_are_followed_everywhere_where_that_is_intended(
    tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "logs/b.log").symlink_to(outside)
    search = FileSearch(f"{tmp_path}/logs/*.log", follow_symlinks=True)
    assert len(search.run().files) == 2
    os.close(search.open(f"{tmp_path}/logs/b.log"))


def test_what_cannot_be_listed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = FileSearch(f"{tmp_path}/x/*.log").run()
    assert found.problems == [
        (
            f"{tmp_path}/x",
            "Permission denied; let the relay's user read it, with a group such as adm for example",
        )
    ]
    assert inodes_in(str(tmp_path)) == {}


def test_a_search_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.transport.files.search._DIRECTORIES_MAX", 3)
    make(tmp_path, *(f"{number}/a.log" for number in range(5)))
    found = FileSearch(f"{tmp_path}/**/*.log").run()
    assert "narrow the wildcard" in found.problems[0][1]


def test_who_has_an_inode(tmp_path: Path) -> None:
    make(tmp_path, "a")
    status = os.stat(tmp_path / "a")
    assert inodes_in(str(tmp_path)) == {status.st_ino: f"{tmp_path}/a"}
    assert identity_of(status) == (status.st_dev, status.st_ino)


def test_paths_for_people() -> None:
    assert printable_path("/var/ä b.log") == "/var/ä b.log"
    assert printable_path(os.fsdecode(b"/\xff")) == r"/\xff"
    assert printable_path("/a\n\x1b") == r"/a\n\x1b"
