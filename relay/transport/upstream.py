"""Upstream connections: their state as text, and their preparation.

Twisted's ClientService decides when to connect; an `UpstreamState` follows every step.  A
connection counts only once it is prepared (TLS done, RELP opened): retries to a peer that
accepts TCP connections and then stays silent back off as for one that is down.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IPushProducer,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.flow.pump import BATCH_BYTES_MAX, SessionDrain
from relay.model.clock import Clock, DelayedCall
from relay.model.debug import SESSIONS
from relay.model.errors import RelayError, UpstreamError
from relay.model.text import counted, printable
from relay.transport.connections import notice_silence
from relay.transport.names import BoundEndpoint
from relay.transport.tls.failure import tls_failure

_log = Logger(namespace=SESSIONS.namespace)

TIMEOUT = "timeout"
"""The cause of failures where the upstream was silent for too long."""
SEND_BYTES_MAX = BATCH_BYTES_MAX
"""The most that the kernel is handed of one connection in a turn of the reactor: a batch."""
_USELESS_MAX = 2  # connections in a row that are reported before one has been of use
_JITTER_FACTOR = 1.25
_SHOWN_BYTES_MAX = 60  # of what an upstream says though it should not
_CLOSE_SECONDS_MAX = 2.0  # that a connection which is made anew waits for the upstream's end of TLS


class UpstreamState:
    """The readable state of a destination's connection.

    Args:
        target: The upstream's usual name, such as ``10.0.0.5:20514``.
        on_ready: Called with the state when records can be sent; after two useless connections
            in a row, only when something has been acknowledged.
        on_failure: Called with the reason when a connection ends or cannot be made.
        on_remark: Called with something odd that a connection has seen.
        retry_seconds_min, retry_seconds_max: Bounds of the pause between attempts;
            it doubles with each failure, plus a random part of up to a quarter.  A useless
            connection (nothing acknowledged, and shorter than `retry_seconds_max`) counts
            as a failure.

    Attributes:
        connects: Connections that became ready.
        exactly_once: Whether the upstream says what it has stored, so that nothing is
            sent twice by this connection.
        whole: Of one connection of several: the state of all, which counts for them.
        unexpected_bytes: Bytes from an upstream that has nothing to say.
        truncated_records: Records that were cut because the transport cannot carry them.
        failures: How many connections ended or could not be made.
        failures_by_cause: The same by cause; docs/operations.md lists the causes.
        last_cause: The cause of the last one.
        answers: How often the upstream has acknowledged something.
    """

    def __init__(
        self,
        *,
        target: str,
        clock: Clock,
        on_ready: Callable[[str], None],
        on_failure: Callable[[str], None],
        retry_seconds_min: float,
        retry_seconds_max: float,
        jitter: Callable[[], float] = random.random,
        on_remark: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.target = target
        self.connects = 0
        self.exactly_once = False
        self.failures = 0
        self.failures_by_cause = Counter[str]()
        self.last_cause = ""
        self.answers = 0
        self.truncated_records = 0
        self.unexpected_bytes = 0
        self.whole: UpstreamState | None = None
        self._clock = clock
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._on_remark = on_remark
        self._retry_seconds_min = retry_seconds_min
        self._retry_seconds_max = retry_seconds_max
        self._jitter = jitter
        self._state = "not started"
        self._last_failure = ""
        self._next_try_at: float | None = None
        self._ready_at: float | None = None
        self._failures_in_row = 0
        self._useless_in_row = 0
        self._unproven = ""  # text for `on_ready` that waits for an acknowledgement
        self._stopped = False
        self._at_once = False  # the next attempt needs no pause
        self._watchers: list[tuple[Callable[[], None], Callable[[str], None]]] = []

    def watch(self, connected: Callable[[], None], lost: Callable[[str], None]) -> None:
        """Have each change told.

        Args:
            connected: Called when records can be sent.
            lost: Called with the reason when a connection has ended or could not be made; with
                an empty one if that was intended.
        """
        self._watchers.append((connected, lost))

    def _tell_lost(self, reason: str) -> None:
        for _, lost in self._watchers:
            lost(reason)

    @property
    def ready(self) -> bool:
        """Whether records can be sent now."""
        return self._ready_at is not None

    @property
    def text(self) -> str:
        """The state as text."""
        if self._next_try_at is not None:
            seconds = max(1, math.ceil(self._next_try_at - self._clock.seconds()))
            return f"{self._last_failure}, next try in {seconds} s"
        if self._last_failure and not self.ready:
            return f"{self._state} (before: {self._last_failure})"
        return self._state

    def started(self) -> None:
        """Start connecting, for the first time or again."""
        self._stopped = False

    def connecting(self) -> None:
        if SESSIONS.is_on:
            _log.debug("{target}: connecting", target=self.target)
        self._state, self._next_try_at = f"connecting to {self.target}", None

    def became_ready(self, how: str) -> None:
        """Records can be sent; `how` describes the acknowledgements."""
        if SESSIONS.is_on:
            _log.debug("{target}: session: {how}", target=self.target, how=how)
        self.connects += 1
        self._state, self._last_failure, self._next_try_at = how, "", None
        self._ready_at = self._clock.seconds()
        for connected, _ in self._watchers:
            connected()
        # Otherwise an upstream that disconnects at every message would look healthy in the log.
        if self._useless_in_row < _USELESS_MAX:
            self._on_ready(how)
        else:
            self._unproven = how

    def progressed(self) -> None:
        """The upstream has acknowledged something: the next failure is the first again."""
        self.answers += 1
        self._failures_in_row = self._useless_in_row = 0
        if self._unproven:
            how, self._unproven = self._unproven, ""
            self._on_ready(how)

    def remark(self, text: str) -> None:
        """Something odd that leaves the state as it is."""
        self._on_remark(text)

    def unexpected(self, data: bytes) -> None:
        """The upstream has sent `data`, though it has nothing to say."""
        (self.whole or self).unexpected_bytes += len(data)
        self.remark(
            f"{self.target}: sent {counted(len(data), 'byte')} that mean nothing here, "
            f"{printable(data[:_SHOWN_BYTES_MAX])!r}: is this a receiver of plain syslog?"
        )

    def failed(self, reason: str, *, cause: str = "other", blameless: bool = False) -> None:
        """A connection ended or could not be made.

        Args:
            cause: One of few words, to count by.
            blameless: Not because of the upstream: there is no reason to prefer another one.
        """
        if self._stopped:  # of course it did
            return
        ready_at, self._ready_at = self._ready_at, None
        if SESSIONS.is_on:
            _log.debug("{target}: no session: {reason}", target=self.target, reason=reason)
        self.exactly_once = False
        self._unproven = ""
        if ready_at is not None and self._clock.seconds() - ready_at >= self._retry_seconds_max:
            self._failures_in_row = self._useless_in_row = 0
        elif ready_at is not None:
            self._useless_in_row += 1
        self._failures_in_row += 1
        self.count_failure(cause)
        self._state, self._last_failure = "not connected", reason
        self._tell_lost("" if blameless else reason)
        self._on_failure(reason)

    def held_up(self, reason: str, *, cause: str) -> None:
        """The connection is there, and the upstream takes nothing through it at present."""
        self.failed(reason, cause=cause)
        if not self._stopped:
            self._state, self._last_failure = reason, ""

    def count_failure(self, cause: str) -> None:
        """Count one that leaves the state as it is."""
        self.failures += 1
        self.failures_by_cause[cause] += 1
        self.last_cause = cause

    def renewed(self, why: str) -> None:
        """The connection ended as intended, to be made anew at once."""
        if self._stopped:
            return
        self._ready_at, self._at_once, self._unproven = None, True, ""
        self.exactly_once = False
        self._state = f"connecting anew: {why}"
        self._tell_lost("")

    def moved(self, why: str) -> bool:
        """The upstream has ended the connection as agreed.

        Returns:
            Whether the next attempt comes at once, and the end is no failure; not after a
            connection that was shorter than the first pause, or there would be no pause ever.
        """
        if self._ready_at is None:
            return False
        if self._clock.seconds() - self._ready_at < self._retry_seconds_min:
            return False
        self.renewed(why)
        return True

    def stopped(self) -> None:
        """Stop connecting; the end of the last connection is not an error."""
        self._stopped = True
        self._state, self._last_failure, self._next_try_at = "stopped", "", None
        self._ready_at = None
        self.exactly_once = False
        self._tell_lost("")

    def retry_policy(self, attempt: int = 0, *, seconds_min: float = 0.0) -> float:
        """Seconds to wait now.

        Args:
            seconds_min: The upstream wants to be left alone for so long.
            attempt: As ClientService counts them.  Not used: it starts again with
                every connection, even one that the upstream ends at once.
        """
        if self._at_once:
            self._at_once = False
            return 0.0
        delay = max(self.pause_after(self._failures_in_row), seconds_min)
        self._next_try_at = self._clock.seconds() + delay
        if SESSIONS.is_on:
            _log.debug("{target}: next try in {s:.1f} s", target=self.target, s=delay)
        return delay

    def pause_after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        doubled = self._retry_seconds_min * 2.0 ** min(max(0, failures - 1), 30)
        longest = min(doubled * _JITTER_FACTOR, self._retry_seconds_max)
        shortest = min(doubled, max(longest / _JITTER_FACTOR, self._retry_seconds_min))
        return shortest + self._jitter() * (longest - shortest)


class RetryClock:
    """The clock of a ClientService, which only waits between attempts with it.

    ClientService itself cannot be told to try at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._retry: DelayedCall | None = None

    def callLater(self, delay: float, call: Callable[..., object], *args: object) -> DelayedCall:
        self._retry = self._clock.callLater(delay, call, *args)
        return self._retry

    def hurry(self) -> bool:
        """End the wait.  Returns whether there was one."""
        if self._retry is None or not self._retry.active():
            return False
        self._retry.reset(0)
        return True


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of an upstream's delays, in seconds."""

    prepare_seconds_max: float
    """For the TLS handshake and the opening of the session together."""
    answer_seconds_max: float
    """For the next acknowledgement."""
    confirm_seconds: float = 0.0
    """How long a connection has to live on after TCP's acknowledgement, where that is all."""
    keepalive_seconds: float = 60.0
    """Silence after which TCP asks whether the upstream is there; 0 = never."""


