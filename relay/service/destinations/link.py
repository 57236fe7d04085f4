"""Links: what makes the sessions of one queue, one after the other.

A link may be started again after it was stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from relay.flow.exactly_once.numbering import Numbering
from relay.flow.pump import Session, SessionDrain
from relay.model.clock import Clock, DelayedCall
from relay.transport.upstream import RetryClock, UpstreamProtocol, UpstreamState

_CLOSE_SECONDS_MAX = 0.5


class Outlet(Protocol):
    """What sessions are made for: a lane, or a part of one that has its own target."""

    @property
    def drain(self) -> SessionDrain: ...

    @property
    def state(self) -> UpstreamState: ...

    @property
    def numbering(self) -> Numbering | None:
        """Makes it exactly once with an upstream that can do it; None = never."""


class Link:
    """Makes sessions for one drain."""

    def start(self) -> None:
        """Begin to make sessions."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the session, within half a second (a program: 1.3 s), and make no more."""
        raise NotImplementedError

    def connect(self) -> None:
        """Try now what would be tried after a pause; nothing else is changed."""

    def cut(self, why: str) -> None:
        """End the session at once, if that can be done; the next one comes by itself."""

    def reopen(self) -> None:
        """Something may have been rotated."""


class StreamLink(Factory, Link):
    """To an upstream behind a stream: RELP or plain syslog, with or without TLS.

    Args:
        endpoint: What ClientService connects through.
        new_protocol: Makes the protocol of one connection.
    """

    noisy = False

    def __init__(
        self,
        state: UpstreamState,
        *,
        endpoint: object,
        new_protocol: Callable[[], UpstreamProtocol],
        clock: Clock,
    ) -> None:
        self._state = state
        self._endpoint = endpoint
        self._new_protocol = new_protocol
        self._clock = clock
        self._protocol: UpstreamProtocol | None = None
        self._retries = RetryClock(clock)

    def start(self) -> None:
        endpoint: Any = self._endpoint
        self._client = ClientService(
            endpoint,
            self,  # type: ignore[arg-type]  # zope
            retryPolicy=self.retry_seconds,
            clock=self._retries,  # type: ignore[arg-type]  # as much of one as it uses
            prepareConnection=lambda protocol: protocol.ready,
        )
        self._client.startService()

    async def stop(self) -> None:
        protocol = self._protocol
        if protocol is None or protocol.gone:
            await self._client.stopService()
            return
        protocol.shut_down()
        cut = self._clock.callLater(_CLOSE_SECONDS_MAX, protocol.give_up, "stopping")
        await self._client.stopService()
        if cut.active():
            cut.cancel()
        # ClientService does not wait for a connection that was still being prepared.
        protocol.give_up("stopping")

    def connect(self) -> None:
        if self._retries.hurry():
            self._state.connecting()

    def retry_seconds(self, attempt: int) -> float:
        """The pause before the next attempt."""
        return self._state.retry_policy(attempt)

    def cut(self, why: str) -> None:
        if self._protocol is not None:
            self._protocol.give_up(why)

    def renew(self, why: str) -> None:
        """Connect anew once all that was sent is answered; nothing more is sent before that."""
        if self._protocol is not None:
            self._protocol.retire(why)

    def buildProtocol(self, addr: IAddress | None) -> UpstreamProtocol:
        self._protocol = self._new_protocol()
        return self._protocol


class LocalSession(Session, Protocol):
    def close(self) -> Deferred[None] | None:
        """End it; fires when what it has started has ended too, if there is anything."""


@runtime_checkable
class Reopens(Protocol):
    """A session that opens anew what it writes to."""

    def reopen(self) -> None: ...


@runtime_checkable
class Cuts(Protocol):
    """A session that can be ended although the other end is there."""

    def cut(self, why: str) -> None: ...


class LocalLink(Link):
    """To a destination without a connection to wait for: a file, or UDP.

    Args:
        new_session: Makes a session for the outlet; given what to call, with a reason, when the
            session fails.  May fail with OSError itself.
        how: The state, for people, while there is a session.

    Attributes:
        cause: Of failures, to count by.
    """

    cause = "local"

    def __init__(
        self,
        outlet: Outlet,
        new_session: Callable[[Outlet, Callable[[str], None]], Awaitable[LocalSession]],
        *,
        how: str,
        clock: Clock,
    ) -> None:
        self._outlet = outlet
        self._state = outlet.state
        self._new_session = new_session
        self._how = how
        self._clock = clock
        self._starts = 0  # an attempt from before the last one, or a stop, counts no more
        self._session: LocalSession | None = None
        self._retry: DelayedCall | None = None

    def start(self) -> None:
        self._starts += 1
        self._try(self._starts)

    async def stop(self) -> None:
        self._starts += 1
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        session, self._session = self._session, None
        closed = None if session is None else session.close()
        if closed is not None:
            await closed

    def connect(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.reset(0)
            self._state.connecting()

    def cut(self, why: str) -> None:
        if isinstance(self._session, Cuts):
            self._session.cut(why)

    def reopen(self) -> None:
        if isinstance(self._session, Reopens):
            self._session.reopen()

    def _try(self, start: int) -> None:
        ensureDeferred(self._open(start))

    async def _open(self, start: int) -> None:
        self._retry = None
        self._state.connecting()
        try:
            session = await self._new_session(self._outlet, partial(self._failed, start))
        except OSError as error:
            self._failed(start, f"{self._state.target}: {error.strerror or error}")
            return
        if start != self._starts:
            session.close()
            return
        self._session = session
        self._state.became_ready(self._how)
        self._outlet.drain.attach(session)

    def _failed(self, start: int, reason: str) -> None:
        if start == self._starts:
            self._session = None
            self._state.failed(reason, cause=self.cause)
            self._retry = self._clock.callLater(self._state.retry_policy(), self._try, start)
