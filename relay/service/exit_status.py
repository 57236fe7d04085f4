"""The status with which the process ends: 1 if the relay gave up, or gave up messages.

twistd ends with status 0 whenever the reactor stops, or by the signal that stopped it, which
systemd takes for a clean end too.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any


class ExitStatus:
    """Ends the process with status 1, once it ends, if something has failed.

    Attributes:
        has_failed: Whether it will.
    """

    def __init__(self, reactor: Any) -> None:
        self.has_failed = False
        self._reactor = reactor

    def fail(self) -> None:
        """Let the status be 1."""
        if not self.has_failed:
            self.has_failed = True
            self._reactor.addSystemEventTrigger("after", "shutdown", self._arrange)

    def give_up(self) -> None:
        """Stop the relay, with status 1."""
        self.fail()
        self._reactor.stop()

    def _arrange(self) -> None:
        self._reactor._exitSignal = None  # or twistd would end itself by that signal
        # After everything else: twistd removes its pid file when the reactor has stopped.
        atexit.register(_end)


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
