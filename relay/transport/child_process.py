"""A second process of the relay: a fresh interpreter, and a channel to it.

Never a fork without exec: LMDB, threads and the reactor would not survive it.  The child
has no other descriptors of ours than the channel and its standard ones; what it writes
to those is for the log.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from relay.transport.message_channel import MessageChannel

__all__ = ["CHANNEL_FD", "ChildProcess", "end_with_parent", "interpreter_environment"]

CHANNEL_FD = 3
"""The descriptor of the channel, in the child."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LINE_BYTES_MAX = 8192


class ChildProcess(ProcessProtocol):
    """One run of the child.

    Args:
        channel: Our end; it is connected by `start`.
        on_line: Called with each line that the child writes to its standard output or error.
        on_ended: Called with words when it is gone, and all that it said was taken.
    """

    transport: Any  # exists from makeConnection on

    def __init__(
        self,
        channel: MessageChannel,
        *,
        on_line: Callable[[str], None],
        on_ended: Callable[[str], None],
    ) -> None:
        self.pid: int | None = None
        self._channel = channel
        self._on_line = on_line
        self._on_ended = on_ended
        self._rest = b""
        self._how = ""  # it ended; empty as long as it runs
        self._channel_lost = False

    def start(self, reactor: Any, module: str, arguments: list[str]) -> None:
        """Start it.

        Raises:
            OSError: There is no process or memory left for it.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "rb") as nothing:
            ours.setblocking(False)
            reactor.spawnProcess(
                self,
                sys.executable,
                # -P: not from wherever we are.
                [sys.executable, "-P", "-m", module, *arguments],
                env=interpreter_environment(os.environ, sys.path),
                childFDs={0: nothing.fileno(), 1: "r", 2: "r", CHANNEL_FD: theirs.fileno()},
            )
            factory = Factory.forProtocol(lambda: self._channel)
            factory.noisy = False
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    def kill(self) -> None:
        """End it at once, if it runs."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def connectionMade(self) -> None:
        self.pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LINE_BYTES_MAX]
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        if self._rest:
            self._on_line(self._rest.decode("utf-8", "replace"))
        if status.signal is not None:
            self._how = f"ended by {signal.Signals(status.signal).name}"
        else:
            self._how = f"ended with status {status.exitCode}"
        self._tell()

    def channel_lost(self) -> None:
        """Nothing more will come through the channel."""
        self._channel_lost = True
        self._tell()

    def _tell(self) -> None:
        if self._how and self._channel_lost:
            self._on_ended(self._how)


def interpreter_environment(
    environment: Mapping[str, str], search_path: list[str]
) -> dict[str, str]:
    """For a child that finds the modules that we find."""
    places = [os.path.abspath(place) for place in search_path if place]
    return {**environment, "PYTHONPATH": os.pathsep.join(places)}


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when the process `parent` ends, also by kill -9."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before
        os._exit(1)
