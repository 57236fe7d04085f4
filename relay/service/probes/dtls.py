"""Try to reach an upstream by DTLS: its name, and a handshake with each of its addresses."""

from __future__ import annotations

import errno
import select
import socket
import time
from functools import partial

from twisted.internet.task import Clock

from relay.model.text import printable
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.probes.certificates import probe_own_certificate, tell_of_certificate
from relay.service.probes.probe import Finding, Probe, Severity, run_probes
from relay.service.probes.upstream import (
    Upstream,
    addresses_of,
    endpoint_of,
    reached_from,
    tls_finding,
)
from relay.transport.datagram.dtls_session import DtlsSession
from relay.transport.tls.blocking import TlsBroken
from relay.transport.tls.endpoints import TlsUpstream

_UDP_BYTES_MAX = 65_535
_STEP_SECONDS = 0.05  # between looks at the timer of retransmissions


def probe_dtls(probe: Probe, url: Url, tls: TlsConfiguration, *, bind: str = "") -> None:
    """Resolve the name, and try every address at the same time; no message is sent."""
    probe_own_certificate(probe, tls)
    found = addresses_of(probe, url)
    endpoint = endpoint_of(probe, url, tls) if found else None
    if endpoint is None:
        return
    parts = []
    for family, address in reached_from(bind, probe, url, found):
        upstream = Upstream(url, family, address, endpoint, bind)
        parts.append((probe.part(), partial(_try_address, upstream=upstream, endpoint=endpoint)))
    run_probes(parts)
    for part, _ in parts:
        probe.findings += part.findings


def _try_address(probe: Probe, upstream: Upstream, endpoint: TlsUpstream) -> None:
    began = time.monotonic()
    clock = Clock()
    try:
        connected = upstream.connect_plainly(probe.seconds_max, socket.SOCK_DGRAM)
    except OSError as error:
        probe.findings.append(_unreached(probe, upstream, error))
        return
    with connected:
        try:
            session = DtlsSession(endpoint.clientConnectionForTLS, clock=clock, send=connected.send)
            session.start()
            while not session.is_open:
                if session.is_over:
                    failure = session.failure
                    raise TlsBroken(failure) if failure else ConnectionError("it ended the session")
                if time.monotonic() - began > probe.seconds_max:
                    raise TimeoutError
                if select.select([connected], [], [], _STEP_SECONDS)[0]:
                    session.feed(connected.recv(_UDP_BYTES_MAX))
                clock.advance(time.monotonic() - began - clock.seconds())
        except TlsBroken as error:
            probe.findings.append(tls_finding(upstream, error))
        except OSError as error:
            probe.findings.append(_unreached(probe, upstream, error))
        else:
            took = (time.monotonic() - began) * 1000
            probe.passed("handshake", f"{upstream.place} speaks {session.version} ({took:.1f} ms)")
            for certificate in session.chain:
                tell_of_certificate(probe, certificate)
            session.close()


def _unreached(probe: Probe, upstream: Upstream, error: OSError) -> Finding:
    if isinstance(error, ConnectionRefusedError):
        fault, why = "dtls-refused", "nobody listens there"
        remedy = "start the receiver, or compare the port with its configuration"
    elif isinstance(error, TimeoutError):
        fault, why = "dtls-no-answer", f"no answer to the handshake within {probe.seconds_max:g} s"
        remedy = "look for a firewall that drops UDP; is this a port for DTLS?"
    elif upstream.bind and error.errno == errno.EADDRNOTAVAIL:
        fault, why = "bind-unknown", f"this host has no address {upstream.bind}"
        remedy = "compare bind with `ip address`"
    else:
        fault, why = "dtls-unreachable", printable(error.strerror or str(error))
        remedy = "look at the routes of this host: `ip route get ADDRESS`"
    return Finding(Severity.ERROR, "handshake", f"{upstream.place}: {why}", fault, remedy)
