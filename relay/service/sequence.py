"""Service trees that start whole or not at all, and stop in order or side by side."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, maybeDeferred
from twisted.logger import Logger


class _Services(MultiService):
    """A MultiService that stops what it has started if one child cannot start.

    Otherwise the threads of those that have started keep the process alive.

    Args:
        children: In the order of their start.
    """

    _log = Logger(namespace="relay")

    def __init__(self, children: Iterable[Service] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for child in children:
            child.setServiceParent(self)

    def startService(self) -> None:
        Service.startService(self)
        started: list[Service] = []
        for child in self:
            try:
                child.startService()
            except BaseException:
                for earlier in reversed(started):
                    # What takes the reactor's help is not waited for: it does not run.
                    ensureDeferred(self._stop_child(earlier))
                raise
            started.append(child)

    async def _stop_child(self, child: Service) -> None:
        try:
            await maybeDeferred(child.stopService)
        except Exception:  # the outermost edge: the others must still stop
            self._log.failure("{child!r} did not stop cleanly", child=child)


class SequentialService(_Services):
    """A MultiService whose shutdown is as ordered as its start-up.

    MultiService stops its children in reverse order but does not wait for one
    before it stops the next, so the queue would close under the listeners.
    """

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._stop_children())

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            await self._stop_child(child)


class ConcurrentService(_Services):
    """A MultiService whose children stop all at once; it has stopped when all have.

    So a stop takes as long as the slowest of them, however many there are.
    """

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        stopping = [ensureDeferred(self._stop_child(child)) for child in reversed(list(self))]
        return gatherResults(stopping).addCallback(lambda _: None)