@implementer(IHandshakeListener)
class UpstreamProtocol(Protocol):
    """One connection to an upstream.

    Attributes:
        ready: Fires when the connection is prepared, or fails with UpstreamError.
        prepared: Whether it has fired.
    """

    transport: Any  # exists from connectionMade on

    def __init__(
        self, *, state: UpstreamState, clock: Clock, secure: bool, timeouts: Timeouts
    ) -> None:
        self.ready: Deferred[None] = Deferred()
        self.prepared = False
        self.gone = False
        self.state = state
        self._clock = clock
        self._secure = secure
        self._why = ""  # we closed it, if not empty
        self._cause = ""  # for which cause, to count by
        self._blameless = False
        self._retiring = ""  # why it is to be made anew, if not empty
        self._moving = False  # the upstream wants another connection, which comes at once
        self._timeouts = timeouts
        self._prepare_call: DelayedCall | None = None

    # For subclasses to implement.

    def begin(self) -> None:
        """TCP, and TLS if used, are up; call `become_ready` once the session is."""
        self.become_ready()

    def started(self) -> str:
        """Records can be sent.  Returns the state as text."""
        raise NotImplementedError

    def ended(self) -> None:
        """The connection is gone, or never became ready."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was sent waits for an answer."""
        return True

    def say_goodbye(self) -> None:
        """Write what ends a session; the connection is closed next."""

    def remark(self) -> str:
        """A possible reason why the upstream closed the connection; appended to the state."""
        if self.prepared or not self._secure:
            return ""
        return " during the TLS handshake: is this a plain-text port, for tcp:// or relp://?"

    # Called by Twisted.

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        notice_silence(
            self.transport,
            keepalive_seconds=self._timeouts.keepalive_seconds,
            user_seconds_max=self._timeouts.answer_seconds_max,
        )
        seconds = self._timeouts.prepare_seconds_max
        what = "TLS handshake and opening" if self._secure else "opening"
        self._prepare_call = self._clock.callLater(
            seconds, partial(self.give_up, f"{what} took longer than {seconds:g} s", cause=TIMEOUT)
        )
        if not self._secure:
            self.begin()

    def handshakeCompleted(self) -> None:
        self.begin()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(reason)

    def lost_unprepared(self, reason: Failure) -> None:
        """The connection ended before it was prepared."""
        error = self._lost(reason)
        self.ready.errback(error)

    # For subclasses to call.

    @property
    def over(self) -> bool:
        """Whether nothing more should be sent."""
        return self.gone or bool(self._why)

    def become_ready(self) -> None:
        if self.over:
            return
        self._cancel_prepare_call()
        self.prepared = True
        self.state.became_ready(self.started())
        self.ready.callback(None)

    def give_up(self, why: str, *, cause: str = "protocol", blameless: bool = False) -> None:
        """Abort the connection; `why` becomes the state's text.

        Args:
            cause, blameless: See `UpstreamState.failed`.
        """
        self._blameless = blameless if not self._why else self._blameless
        self._cause = self._cause or cause
        self._why = self._why or why
        if not self.gone:
            self.transport.abortConnection()

    def end_as_agreed(self, why: str, *, blameless: bool) -> None:
        """The upstream has ended the session in an orderly way; see `UpstreamState.moved`."""
        self._moving = self.state.moved(why)
        self.give_up(why, blameless=blameless)

    def retire(self, why: str) -> None:
        """Send nothing more, and end when all is answered: the connection is to be made anew."""
        if not self.over and self.prepared:
            self._retiring = self._retiring or why
            self.retire_if_idle()

    def retire_if_idle(self) -> None:
        """End the connection if it is to be made anew and nothing waits for an answer."""
        if self._retiring and not self.over and self.is_idle:
            self.state.renewed(self._retiring)
            self.shut_down()
            self._prepare_call = self._clock.callLater(
                _CLOSE_SECONDS_MAX, self.give_up, self._retiring
            )

    def shut_down(self) -> None:
        """The relay stops; unacknowledged records stay in the queue."""
        self._why = self._why or "stopping"
        self.say_goodbye()
        self.transport.unregisterProducer()  # or the connection would stay open
        self.transport.loseConnection()

    def _lost(self, reason: Failure) -> UpstreamError:
        self.gone = True
        self._cancel_prepare_call()
        text = self._why or failure_text(self.transport, reason, self._secure)
        if not self._why and not isinstance(reason.value, SSL.Error):
            text += self.remark()
        error = UpstreamError(f"{self.state.target}: {text}")
        if not (self._moving or (self._retiring and self.is_idle)):
            cause = self._cause or failure_cause(self.transport, reason, self._secure)
            self.state.failed(str(error), cause=cause, blameless=self._blameless)
        self.ended()
        return error

    def _cancel_prepare_call(self) -> None:
        if self._prepare_call is not None and self._prepare_call.active():
            self._prepare_call.cancel()


