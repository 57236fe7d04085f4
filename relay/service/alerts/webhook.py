"""Posts alerts to a web server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.threads import deferToThreadPool

from relay import __version__
from relay.model.clock import Reactor
from relay.model.errors import UpstreamError
from relay.service.configuration.model import AlertsConfiguration, TlsConfiguration, Url
from relay.service.configuration.tables.rewrite import token_from_file
from relay.service.prerequisite import Prerequisite
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.files import read_options, read_policy
from relay.transport.http.requests import Endpoint, Requests
from relay.transport.names import HostResolver, Names, Place, ReactorWithNames, new_dns
from relay.transport.notices import Notices
from relay.transport.tls.endpoints import TlsMaterial, TlsUpstream
from relay.wire.http.answers import Answer

SUBJECT = "alerts"
_ANY_HOST = "webhook"  # the endpoint resolves no other than its own


class Webhook:
    """Posts JSON to one URL; any answer from 200 to 299 means that the receiver has it.

    Args:
        requests: To that URL.
        token_file: Read for each request, since it may be renewed; empty = no token is sent.
        files: Has trouble as long as those of TLS cannot be used.
    """

    def __init__(self, requests: Requests, *, token_file: str, files: Prerequisite) -> None:
        self._requests = requests
        self._token_file = token_file
        self._files = files

    def __call__(self, body: bytes) -> Deferred[None]:
        """Post `body`; fails with UpstreamError."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"syslogrelay/{__version__}",
        }
        if self._files.trouble:
            return fail(UpstreamError(self._files.trouble))
        if self._token_file:
            try:
                token = token_from_file(self._token_file).reveal()
            except ValueError as error:
                return fail(UpstreamError(str(error)))
            headers["Authorization"] = f"Bearer {token.decode('latin-1')}"
        return self._requests.post(body, headers).addCallback(_judge)


def _judge(answer: Answer) -> None:
    if not 200 <= answer.status < 300:
        raise UpstreamError(f"answers {answer.status}")


def new_webhook(
    configuration: AlertsConfiguration,
    url: Url,
    certificates: CertificateWatch,
    notices: Notices,
    reactor: Reactor,
) -> Webhook:
    """The webhook of a configuration, whose URL is `url`."""
    files = Prerequisite("alerts wait until the files are right")
    tls: TlsUpstream | None = None
    if configuration.is_encrypted:
        new = _tls_of(configuration.tls, url)
        tls = certificates.keep(SUBJECT, configuration.tls, new, files)

    def run_in_thread(call: Callable[[], Sequence[Place]]) -> Deferred[Sequence[Place]]:
        pool = reactor.getThreadPool()
        return deferToThreadPool(reactor, pool, call)  # type: ignore[arg-type]  # zope

    names = Names(
        run_in_thread=run_in_thread,
        warn=partial(notices.warn, SUBJECT, "names"),
        new_dns=partial(new_dns, reactor),
        clock=reactor,
    )
    seconds_max = configuration.webhook_seconds_max
    endpoint: Endpoint = HostnameEndpoint(  # type: ignore[assignment]  # zope
        ReactorWithNames(reactor, HostResolver(names, url.host, url.port)),
        _ANY_HOST,
        url.port,
        timeout=seconds_max,
    )
    if tls is not None:
        endpoint = wrapClientTLS(tls, endpoint)  # type: ignore[arg-type]  # zope
    requests = Requests(
        str(url),
        endpoint,
        target=f"{url.host}:{url.port}",
        secure=tls is not None,
        seconds_max=seconds_max,
        connections_max=1,
        clock=reactor,
    )
    return Webhook(requests, token_file=configuration.webhook_token_file, files=files)


def _tls_of(tls: TlsConfiguration, url: Url) -> Callable[[TlsMaterial | None], TlsUpstream]:
    return partial(
        TlsUpstream,
        server_name=tls.server_name or url.host,
        peer_verify=tls.peer_verify,
        fingerprints=read_policy(tls).fingerprints,
        options=read_options(tls),
    )
