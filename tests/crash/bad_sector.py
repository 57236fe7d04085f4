"""Programs for which a page of a queue's file cannot be read, as on a disk with a bad sector."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from relay.queue.repair.pages import Entry, PageFile, Tree
from relay.queue.repair.verify import opened_file

__all__ = ["PAGE", "BadSectors", "leaf_pages", "value_pages"]

PAGE = 4096


class BadSectors:
    """The library that makes a page unreadable, compiled into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "bad_sector.so"
        source = Path(__file__).with_name("bad_sector.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)

    def environment(self, file: Path, page: int) -> Mapping[str, str]:
        """That of a process which cannot read `page` of `file`."""
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "BAD_INODE": str(file.stat().st_ino),
            "BAD_OFFSET": str(page * PAGE),
            "BAD_LENGTH": str(PAGE),
        }


def _entries(file: PageFile, name: bytes) -> tuple[Tree, list[Entry]]:
    snapshot = file.snapshots[0]
    names = file.walk(snapshot.names, "names", file.audit(snapshot))
    tree = next(tree for entry in names if entry.key == name and (tree := file.tree(entry)))
    return tree, list(file.walk(tree, "", file.audit(snapshot)))


def value_pages(queue: Path, name: bytes) -> list[range]:
    """The pages of each large value of a tree."""
    with opened_file(str(queue)) as file:
        _, entries = _entries(file, name)
    big = [entry for entry in entries if entry.size > PAGE]
    return [range(e.offset // PAGE, (e.offset + e.size - 1) // PAGE + 1) for e in big]


def leaf_pages(queue: Path, name: bytes) -> int:
    """The root of a tree, which is its only leaf or a branch."""
    with opened_file(str(queue)) as file:
        return _entries(file, name)[0].root
