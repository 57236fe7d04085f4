"""What a process has used, read from /proc; and how often it synced, counted by strace."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Usage", "Watch", "counting_syncs", "sync_count", "traced_pid"]

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.1


class Usage(NamedTuple):
    cpu_seconds: float
    peak_bytes: int
    """Resident, mapped files included: LMDB's pages are page cache, and count here."""
    anonymous_bytes: int
    """The most of its own memory, in samples."""
    written_bytes: int
    """To files (write_bytes of /proc/PID/io)."""


class Watch:
    """Measures a process between `__enter__` and `__exit__`; then `usage` is there.

    Its child processes count as well, those that are there at the end.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._folder = Path("/proc") / str(pid)
        self._done = threading.Event()
        self._anonymous = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.usage = Usage(0.0, 0, 0, 0)

    def __enter__(self) -> Watch:
        self._cpu, self._written = self._cpu_seconds(), self._written_bytes()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if not (self._folder / "io").exists():
            return  # it has ended, and whoever waits for it says so
        self.usage = Usage(
            self._cpu_seconds() - self._cpu,
            self._status("VmHWM"),
            max(self._anonymous, self._status("RssAnon")),
            self._written_bytes() - self._written,
        )

    def so_far(self) -> tuple[float, int]:
        """CPU seconds and octets written by now; zeros when it has ended."""
        try:
            return self._cpu_seconds() - self._cpu, self._written_bytes() - self._written
        except OSError:
            return 0.0, 0

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            try:
                self._anonymous = max(self._anonymous, self._status("RssAnon"))
            except OSError:
                return

    def _cpu_seconds(self) -> float:
        fields = [text.rpartition(")")[2].split() for text in self._texts("stat")]
        return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS_PER_SECOND

    def _written_bytes(self) -> int:
        return sum(_number(r"^write_bytes: (\d+)", text) for text in self._texts("io"))

    def _status(self, name: str) -> int:
        kibibytes = [_number(rf"^{name}:\s+(\d+) kB", text) for text in self._texts("status")]
        return sum(kibibytes) * 1024

    def _texts(self, name: str) -> Iterator[str]:
        """The file `name` of the process and of each of its children."""
        yield (self._folder / name).read_text()
        for child in children_of(self._pid):
            with suppress(OSError):  # it has ended
                yield Path(f"/proc/{child}/{name}").read_text()


def counting_syncs(command: Sequence[str], report: Path) -> list[str] | None:
    """`command` under strace, which stops it at synchronising calls only; None without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    calls = "trace=fsync,fdatasync,msync,sync_file_range"
    return [strace, "-f", "--seccomp-bpf", "-qq", "-e", calls, "-o", str(report), *command]


def sync_count(report: Path) -> int:
    """Calls in what strace has written."""
    text = report.read_text(errors="replace")
    return len(re.findall(r"^\d+ +(?:fsync|fdatasync|msync|sync_file_range)\(", text, re.MULTILINE))


def traced_pid(pid: int) -> int:
    """The program that the strace `pid` runs."""
    children = children_of(pid)
    return children[0] if children else pid


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else 0