@implementer(IPushProducer)
class DeliveringProtocol(UpstreamProtocol):
    """A connection that takes records from a drain, unless the transport's buffer is full."""

    def __init__(
        self,
        *,
        drain: SessionDrain,
        state: UpstreamState,
        clock: Clock,
        secure: bool,
        timeouts: Timeouts,
    ) -> None:
        super().__init__(state=state, clock=clock, secure=secure, timeouts=timeouts)
        self._drain = drain
        self._write_blocked = False

    def pauseProducing(self) -> None:
        self._write_blocked = True

    def resumeProducing(self) -> None:
        self._write_blocked = False
        self._drain.pump()

    def stopProducing(self) -> None:
        pass


class CountingWrapper(ProtocolWrapper):
    """Counts the bytes passed to TCP, below TLS."""

    written_bytes = 0

    def write(self, data: bytes) -> None:
        self.written_bytes += len(data)
        ProtocolWrapper.write(self, data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        joined_data = b"".join(data)
        self.written_bytes += len(joined_data)
        ProtocolWrapper.write(self, joined_data)


class _CountingFactory(WrappingFactory):
    protocol = CountingWrapper
    noisy = False


@implementer(IStreamClientEndpoint)
class CountingEndpoint:
    """Connects through `wrapped`, with a `CountingWrapper` right above TCP."""

    def __init__(self, wrapped: HostnameEndpoint | BoundEndpoint) -> None:
        self._wrapped = wrapped

    def connect(self, protocolFactory: Factory) -> Deferred[IProtocol]:
        return self._wrapped.connect(_CountingFactory(protocolFactory))  # type: ignore[arg-type,no-untyped-call]


@implementer(IHandshakeListener)
class _UntilPrepared(Protocol):
    """Hides the loss of an unprepared connection from ClientService.

    ClientService raises NoTransition if a connection is lost during `prepareConnection`; the
    failing Deferred has reported the loss already.
    """

    def __init__(self, proxy: Any) -> None:
        self.proxy = proxy

    def connectionMade(self) -> None:
        self.dataReceived = self.proxy.dataReceived  # type: ignore[method-assign]
        self.proxy.makeConnection(self.transport)

    def handshakeCompleted(self) -> None:
        self.proxy.handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.proxy.prepared:
            self.proxy.connectionLost(reason)
        else:
            self.proxy.lost_unprepared(reason)


class _UntilPreparedFactory(Factory):
    noisy = False

    def __init__(self, wrapped: Factory) -> None:
        self._wrapped = wrapped

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _UntilPrepared(self._wrapped.buildProtocol(addr))


@implementer(IStreamClientEndpoint)
class PreparedEndpoint:
    """Connects through TCP or a unix socket, with TLS if configured, and updates the state.

    Args:
        tls: A `TlsUpstream`, or None.
    """

    def __init__(
        self, *, wrapped: Any, state: UpstreamState, tls: Any | None, clock: Clock
    ) -> None:
        self._wrapped = wrapped
        self._state = state
        self._tls = tls
        self._clock: Any = clock  # an IReactorTime in fact

    def __repr__(self) -> str:
        return self._state.target  # ClientService logs it

    def connect(self, protocolFactory: Factory) -> Deferred[UpstreamProtocol]:
        self._state.connecting()
        factory: Any = _UntilPreparedFactory(protocolFactory)
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, True, factory, clock=self._clock)
        connecting = self._wrapped.connect(factory)
        connecting.addCallbacks(self._connected, self._failed)
        return connecting  # type: ignore[no-any-return]

    def _connected(self, lowest: Any) -> Any:
        # Twisted hands the kernel 128 KiB a turn of the reactor.  A turn that also reads from
        # sources takes milliseconds, so that would be the rate of the drain.
        lowest.transport.SEND_LIMIT = SEND_BYTES_MAX
        inner = lowest
        while not isinstance(inner, _UntilPrepared):  # below it: TLS, and what counts
            inner = inner.wrappedProtocol
        return inner.proxy

    def _failed(self, failure: Failure) -> Failure:
        reason = connect_failure_text(failure, self._state.target)
        self._state.failed(reason, cause=connect_failure_cause(failure))
        return failure


