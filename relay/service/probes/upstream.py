"""Try to reach an upstream: its name, each of its addresses, TLS, and its greeting."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias

from OpenSSL import SSL

from relay import SOFTWARE
from relay.model.errors import UpstreamError
from relay.model.text import printable
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.probes.certificates import probe_own_certificate, tell_of_certificate
from relay.service.probes.probe import Finding, Probe, Severity, run_probes, within
from relay.service.probes.services import servers_of
from relay.service.tls.files import file_problems, read_material, read_options, read_policy
from relay.transport.tls.blocking import TlsBroken, TlsConnection
from relay.transport.tls.endpoints import TlsMaterial, TlsUpstream
from relay.transport.tls.failure import TLS_ALERT
from relay.wire.relp.client import RelpClientSession

_CHUNK_BYTES = 65536
_ADDRESSES_MAX = 16
_TEXT_MAX = 800  # characters, of which a certificate's are 500 at most
_LISTEN_SECONDS = 0.7
"""How long a server has to object: one of another protocol, or to our certificate (TLS 1.3)."""
_BLANK_LINES = b"\n" * 5
"""No message, and enough for TLS (RFC 8446 §5.1) and RELP to see that it is not theirs."""


Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class Connection(Protocol):
    """A socket, or TLS over one."""

    def settimeout(self, value: float | None, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...


class Upstream(NamedTuple):
    """One address of an upstream, and how to connect there."""

    url: Url
    family: int
    address: Address
    tls: TlsUpstream | None
    bind: str = ""
    """Our own address; empty = as the routes have it."""

    @property
    def place(self) -> str:
        host, port = f"{self.address[0]}", int(self.address[1])
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @contextmanager
    def connected(self, seconds_max: float) -> Iterator[Connection]:
        """A connection, with TLS if there is any.

        Raises:
            OSError: There is none.
        """
        with self.connect_plainly(seconds_max) as connection:
            yield connection if self.tls is None else self.secured(connection)

    def connect_plainly(
        self, seconds_max: float, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        """A socket that is connected; one for datagrams has sent nothing.

        Raises:
            OSError: It cannot be.
        """
        connection = socket.socket(self.family, kind)
        try:
            connection.settimeout(seconds_max)
            if self.bind:
                connection.bind((self.bind, 0))
            connection.connect(self.address)
        except BaseException:
            connection.close()
            raise
        return connection

    def secured(self, connection: socket.socket) -> TlsConnection:
        assert self.tls is not None
        secured = TlsConnection(connection, self.tls)
        secured.handshake()
        return secured


Greet = Callable[[Probe, Upstream, Connection], None]
"""Says hello on a connection in the protocol of a kind, and tells what came of it."""


def probe_upstream(
    probe: Probe, url: Url, tls: TlsConfiguration | None, greet: Greet, *, bind: str = ""
) -> None:
    """Resolve the name, and try every address at the same time.

    Args:
        bind: Our own address; only addresses of its family are tried, as by the relay.
    """
    probe_own_certificate(probe, tls)
    found = _servers(probe, url) if url.service_domain else addresses_of(probe, url)
    endpoint = endpoint_of(probe, url, tls) if found else None
    if tls is not None and endpoint is None:
        greet = greet_nothing  # TCP is worth a look all the same
    parts = []
    for family, address in reached_from(bind, probe, url, found):
        upstream = Upstream(url, family, address, endpoint, bind)
        parts.append((probe.part(), partial(_try_address, upstream=upstream, greet=greet)))
    run_probes(parts)
    _add_up(probe, [part.findings for part, _ in parts])


def probe_datagrams(probe: Probe, url: Url, *, bind: str = "") -> None:
    """Resolve the name; nobody answers datagrams, and an empty one would be a message."""
    found = reached_from(bind, probe, url, addresses_of(probe, url))
    if not found:
        return
    upstream = Upstream(url, *found[0], None, bind)
    try:
        if bind:
            upstream.connect_plainly(probe.seconds_max, socket.SOCK_DGRAM).close()
    except OSError as error:
        probe.findings.append(_tcp_finding(upstream, error, probe.seconds_max))
    else:
        probe.passed("datagrams", f"{url} has an address; nobody answers, so no more can be told")


def reached_from(
    bind: str, probe: Probe, url: Url, found: Sequence[tuple[int, Address]]
) -> Sequence[tuple[int, Address]]:
    """The addresses of the family of `bind`; all if it is empty.  Tells if none are left."""
    fitting = [each for each in found if not bind or (each[0] == socket.AF_INET6) == (":" in bind)]
    if found and not fitting:
        probe.fail(
            "connect",
            "bind-family",
            f"{url} has no address that can be reached from {bind}",
            "write an address of the same family (IPv4 or IPv6) into bind, or remove it",
        )
    return fitting


def greet_nothing(probe: Probe, upstream: Upstream, connection: Connection) -> None:
    pass


def _servers(probe: Probe, url: Url) -> Sequence[tuple[int, Address]]:
    """Those that SRV records name."""
    began = time.monotonic()
    try:
        places = servers_of(url.host, probe.seconds_max)
    except UpstreamError as error:
        remedy = f"look at the records with `dig SRV {url.host}`"
        probe.fail("dns", "srv-unknown", f"{url.host}: {error}", remedy)
        return []
    shown = ", ".join(f"{host} port {port}" for host, port in places[:_ADDRESSES_MAX])
    probe.passed("dns", f"{url.host} is {shown} ({_milliseconds(began)})")
    found: list[tuple[int, Address]] = []
    for host, port in places[:_ADDRESSES_MAX]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        found.append((family, (host, port)))
    return found


def addresses_of(probe: Probe, url: Url) -> Sequence[tuple[int, Address]]:
    """The families and addresses of an upstream; tells of its name."""
    resolve = partial(socket.getaddrinfo, url.host, url.port, type=socket.SOCK_STREAM)
    began = time.monotonic()
    try:
        answers = within(probe.seconds_max, resolve)
    except TimeoutError as error:
        probe.fail(
            "dns",
            "dns-timeout",
            f"the name {url.host} is not resolved: {error}",
            "look at /etc/resolv.conf and whether its name servers answer",
        )
        return []
    except OSError as error:
        probe.fail(
            "dns",
            "dns-unknown",
            f"the name {url.host} cannot be resolved: {error.strerror or error}",
            f"compare it with the receiver's name, and try `getent ahosts {url.host}`",
        )
        return []
    found = list(dict.fromkeys((family, address) for family, _, _, _, address in answers))
    shown = ", ".join(str(address[0]) for _, address in found[:_ADDRESSES_MAX])
    if shown != url.host:
        more = f" and {len(found) - _ADDRESSES_MAX} more" if len(found) > _ADDRESSES_MAX else ""
        probe.passed("dns", f"{url.host} is {shown}{more} ({_milliseconds(began)})")
    return found[:_ADDRESSES_MAX]


def endpoint_of(probe: Probe, url: Url, tls: TlsConfiguration | None) -> TlsUpstream | None:
    """What connects with TLS; None without TLS, or while its files cannot be used."""
    if tls is None or file_problems(tls, lambda key: key):  # which the configuration's check tells
        return None
    try:
        return TlsUpstream(
            read_material(tls),
            server_name=tls.server_name or url.service_domain or url.host,
            peer_verify=tls.peer_verify,
            fingerprints=read_policy(tls).fingerprints,
            options=read_options(tls),
        )
    except (ValueError, SSL.Error) as error:
        probe.fail(
            "handshake",
            "tls-files",
            f"OpenSSL does not take the TLS files: {error}",
            "compare certificate, private_key and trusted_ca with what `openssl x509 -text` says",
        )
        return None


def _try_address(probe: Probe, upstream: Upstream, greet: Greet) -> None:
    began = time.monotonic()
    try:
        connection = upstream.connect_plainly(probe.seconds_max)
    except OSError as error:
        probe.findings.append(_tcp_finding(upstream, error, probe.seconds_max))
        return
    with connection:
        probe.passed("connect", f"{upstream.place} connected in {_milliseconds(began)}")
        if upstream.tls is None:
            greet(probe, upstream, connection)
            return
        began = time.monotonic()
        try:
            secured = upstream.secured(connection)
        except OSError as error:
            probe.findings.append(tls_finding(upstream, error))
            return
        _tell_of_tls(probe, upstream, secured, began)
        greet(probe, upstream, secured)
        secured.close()


def _tcp_finding(upstream: Upstream, error: OSError, seconds_max: float) -> Finding:
    if upstream.bind and error.errno == errno.EADDRNOTAVAIL:
        fault, why = "bind-unknown", f"is not tried: this host has no address {upstream.bind}"
        remedy = "compare bind with `ip address`"
    elif isinstance(error, ConnectionRefusedError):
        fault, why = "tcp-refused", "refuses the connection"
        remedy = "start the receiver, compare the port with its configuration, or look for a "
        remedy += "firewall that rejects"
    elif isinstance(error, TimeoutError):
        fault, why = "tcp-timeout", f"does not answer within {seconds_max:g} s"
        remedy = "look for a firewall that drops packets, or a host that is down or elsewhere"
    else:
        fault, why = "tcp-unreachable", f"cannot be reached: {error.strerror or error}"
        remedy = "look at the routes of this host: `ip route get ADDRESS`"
    return Finding(Severity.ERROR, "connect", f"{upstream.place} {why}", fault, remedy)


def _add_up(probe: Probe, found: Sequence[Sequence[Finding]]) -> None:
    """Take over what was found at each address: some that cannot be reached are a warning."""
    reached = any(findings[0].severity is Severity.OK for findings in found if findings)
    for findings in found:
        for each in findings:
            if reached and each.step == "connect" and each.severity is Severity.ERROR:
                probe.warn(
                    "connect",
                    "tcp-partial",
                    f"{each.text} ({each.fault}); other addresses of {probe.subject} do",
                    f"{each.remedy}; or remove this address from the name",
                )
            else:
                probe.findings.append(each)


# TLS.

_OF_CERTIFICATE = (
    ("has expired", "tls-expired", "renew the receiver's certificate; compare the clocks"),
    ("not valid before", "tls-not-yet-valid", "compare the clocks of both hosts"),
    (
        "expected ",
        "tls-wrong-name",
        "connect to a name in the certificate, set server_name, or have the certificate made again",
    ),
    ("extended key usage", "tls-purpose", "the certificate has to allow serverAuth"),
    (
        "trusted CAs",
        "tls-unknown-ca",
        "set trusted_ca to the authority that signed the receiver's certificate; the receiver has "
        "to send its intermediates",
    ),
    ("revoked", "tls-revoked", "replace the receiver's certificate"),
    ("revocation list", "tls-crl", "renew the revocation list in crl"),
)
_BY_KIND = {
    "tls-certificate-required": "tls-client-certificate",
    "tls-bad-certificate": "tls-client-certificate",
    "tls-certificate-unknown": "tls-client-certificate",
    "tls-unknown-ca": "tls-client-certificate",
    "tls-certificate-expired": "tls-client-certificate",
    "tls-unsupported-certificate": "tls-purpose",
    "tls-wrong-version-number": "tls-plain-port",
    "tls-packet-length-too-long": "tls-plain-port",
    "tls-http-request": "tls-plain-port",
    "tls-protocol-version": "tls-version",
    "tls-unsupported-protocol": "tls-version",
    "tls-handshake-failure": "tls-handshake",
}


def tls_finding(upstream: Upstream, error: OSError) -> Finding:
    """Why TLS with `upstream` has failed."""
    kind = error.kind if isinstance(error, TlsBroken) else ""
    text = printable(f"{upstream.place}: {error.strerror or error}", length_max=_TEXT_MAX)
    fault, remedy = _BY_KIND.get(kind, "tls-failed"), "see the log of the receiver"
    if kind == "tls-certificate":
        for needle, name, advice in _OF_CERTIFICATE:
            if needle in text:
                fault, remedy = name, advice
                break
    elif isinstance(error, TimeoutError) or not kind:
        fault = "tls-no-answer" if isinstance(error, TimeoutError) else "tls-closed"
        text = f"{upstream.place}: the receiver does not answer in TLS"
        if fault == "tls-closed":
            text = f"{upstream.place}: the receiver ended the connection during the TLS handshake"
        remedy = "is this a port for plain text (tcp://, relp://)? else see the receiver's log"
    elif fault == "tls-plain-port":
        remedy = "write tcp:// or relp:// without TLS, or the receiver's port for TLS"
    elif fault in ("tls-client-certificate", "tls-purpose"):
        remedy = "set certificate and private_key to what the receiver accepts"
    return Finding(Severity.ERROR, "handshake", text, fault, remedy)


def _tell_of_tls(probe: Probe, upstream: Upstream, secured: TlsConnection, began: float) -> None:
    probe.passed("handshake", f"{upstream.place} speaks {secured.version} ({_milliseconds(began)})")
    for certificate in secured.chain:
        tell_of_certificate(probe, certificate)
    if authorities := secured.authorities:
        shown = printable("; ".join(authorities), length_max=300)
        probe.passed("handshake", f"asks for a client certificate of {shown}")


# Greetings.


def greet_relp(probe: Probe, upstream: Upstream, connection: Connection) -> None:
    """Open a RELP session and close it again; no message is sent."""
    session = RelpClientSession(window_records=1, software=SOFTWARE.encode())
    began = time.monotonic()
    try:
        connection.sendall(session.data_to_send())
        while not session.ready and not session.over:
            chunk = heard(connection, began + probe.seconds_max - time.monotonic())
            if not chunk or chunk.startswith(TLS_ALERT):
                probe.findings.append(_no_relp(upstream, chunk, probe.seconds_max))
                return
            session.receive(chunk)
    except OSError as error:
        probe.findings.append(
            tls_finding(upstream, error)
            if isinstance(error, TlsBroken)
            else _no_relp(upstream, b"", probe.seconds_max)
        )
        return
    if session.error is not None:
        probe.fail(
            "open",
            "relp-refused",
            f"{upstream.place}: {session.error}",
            "see the log of the receiver: is it RELP, and may this host send there?",
        )
        return
    software = b",".join(session.server_offers.get(b"relp_software", [b"unnamed software"]))
    offers = b", ".join(sorted(set(session.server_offers) - {b"relp_software", b"relp_version"}))
    probe.passed(
        "open",
        f"{upstream.place} opens sessions in {_milliseconds(began)}: {printable(software)}, "
        f"offers {printable(offers)}",
    )
    session.close()
    try:
        connection.sendall(session.data_to_send())
        heard(connection, _LISTEN_SECONDS)
    except OSError:  # librelp may be gone already
        return


def _no_relp(upstream: Upstream, chunk: bytes | None, seconds_max: float) -> Finding:
    if chunk or (chunk == b"" and not upstream.tls and _speaks_tls(upstream, seconds_max)):
        fault, text = "relp-tls-port", "answers in TLS"
        remedy = "write relp+tls://, or the receiver's port for RELP without TLS"
    elif chunk is None:
        fault, text = "relp-no-answer", f"does not answer the open within {seconds_max:g} s"
        remedy = "is this a port for plain syslog (tcp://)? else the receiver may be paused"
    else:
        fault, text = "relp-closed", "ends the connection when it is asked for RELP"
        remedy = "is this a port for plain syslog (tcp://) or TLS? else see the receiver's log"
    return Finding(Severity.ERROR, "open", f"{upstream.place} {text}", fault, remedy)


def greet_syslog(
    probe: Probe, upstream: Upstream, connection: Connection, *, counts: bool = False
) -> None:
    """Listen whether the receiver objects to plain syslog; only blank lines are sent.

    Args:
        counts: The destination sends octet counting, where blank lines may be refused (RFC 5425).
    """
    was_open = False
    try:
        if (said := heard(connection, _LISTEN_SECONDS)) is None:
            was_open = True
            connection.sendall(_BLANK_LINES)
            said = heard(connection, _LISTEN_SECONDS)
    except TlsBroken as error:
        probe.findings.append(tls_finding(upstream, error))
        return
    except OSError:
        said = b""
    if said is None:
        probe.passed("lines", f"{upstream.place} takes lines; plain syslog has no answers")
    elif said.startswith(TLS_ALERT) or (
        not said and not upstream.tls and _speaks_tls(upstream, probe.seconds_max)
    ):
        _fail_syslog(probe, upstream, "syslog-tls-port", "answers in TLS", "tls://")
    elif _speaks_relp(upstream, probe.seconds_max):
        scheme = "relp+tls://" if upstream.tls else "relp://"
        _fail_syslog(probe, upstream, "syslog-relp-port", "speaks RELP", scheme)
    elif said:
        what = f"answers {printable(said, length_max=60)!r}, which no receiver of syslog does"
        _fail_syslog(probe, upstream, "syslog-other-port", what, "the port of its receiver")
    elif counts and was_open:
        text = "refuses lines, as receivers do that take octet counting only"
        probe.passed("lines", f"{upstream.place} {text}")
    else:
        probe.warn(
            "lines",
            "syslog-closed",
            f"{upstream.place} ends the connection soon after it was opened",
            "is this a port for TLS (tls://) or another protocol, or is this host not allowed?",
        )


def _fail_syslog(probe: Probe, upstream: Upstream, fault: str, what: str, instead: str) -> None:
    probe.fail("lines", fault, f"{upstream.place} {what}", f"write {instead}")


def _speaks_relp(upstream: Upstream, seconds_max: float) -> bool:
    """Whether a server that does not take lines opens RELP sessions."""
    trial = Probe("", seconds_max)
    try:
        with upstream.connected(seconds_max) as connection:
            greet_relp(trial, upstream, connection)
    except OSError:
        return False
    return trial.findings[-1].severity is Severity.OK


def _speaks_tls(upstream: Upstream, seconds_max: float) -> bool:
    """Whether a server that ends plain connections takes TLS; nothing is verified."""
    trial = TlsUpstream(TlsMaterial(), server_name=upstream.url.host, peer_verify="none")
    try:
        with upstream._replace(tls=trial).connected(seconds_max):
            return True
    except TlsBroken as error:
        return _BY_KIND.get(error.kind) != "tls-plain-port"
    except OSError:
        return False


def heard(connection: Connection, seconds_max: float) -> bytes | None:
    """What comes within a time: bytes, none = the other end has closed, None = nothing.

    Raises:
        OSError: The connection is broken.
    """
    deadline = time.monotonic() + seconds_max
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            return connection.recv(_CHUNK_BYTES)
        except TimeoutError:
            return None
        except BlockingIOError:  # TLS's own
            continue
    return None


def _milliseconds(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.1f} ms"
