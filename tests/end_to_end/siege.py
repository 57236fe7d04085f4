"""A relay under attack: what it holds, what it counts, and a good sender all the while."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

__all__ = ["ANSWER_SECONDS_MAX", "RSS_BYTES_MAX", "Besieged", "descriptors", "resident_bytes"]

ANSWER_SECONDS_MAX = 5.0
RSS_BYTES_MAX = 300 * 2**20
PAUSE_SECONDS = 0.01  # between the messages of the good sender: bounds them, nothing else

_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


def resident_bytes(pid: int) -> int:
    """Memory that the process has in use now."""
    found = _RSS.search(Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def descriptors(pid: int) -> int:
    """How many files and sockets the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class GoodSender(threading.Thread):
    """Sends one message after another over RELP and waits for each answer.

    Attributes:
        worst_seconds: Longest wait for an answer, or for the session.
        rss_bytes_max: Most memory that the relay had in use meanwhile.
    """

    def __init__(self, port: int, pid: int) -> None:
        super().__init__(name="good-sender", daemon=True)
        self.worst_seconds = 0.0
        self.rss_bytes_max = 0
        self.answered = 0
        self.failure: BaseException | None = None
        self._port, self._pid = port, pid
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            began = time.monotonic()
            with RelpSender(self._port) as sender:
                while not self._stopping.is_set():
                    sender.send([b"<13>1 - web-1 good - - - message %d" % self.answered])
                    sender.wait_answered()
                    self._answered(time.monotonic() - began)
                    self._stopping.wait(PAUSE_SECONDS)
                    began = time.monotonic()
                sender.close()
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        self._stopping.set()
        self.join(30)
        assert not self.is_alive(), "the good sender has no answer"
        assert self.failure is None, repr(self.failure)

    def _answered(self, seconds: float) -> None:
        self.answered += 1
        self.worst_seconds = max(self.worst_seconds, seconds)
        self.rss_bytes_max = max(self.rss_bytes_max, resident_bytes(self._pid))


class Besieged:
    """A relay with a source of its own for good senders and one per kind of attack.

    Args:
        sources: Keys of the configuration by id; their scheme is in ``scheme``.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        certificates: CertificateFiles,
        sources: dict[str, dict[str, Any]],
    ) -> None:
        self.arrived = folder / "received.log"
        self.ports = {name: free_port() for name in ("good", *sources)}
        tables: dict[str, dict[str, Any]] = {
            "good": {"listen": f"relp://127.0.0.1:{self.ports['good']}"}
        }
        for name, keys in sources.items():
            own = {key: value for key, value in keys.items() if key != "scheme"}
            if keys["scheme"].endswith("tls"):
                own["certificate"] = certificates.server_certificate
                own["private_key"] = certificates.server_key
                own["peer_verify"] = "none"
            tables[name] = {"listen": f"{keys['scheme']}://127.0.0.1:{self.ports[name]}", **own}
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources=tables,
            destinations={"file": {"connect": f"file://{self.arrived}"}},
        )

    def report(self, source: str) -> dict[str, Any]:
        """The counters of `source`."""
        document = ask(str(self.relay.state_dir), "status")
        return next(report for report in document["sources"] if report["id"] == source)

    @contextmanager
    def good_sender(self, what: str, source: str = "good") -> Iterator[None]:
        """Send good messages during the block; afterwards everything is as it was."""
        wait_until(lambda: self.report("good")["connections_open"] == 0, "nobody is connected")
        before = descriptors(self.relay.pid)
        sender = GoodSender(self.ports[source], self.relay.pid)
        sender.start()
        wait_until(lambda: sender.answered or sender.failure, "the good sender's first answer")
        try:
            yield
        finally:
            sender.finish()
        print(
            f"{what}: {sender.answered} good messages, worst answer "
            f"{sender.worst_seconds * 1000:.0f} ms, RSS at most {sender.rss_bytes_max >> 20} MiB"
        )
        assert sender.worst_seconds < ANSWER_SECONDS_MAX
        assert sender.rss_bytes_max < RSS_BYTES_MAX
        wait_until(
            lambda: descriptors(self.relay.pid) <= before, f"{before} descriptors as before", 10
        )
        assert self.relay.is_running