def connect_failure_text(failure: Failure, target: str) -> str:
    """Why there is no connection to `target`."""
    error = failure.value
    if isinstance(error, ConnectionRefusedError):
        return f"refused by {target}"
    if isinstance(error, TimeoutError):
        return f"no answer from {target}"
    if isinstance(error, DNSLookupError):
        return f"the name in {target} cannot be resolved"
    if isinstance(error, NoRouteError):
        return f"no route to {target}"
    if isinstance(error, ConnectError) and error.osError is not None:
        return f"cannot connect to {target}: {error}"
    return f"cannot connect to {target}: {failure.getErrorMessage()}"


def connect_failure_cause(failure: Failure) -> str:
    """The cause of the same, to count by."""
    causes: dict[type[Exception], str] = {
        ConnectionRefusedError: "refused",
        TimeoutError: TIMEOUT,
        DNSLookupError: "dns",
        NoRouteError: "unreachable",
    }
    return next((causes[kind] for kind in causes if failure.check(kind)), "other")


def failure_text(transport: object, reason: Failure, secure: bool) -> str:
    """Why a connection ended."""
    error = reason.value
    if secure and error is not None and (text := tls_failure(transport, error).text):
        return text
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, ConnectionDone):
        return "the connection ended (closed)"
    if isinstance(error, ConnectionLost):
        return "the connection ended (broken off)"
    return f"the connection ended ({reason.getErrorMessage().rstrip('.')})"


def failure_cause(transport: object, reason: Failure, secure: bool) -> str:
    """The cause of the same, to count by."""
    error = reason.value
    if secure and error is not None and (kind := tls_failure(transport, error).kind):
        return kind
    return "closed" if reason.check(ConnectionDone, ConnectionLost) else "other"
