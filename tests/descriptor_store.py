"""A stand-in for systemd's end of the notify socket, with its file descriptor store.

It does what sd_pid_notify_with_fds(3) says: FDSTORE, FDNAME, FDSTOREREMOVE and BARRIER; a file that
is there already is not stored again.  `launch` gives the descriptors to the next start as
sd_listen_fds(3) says.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# Moves the descriptors that its first argument lists to 3 and on, and becomes the program.
_LAUNCHER = """
import os, sys
given = [int(number) for number in sys.argv[1].split(",") if number]
high = [os.dup2(number, 500 + at) for at, number in enumerate(given)]
for at, number in enumerate(high):
    os.dup2(number, 3 + at)
    os.close(number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class DescriptorStoreStandIn:
    """Listens in a thread until it is closed."""

    def __init__(self, folder: Path, descriptors_max: int = 1000) -> None:
        self.path = str(folder / "notify")
        self.reports: list[dict[str, str]] = []
        self.stored: list[tuple[str, int]] = []
        self._max = descriptors_max
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._ends, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._end, b"x")
        self._thread.join()
        self._socket.close()
        for number in (*(number for _, number in self.stored), self._ends, self._end):
            os.close(number)

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self.stored)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.path, "FDSTORE": str(self._max)}

    def heard(self, name: str, value: str) -> bool:
        return any(report.get(name) == value for report in self.reports)

    def launch(self, command: Sequence[str]) -> tuple[list[str], dict[str, str], list[int]]:
        """How to start `command` with what is stored: command, environment, descriptors."""
        numbers = [number for _, number in self.stored]
        variables = {
            **self.environment,
            "LISTEN_FDS": str(len(numbers)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in self.stored),
        }
        listed = ",".join(map(str, numbers))
        return [sys.executable, "-c", _LAUNCHER, listed, *command], variables, numbers

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket, self._ends], [], [])
            if self._socket in ready:
                data, numbers, _, _ = socket.recv_fds(self._socket, 65536, 253)
                lines = [line.partition("=") for line in data.decode().splitlines()]
                self._take({name: value for name, _, value in lines}, numbers)
            elif self._ends in ready:
                return

    def _take(self, report: dict[str, str], numbers: list[int]) -> None:
        self.reports.append(report)
        name = report.get("FDNAME", "stored")
        if "FDSTORE" in report:
            assert name.isascii() and name.isprintable() and ":" not in name and len(name) <= 255
            for number in numbers:
                self._store(name, number)
            return
        if "FDSTOREREMOVE" in report:
            for each in [each for each in self.stored if each[0] == name]:
                self.stored.remove(each)
                os.close(each[1])
        for number in numbers:  # such as that of BARRIER
            os.close(number)

    def _store(self, name: str, number: int) -> None:
        found = os.fstat(number)
        known = [os.fstat(other) for _, other in self.stored]
        is_known = any((found.st_dev, found.st_ino) == (e.st_dev, e.st_ino) for e in known)
        if is_known or len(self.stored) >= self._max:
            os.close(number)
        else:
            self.stored.append((name, number))
