"""Run real programs in tests: free ports, bounded waits, start and stop by pid.

Readiness is read from the kernel's socket tables, so that no probe connects to a
server and disturbs what it counts.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "Program",
    "Programs",
    "free_port",
    "is_bound_udp",
    "connecting_tcp",
    "is_listening_tcp",
    "is_listening_unix",
    "running_programs",
    "wait_until",
]

POLL_SECONDS = 0.02
START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 5.0
LOG_LINES_SHOWN = 60

_LISTENING = "0A"
_SYN_SENT = "02"
# In /proc/net/unix: SOCK_DGRAM, and __SO_ACCEPTCON.
_DATAGRAM = "0002"
_ACCEPTS = "00010000"


def wait_until(condition: Callable[[], object], what: str, seconds_max: float = 20.0) -> None:
    """Poll `condition` until it is true; fail with `what` after `seconds_max`."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds_max:g} s: {what}"
        time.sleep(POLL_SECONDS)


_handed_out: set[int] = set()
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS


def free_port() -> int:
    """A port that is free on loopback for TCP and UDP.

    It lies below the range of ephemeral ports: no outgoing connection can take it
    while a server is away, and nobody who retries can connect to itself.  Test processes
    beside this one (pytest-xdist) hand out others.
    """
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    highest = max(int(text.split()[0]), 12000) - 1
    for _ in range(1000):
        port = random.SystemRandom().randrange(10000 + _WORKER, highest, _WORKERS)
        if port not in _handed_out and _can_bind(port):
            _handed_out.add(port)
            return port
    raise AssertionError("no free port on loopback")


def _can_bind(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def is_listening_tcp(port: int) -> bool:
    return any(
        local.endswith(f":{port:04X}") and state == _LISTENING
        for local, _remote, state in _inet_sockets("tcp")
    )


def connecting_tcp(port: int) -> int:
    """How many connections to `port` wait for the answer to their SYN."""
    return sum(
        remote.endswith(f":{port:04X}") and state == _SYN_SENT
        for _local, remote, state in _inet_sockets("tcp")
    )


def is_bound_udp(port: int) -> bool:
    return any(local.endswith(f":{port:04X}") for local, *_ in _inet_sockets("udp"))


def is_listening_unix(path: str) -> bool:
    """Whether a datagram socket is bound at `path`, or a stream socket takes connections there."""
    lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    found = [line.split(maxsplit=7) for line in lines if line.endswith(f" {path}")]
    return any(kind == _DATAGRAM or flags == _ACCEPTS for _, _, _, flags, kind, *_ in found)


def _inet_sockets(protocol: str) -> Iterator[tuple[str, str, str]]:
    """Local and remote address and state, in hexadecimal, of this machine's sockets."""
    for table in (protocol, f"{protocol}6"):
        path = Path("/proc/net") / table
        if path.exists():
            for line in path.read_text().splitlines()[1:]:
                fields = line.split()
                yield fields[1], fields[2], fields[3]


class Program:
    """One program under test, in the foreground, with its output in a file.

    Args:
        command: What to run.
        folder: Its working directory; the log lies there as well.
        name: For the log's file name and for error messages.
        environment: Its whole environment; None = ours.
        user: Who it runs as; None = who we are.
        is_ready: True as soon as the program can be used.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        name: str,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.command = list(command)
        self.folder = folder
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._environment = environment
        self._user = user
        self.descriptors: Sequence[int] = ()  # that it inherits
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it (again); unless told otherwise, wait until it is ready."""
        assert not self.is_running, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.descriptors,
                user=self._user,
                extra_groups=None if self._user is None else [],
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        wait_until(
            lambda: self._is_ready() or not self.is_running,
            f"{self.name} is ready",
            START_SECONDS_MAX,
        )
        assert self.is_running, f"{self.name} ended at once:\n{self.log()}"

    def wait_exit(self, seconds_max: float = START_SECONDS_MAX) -> int:
        """Wait for its end; return the exit status (negative: the signal)."""
        assert self._process is not None, f"{self.name} was never started"
        try:
            return self._process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} still runs after {seconds_max:g} s:\n{self.log()}"
            ) from None

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """SIGTERM; fail if it does not end within `seconds_max`.  Returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(seconds_max)

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel has done it."""
        self.signal(signal.SIGKILL)
        self.wait_exit()

    def signal(self, number: signal.Signals) -> None:
        assert self.is_running, f"{self.name} does not run:\n{self.log()}"
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        """Make sure that it is gone: terminate, and kill if that takes too long."""
        if not self.is_running:
            return
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS_MAX)

    def log(self) -> str:
        """Everything that it has printed so far, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


class Programs:
    """The programs of one test; they end with it."""

    def __init__(self) -> None:
        self._programs: list[Program] = []

    def add(self, program: Program) -> None:
        self._programs.append(program)

    def end(self) -> None:
        """End all, the latest first, and print their logs (shown if the test failed)."""
        for program in reversed(self._programs):
            program.end()
        for program in self._programs:
            lines = program.log().splitlines()
            print(f"--- {program.log_path} ({len(lines)} lines)")
            print("\n".join(lines[-LOG_LINES_SHOWN:]))


@contextmanager
def running_programs() -> Iterator[Programs]:
    programs = Programs()
    try:
        yield programs
    finally:
        programs.end()
