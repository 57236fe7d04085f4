"""Fetch Debian's Prometheus with promtool, unpack it below `.cache`, and run it.

It has a cache of its own, beside that of `packages.py`: it needs no library but libc, and
whoever tests rsyslog need not wait for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.interop.packages import CACHE
from tests.processes import Program, free_port, is_listening_tcp

_ROOT = CACHE.with_name("prometheus")
_DOWNLOAD_SECONDS_MAX = 180.0
_UNPACK_SECONDS_MAX = 60.0
_ASK_SECONDS_MAX = 10.0


class UnavailableError(Exception):
    """There is no Prometheus here; the text says why."""


def fetched() -> Path:
    """The folder with `prometheus` and `promtool`, which are fetched if they are not there yet.

    Raises:
        UnavailableError: They cannot be fetched.
    """
    programs = _ROOT / "usr" / "bin"
    if not (programs / "promtool").exists():
        new = _ROOT.with_name(f"prometheus-new-{os.getpid()}")
        new.mkdir(parents=True)
        try:
            _unpack(new)
            shutil.rmtree(_ROOT, ignore_errors=True)
            (new / "root").rename(_ROOT)
        except OSError as error:
            # Another process may have been faster.
            if not (programs / "promtool").exists():
                raise UnavailableError(f"no prometheus: {error}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return programs


def _unpack(folder: Path) -> None:
    user = "root" if os.geteuid() == 0 else ""
    lists = CACHE / "lists"  # where packages.py had to get its own
    options = ["-o", f"APT::Sandbox::User={user}"]
    options += ["-o", f"Dir::State::lists={lists}"] if lists.is_dir() else []
    _run(["apt-get", "-q", *options, "download", "prometheus"], folder, _DOWNLOAD_SECONDS_MAX)
    (package,) = folder.glob("prometheus_*.deb")
    _run(["dpkg", "-x", package.name, "root"], folder, _UNPACK_SECONDS_MAX)


def _run(command: list[str], folder: Path, seconds_max: float) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds_max, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"no prometheus: {error}") from None
    if done.returncode != 0:
        raise UnavailableError(f"no prometheus: {' '.join(command)}: {done.stderr.strip()[-300:]}")


class Prometheus(Program):
    """A server that scrapes one relay each second.

    Args:
        programs: What `fetched` returns.
        target: Host and port of the relay's web server.
        rules: A file of rules.
    """

    def __init__(self, programs: Path, folder: Path, *, target: str, rules: Path) -> None:
        self.port = free_port()
        self._url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True)
        config = folder / "prometheus.yml"
        config.write_text(_CONFIGURATION.format(target=target, rules=json.dumps(str(rules))))
        super().__init__(
            [
                *(str(programs / "prometheus"), f"--config.file={config}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            folder=folder,
            name="prometheus",
            environment={},
            is_ready=self._is_ready,
        )

    def _is_ready(self) -> bool:
        """It listens before it answers queries."""
        if not is_listening_tcp(self.port):
            return False
        with suppress(OSError), urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
            return True
        return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        url = f"{self._url}/api/v1/{path}?{query}"
        with urllib.request.urlopen(url, timeout=_ASK_SECONDS_MAX) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expression: str) -> list[Mapping[str, Any]]:
        """The samples that an expression has now."""
        found: list[Mapping[str, Any]] = self.ask("query", query=expression)["result"]
        return found


_CONFIGURATION = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: syslogrelay
    static_configs: [{{targets: ["{target}"]}}]
"""
