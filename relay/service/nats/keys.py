"""Keys that sources and destinations of NATS JetStream have in common."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.model.errors import UpstreamError
from relay.service.configuration.keys import key
from relay.service.configuration.model import TlsConfiguration, Url, Where
from relay.service.configuration.reading import SecretFile, content_of
from relay.service.configuration.table import Text
from relay.service.configuration.tables.rewrite import token_from_file
from relay.service.configuration.url import Cluster
from relay.service.log.tls import ClientCertificates

if TYPE_CHECKING:  # the client is imported where a configuration has such a URL
    from relay.transport.nats.client import Login

_STREAM = r"[A-Za-z0-9_-]{1,255}"
SERVERS = Cluster(4222, "stream", _STREAM, "1 to 255 ASCII letters, digits, '_' and '-'")

TLS_WITHOUT = ("peer_names", "peer_fingerprints", "tls_ciphers")
"""Keys for TLS that the client library does not know."""

_CREDENTIALS_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class LoginKeys:
    """Keys for what shows the servers who connects; one way at most."""

    user: str = key(Text("a name without colon", r"[^:\0-\x1f]+"), "", "user with a password")
    password_file: str = key(SecretFile(), "", "file with the password of `user`")
    token_file: str = key(SecretFile(is_token=True), "", "file that holds nothing but a token")
    credentials_file: str = key(
        SecretFile(),
        "",
        "file with the credentials of a user (`.creds`, a JWT and a seed), or with the seed of an "
        "NKey alone",
    )

    @property
    def ways(self) -> list[str]:
        names = ("password_file", "token_file", "credentials_file")
        return [name for name in names if getattr(self, name)]

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if len(self.ways) > 1:
            yield (
                f"{where(self.ways[1])}: a client shows in one way who it is; remove {self.ways[0]}"
            )
        if bool(self.user) != bool(self.password_file):
            absent = "password_file" if self.user else "user"
            yield f"{where(absent)}: is missing; user and password_file belong together"

    def read(self) -> Mapping[str, object]:
        """Arguments of nats-py's `connect`, with what the files hold now.

        Raises:
            UpstreamError: One cannot be used; says why.
        """
        if self.password_file:
            return {"user": self.user, "password": _secret(self.password_file)}
        if self.token_file:
            return {"token": _secret(self.token_file)}
        if self.credentials_file:
            return _signing(self.credentials_file)
        return {}


def login_warnings(url: Url, keys: LoginKeys, where: Where, name: str) -> Iterator[str]:
    """Warn of a secret that is sent unencrypted; an NKey never is."""
    if url.scheme == "nats" and keys.ways and not keys.credentials_file:
        yield f"{where(name)}: {keys.ways[0]} is sent unencrypted over nats://; use nats+tls://"


def _secret(path: str) -> str:
    try:
        return token_from_file(path).reveal().decode()
    except ValueError as error:
        raise UpstreamError(str(error)) from None


def _signing(path: str) -> Mapping[str, object]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from relay.wire.nats.nkey import public_key_text, read_credentials

    try:
        found = read_credentials(content_of(path, bytes_max=_CREDENTIALS_BYTES_MAX))
    except OSError as error:
        raise UpstreamError(f"cannot read the file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UpstreamError(f"{path}: {error}") from None
    private = Ed25519PrivateKey.from_private_bytes(found.seed)

    def sign(nonce: str) -> bytes:
        return base64.b64encode(private.sign(nonce.encode()))

    if found.jwt:
        return {"signature_cb": sign, "user_jwt_cb": lambda: found.jwt}
    return {
        "signature_cb": sign,
        "public_nkey": public_key_text(private.public_key().public_bytes_raw()),
    }


class ServerCertificates(ClientCertificates):
    """The files of TLS for one client, which are read when it connects."""

    def context(self) -> ssl.SSLContext:
        """UpstreamError says which file cannot be used."""
        tls = self._tls
        try:
            context = ssl.create_default_context(cafile=tls.trusted_ca or None)
        except (OSError, ssl.SSLError) as error:
            raise UpstreamError(_unusable(error)) from None
        is_new = tls.tls_version_min == "1.3"
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if is_new else ssl.TLSVersion.TLSv1_2
        if tls.peer_verify == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        passphrase = self.passphrase()
        try:
            if tls.crl:
                context.load_verify_locations(tls.crl)
                context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
            if tls.certificate:
                context.load_cert_chain(tls.certificate, tls.private_key, passphrase or None)
        except (OSError, ssl.SSLError) as error:
            raise UpstreamError(_unusable(error)) from None
        return context


def _unusable(error: OSError) -> str:
    return f"a file of TLS cannot be used: {error}"


def new_login(
    name: str,
    url: Url,
    keys: LoginKeys,
    tls: TlsConfiguration | None,
    certificates: ServerCertificates | None,
    *,
    connect_seconds_max: float,
    answer_seconds_max: float,
) -> Login:
    """Where a client connects, and as whom."""
    from relay.transport.nats.client import Login

    context: Callable[[], ssl.SSLContext] | None = None
    if certificates is not None:
        context = certificates.context
    return Login(
        servers=servers_of(url),
        name=name,
        read_secrets=keys.read,
        tls=context,
        server_name="" if tls is None else tls.server_name,
        connect_seconds_max=connect_seconds_max,
        answer_seconds_max=answer_seconds_max,
    )


def servers_of(url: Url) -> Sequence[tuple[str, int]]:
    return ((url.host, url.port), *url.others)


def stream_of(url: Url) -> str:
    return url.path.removeprefix("/")


def common_problems(url: Url, where: Where, name: str) -> Iterator[str]:
    """Problems of the URL, and a library that is missing on this host."""
    from relay.transport.nats.library import MISSING, library_problem

    if not url.path:
        yield (
            f"{where(name)}: the stream is missing; write it behind the hosts, as in "
            f"{url.scheme}://{url.authority}/LOGS"
        )
    if library_problem():
        yield f"{where(name)}: {MISSING}"


def is_same_stream(listen: Url, connect: Url) -> bool:
    """Whether a source reads what a destination publishes, as far as their URLs tell."""
    return listen.path == connect.path and not set(servers_of(listen)).isdisjoint(
        servers_of(connect)
    )
