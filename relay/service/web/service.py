"""The relay's web server as a service."""

from __future__ import annotations

import socket

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from relay.model.clock import Port, Reactor
from relay.model.text import Document
from relay.observe.web.events import EventStream
from relay.observe.web.server import WebFactory
from relay.service.configuration.model import Url, WebConfiguration
from relay.service.prerequisite import Prerequisite
from relay.service.refusal import StartRefused
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.web.recorder import Recorder
from relay.transport.sockets import bind_stream, listen
from relay.transport.tls.endpoints import TlsListener, with_tls

_SUBJECT = "web server"
_SEND_BUFFER_BYTES = 128 * 1024


class WebService(Service):
    """Listens for browsers and Prometheus.

    Args:
        configuration: Where, and who may ask.
        factory: Answers.
        events: Has the readers of the page.
        recorder: Works while this service runs.
        certificates: Keeps the files of TLS up to date.
        reactor: Provides IReactorTime and IReactorSocket.
    """

    name = "web"
    _log = Logger(namespace="relay")

    def __init__(
        self,
        configuration: WebConfiguration,
        factory: WebFactory,
        events: EventStream,
        recorder: Recorder,
        certificates: CertificateWatch,
        reactor: Reactor,
    ) -> None:
        self._url = configuration.listen
        self._address = str(self._url)
        self._factory, self._events, self._recorder = factory, events, recorder
        self._reactor = reactor
        self._files = Prerequisite("the web server does not listen until the files are right")
        self._tls: TlsListener | None = None
        if configuration.is_encrypted:
            tls = configuration.tls
            self._tls = certificates.keep_listener(_SUBJECT, tls, self._files)
        self._files.when_fulfilled(self._begin)
        self._socket: socket.socket | None = None  # bound, and not yet the reactor's
        self._port: Port | None = None

    def privilegedStartService(self) -> None:
        """Bind, while the process may still have the rights to."""
        try:
            self._socket = self._bind()
        except OSError as error:
            reason = error.strerror or error
            raise StartRefused(f"web.listen: cannot listen on {self._url}: {reason}") from error

    def startService(self) -> None:
        if self._socket is None:
            self.privilegedStartService()
        Service.startService(self)
        self._recorder.startService()
        if not self._files.trouble:
            self._begin()

    def stopService(self) -> Deferred[object] | None:
        Service.stopService(self)
        self._recorder.stopService()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._port is None:
            return None
        port, self._port = self._port, None
        self._factory.close_all()
        return maybeDeferred(port.stopListening)

    def report(self) -> Document:
        """For status."""
        state = self._files.state
        return {
            "address": self._address,
            "ready": not state,
            "state": state,
            "readers": len(self._events),
            "wrong_tokens": self._factory.access.wrong.count,
            "requests_refused": dict(self._factory.refused),
        }

    def _bind(self) -> socket.socket:
        return bind_stream(self._url.host, self._url.port, listens=False)

    def _begin(self) -> None:
        """The files of TLS are right, or there is none."""
        bound = self._socket
        if bound is None or not self.running:
            return
        try:
            if bound.fileno() < 0:  # it could not listen before
                self._socket = bound = self._bind()
            # Connections inherit it: one whose client does not read holds little.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            listen(bound)
        except OSError as error:
            self._files.trouble = f"cannot listen on {self._url}: {error.strerror or error}"
            self._log.warn("{who}: {text}", who=_SUBJECT, text=self._files.trouble)
            return
        host, port = bound.getsockname()[:2]
        self._address = str(Url(self._url.scheme, host=host, port=port))
        factory: Factory = self._factory
        if self._tls is not None:
            factory = with_tls(self._tls, factory, self._reactor)
        self._port = self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
        bound.close()  # the port has its own copy
        self._socket = None
        self._log.info("{who}: listens on {address}", who=_SUBJECT, address=self._address)
