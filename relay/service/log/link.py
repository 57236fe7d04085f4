"""Links to distributed logs: sessions that send through a publisher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from relay.flow.publishing import Publisher, PublisherEvents, PublisherFailed
from relay.model.clock import Clock
from relay.model.errors import QueueError, UpstreamError
from relay.service.destinations.link import LocalLink, LocalSession, Outlet

P = TypeVar("P", bound=Publisher)


class PublisherLink(LocalLink, Generic[P]):
    """To a log; a session begins when the log has answered.

    Args:
        new_publisher: Makes the publisher of a session.
        how: The state, for people, while all is well.
    """

    def __init__(
        self,
        outlet: Outlet,
        new_publisher: Callable[[PublisherEvents], P],
        *,
        how: str,
        clock: Clock,
    ) -> None:
        super().__init__(outlet, self._open_session, how=how, clock=clock)
        self._new_publisher = new_publisher
        self._opening: P | None = None

    async def _begin(
        self, publisher: P, on_failure: Callable[[str], None]
    ) -> tuple[LocalSession, bool]:
        """A session, and whether it is exactly once, when the log has answered.

        Raises:
            UpstreamError, PublisherFailed, QueueError: There is none; the text says why.
        """
        raise NotImplementedError

    def _follow(self, session: LocalSession, text: str, is_well: bool) -> None:
        """The publisher of a session has another state: see `PublisherEvents.on_state`."""
        raise NotImplementedError

    async def stop(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.close()
        await super().stop()

    async def _open_session(
        self, outlet: Outlet, on_failure: Callable[[str], None]
    ) -> LocalSession:
        state = outlet.state
        begun: list[tuple[LocalSession, bool]] = []

        def changed(text: str, is_well: bool) -> None:
            for session, is_exact in begun:  # none yet: the failure is told below
                self._follow(session, text, is_well)
                state.exactly_once = is_exact and state.ready

        def fail(why: str) -> None:
            on_failure(f"{state.target}: {why}")

        events = PublisherEvents(changed, lambda text: state.remark(f"{state.target}: {text}"))
        publisher = self._opening = self._new_publisher(events)
        try:
            begun.append(await self._begin(publisher, fail))
        except (UpstreamError, PublisherFailed, QueueError) as error:
            publisher.close()
            raise OSError(0, str(error)) from None
        except Exception:
            publisher.close()
            fail("a session failed unexpectedly; the log says more")
            raise
        self._opening = None
        session, state.exactly_once = begun[0]
        return session
