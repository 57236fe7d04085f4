"""Runs a program for each alert."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail

from relay.model.clock import DelayedCall, Reactor
from relay.model.errors import UpstreamError
from relay.transport.local.program import ENDED_WELL, Program


class AlertProgram:
    """Runs a program with the JSON of one alert on its standard input.

    The program has it when it ends with status 0.  One that runs for too long is ended, with all
    that it has started.  So is what it leaves behind that still has its standard error; then its
    own status counts.

    Args:
        command: Its path and arguments.
        warn: Called with what it writes to its standard error.
        reactor: Provides IReactorTime and IReactorProcess.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        seconds_max: float,
        warn: Callable[[str], None],
        reactor: Reactor,
    ) -> None:
        self._command = command
        self._seconds_max = seconds_max
        self._warn = warn
        self._reactor = reactor

    def __call__(self, body: bytes) -> Deferred[None]:
        """Run it once; fails with UpstreamError.  Cancelling ends it."""
        run = _Run(self._seconds_max, self._reactor)
        program = Program(on_text=self._warn, on_end=run.ended)
        try:
            with open(os.devnull, "r+b") as nowhere:
                files: dict[int, int | str] = {0: "w", 1: nowhere.fileno(), 2: "r"}
                program.start(self._reactor, self._command, files)
        except OSError as error:
            return fail(UpstreamError(f"cannot be started: {error.strerror or error}"))
        run.started(program)
        program.say(body + b"\n")
        return run.done


class _Run:
    """One run of the program."""

    def __init__(self, seconds_max: float, reactor: Reactor) -> None:
        self.done: Deferred[None] = Deferred(self._cancelled)
        self._seconds_max = seconds_max
        self._reactor = reactor
        self._why = ""
        self._program: Program | None = None
        self._limit: DelayedCall | None = None

    def started(self, program: Program) -> None:
        self._program = program
        self._limit = self._reactor.callLater(
            self._seconds_max, self._end, f"has not ended within {self._seconds_max:g} s"
        )

    def ended(self, how: str) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        if self.done.called:
            return
        if self._why or how != ENDED_WELL:
            self.done.errback(UpstreamError(self._why or how))
        else:
            self.done.callback(None)

    def _end(self, why: str) -> None:
        if self._program is not None:
            if not self._program.has_exited:
                self._why = why
            self._program.end(patience_seconds=0)

    def _cancelled(self, _: Deferred[None]) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._end("was ended, since the relay stops")
