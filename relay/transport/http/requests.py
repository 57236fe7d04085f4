"""HTTP requests to one server, through connections that stay open between them.

Twisted's Agent does the protocol.  It bounds neither an answer nor the time that it takes, so
both are done here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, Response, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from relay.model.clock import Clock
from relay.model.errors import UpstreamError
from relay.model.text import printable, size
from relay.transport.upstream import connect_failure_text, failure_text
from relay.wire.http.answers import NO_CONNECTION, Answer

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Of one answer with its headers; a thousand documents, all refused at length, have 1 MiB."""
_IDLE_SECONDS_MAX = 20.0  # of a connection; servers close theirs after a minute or so
_HEADER_CHARACTERS_MAX = 1000


class RequestFailed(UpstreamError):
    """There is no answer, or none that was whole.

    Attributes:
        cause: One of few names, to count by.
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Endpoint(Protocol):
    """Makes connections: Twisted's IStreamClientEndpoint, which type checkers cannot follow."""

    def connect(self, protocolFactory: _Connections) -> Deferred[_Connection]: ...


class Transport(Protocol):
    """TCP, or TLS above it."""

    def setTcpNoDelay(self, enabled: bool) -> object: ...

    def setTcpKeepAlive(self, enabled: bool) -> object: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> object: ...


@implementer(IAgentEndpointFactory)
class Requests:
    """Sends requests to one URL.

    Args:
        url: With host and port.
        endpoint: Connects to it, with TLS if `secure`.
        target: The server's usual name, for messages.
        seconds_max: Of one request, from connecting to the end of the answer.
        connections_max: That stay open.
    """

    def __init__(
        self,
        url: str,
        endpoint: Endpoint,
        *,
        target: str,
        secure: bool,
        seconds_max: float,
        connections_max: int,
        clock: Clock,
    ) -> None:
        self._url = url.encode("ascii")
        self._endpoint = _BoundedEndpoint(endpoint, target, secure)
        self._seconds_max = seconds_max
        self._clock = clock
        self._connections_max = connections_max
        self._connect_anew()

    def endpointForURI(self, uri: URI) -> _BoundedEndpoint:
        return self._endpoint

    def post(self, body: bytes, headers: Mapping[str, str]) -> Deferred[Answer]:
        """Send `body`.  Fires with the answer, or fails with RequestFailed.

        Cancelling it ends the connection, and fails with CancelledError.
        """
        answered = Deferred.fromCoroutine(self._post(body, headers))
        answered.addErrback(_innermost)  # or a timeout would not be told from other failures
        answered.addTimeout(self._seconds_max, self._clock)  # type: ignore[arg-type]  # zope
        answered.addErrback(self._failed)
        return answered

    def close(self) -> None:
        """End the connections that no request uses."""
        self._pool.closeCachedConnections()

    def renew(self) -> None:
        """Make new connections for later requests; the old ones end when no request uses them."""
        self.close()
        self._connect_anew()

    def _connect_anew(self) -> None:
        self._pool = HTTPConnectionPool(self._clock)  # an IReactorTime in fact
        self._pool.maxPersistentPerHost = self._connections_max
        self._pool.cachedConnectionTimeout = _IDLE_SECONDS_MAX  # type: ignore[assignment]
        self._pool.retryAutomatically = False  # the queue has its own rules for that
        self._agent = Agent.usingEndpointFactory(self._clock, self, self._pool)

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        raw = Headers({name.encode(): [value.encode()] for name, value in headers.items()})
        response = await self._agent.request(b"POST", self._url, raw, _Body(body))
        collector = _Collector()
        response.deliverBody(collector)
        return Answer(response.code, _first_of_each(response), await collector.whole)

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(CancelledError):
            return failure
        error = failure.value
        if isinstance(error, RequestFailed):
            return Failure(error)
        if failure.check(TimeoutError):
            cause, text = "timeout", f"no whole answer in {self._seconds_max:g} s"
        elif isinstance(error, UpstreamError | ConnectionDone | ConnectionLost):
            cause, text = "connection", "the connection ended before the answer did"
            text = str(error) if isinstance(error, UpstreamError) else text
        else:
            cause, text = "broken answer", f"broken answer: {printable(repr(error))}"
        return Failure(RequestFailed(cause, text))


def _innermost(failure: Failure) -> Failure:
    """What Twisted has wrapped, perhaps several times."""
    while reasons := getattr(failure.value, "reasons", None):
        failure = reasons[0]
    return failure


def _first_of_each(response: Response) -> dict[str, str]:
    """The headers of a response by names in lower case, the first of each name."""
    return {
        name.decode("latin-1").lower(): values[0].decode("latin-1")[:_HEADER_CHARACTERS_MAX]
        for name, values in response.headers.getAllRawHeaders()
    }


@implementer(IBodyProducer)
class _Body:
    """A body that is there already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: ProtocolWrapper) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class _Collector(protocol.Protocol):
    """Collects the body of an answer.

    Attributes:
        whole: Fires with the body; cancelling it ends the connection.
    """

    transport: Transport  # type: ignore[assignment]  # zope

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self.transport.loseConnection())
        self._chunks: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # Without a length or chunks the end of the connection is that of the body.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._chunks))
        else:
            self.whole.errback(reason)


class _Connection(ProtocolWrapper):
    """A connection whose answers are bounded, and whose end says why."""

    transport: Transport  # type: ignore[assignment]  # zope
    factory: _Connections

    def __init__(self, factory: WrappingFactory, wrapped: IProtocol) -> None:
        ProtocolWrapper.__init__(self, factory, wrapped)
        self._read_bytes = 0  # since the last request
        self._why: UpstreamError | None = None

    def makeConnection(self, transport: Transport) -> None:
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        ProtocolWrapper.makeConnection(self, transport)

    def write(self, data: bytes) -> None:
        self._read_bytes = 0
        ProtocolWrapper.write(self, data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._read_bytes = 0
        ProtocolWrapper.writeSequence(self, data)

    def dataReceived(self, data: bytes) -> None:
        self._read_bytes += len(data)
        if self._read_bytes <= ANSWER_BYTES_MAX:
            ProtocolWrapper.dataReceived(self, data)
        elif self._why is None:
            text = f"the answer is larger than {size(ANSWER_BYTES_MAX)}"
            self._why = RequestFailed("answer too large", text)
            self.loseConnection()

    def loseConnection(self) -> None:
        """Whoever ends it has all that it needs: there is nothing to wait for."""
        self.disconnecting = True
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._why is None and not reason.check(ConnectionDone, ConnectionLost):
            self._why = UpstreamError(failure_text(self.transport, reason, self.factory.secure))
        ProtocolWrapper.connectionLost(self, reason if self._why is None else Failure(self._why))


class _Connections(WrappingFactory):
    protocol = _Connection
    noisy = False

    def __init__(self, wrapped: Factory, secure: bool) -> None:
        WrappingFactory.__init__(self, wrapped)  # type: ignore[arg-type]  # of Twisted's own stubs
        self.secure = secure


@implementer(IStreamClientEndpoint)
class _BoundedEndpoint:
    """Makes such connections."""

    def __init__(self, wrapped: Endpoint, target: str, secure: bool) -> None:
        self._wrapped = wrapped
        self._target = target
        self._secure = secure

    def connect(self, protocolFactory: Factory) -> Deferred[IProtocol]:
        connecting = self._wrapped.connect(_Connections(protocolFactory, self._secure))
        return connecting.addCallbacks(lambda found: found.wrappedProtocol, self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(CancelledError):
            return failure
        return Failure(RequestFailed(NO_CONNECTION, connect_failure_text(failure, self._target)))
