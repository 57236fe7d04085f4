"""A service tree that stops in order."""

from __future__ import annotations

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.logger import Logger

__all__ = ["SequentialService"]


class SequentialService(MultiService):
    """A MultiService whose shutdown is as ordered as its start-up.

    MultiService stops its children in reverse order but does not wait for one
    before it stops the next, so the queue would close under the listeners.
    """

    _log = Logger(namespace="relay")

    def stopService(self) -> Deferred[None]:
        self.running = False
        return ensureDeferred(self._stop_children())

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception:  # the outermost edge: the others must still stop
                self._log.failure("{child!r} did not stop cleanly", child=child)
