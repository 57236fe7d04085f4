"""The server of the bulk protocol as a program of a test, and what it was brought."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.end_to_end import bulk_server
from tests.processes import Program, Programs, free_port, is_listening_tcp


class Server(Program):
    """The server of `bulk_server.py`, with its script."""

    def __init__(self, programs: Programs, folder: Path, *steps: str) -> None:
        self.port = free_port()
        self._kept = folder / "server"
        self._kept.mkdir(parents=True)
        super().__init__(
            [],
            folder=folder,
            name="bulk-server",
            is_ready=lambda: is_listening_tcp(self.port),
        )
        self.follow(*steps)
        programs.add(self)

    def follow(self, *steps: str) -> None:
        """The script from the next start on."""
        script = str(bulk_server.__file__)
        self.command = [sys.executable, script, str(self.port), str(self._kept), *steps]

    @property
    def taken(self) -> list[dict[str, Any]]:
        return self._lines("taken")

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self._lines("requests")

    @property
    def messages(self) -> list[bytes]:
        """The texts of what was taken, each document once, in the order of their first arrival."""
        by_id: dict[str, dict[str, Any]] = {}
        for each in self.taken:
            kept = by_id.setdefault(each["_id"], each)
            assert kept == each, "a repeated id is of the same document"
        return [each["document"]["message"].encode() for each in by_id.values()]

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self._kept / name
        octets = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in octets.splitlines(keepends=True) if line[-1:] == b"\n"]
