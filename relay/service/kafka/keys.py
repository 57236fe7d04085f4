"""Keys that sources and destinations of Kafka have in common, and librdkafka's settings of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from relay.model.errors import UpstreamError
from relay.service.configuration.keys import key, read_record
from relay.service.configuration.model import TlsConfiguration, Url, Where
from relay.service.configuration.reading import Reading, SecretFile
from relay.service.configuration.table import Choice, Text, join_path, shown
from relay.service.configuration.tables.rewrite import token_from_file
from relay.service.configuration.url import Cluster
from relay.service.log.tls import ClientCertificates

TOPIC_BYTES_MAX = 249
TOPIC = rf"(?!\.{{1,2}}\Z)[A-Za-z0-9._-]{{1,{TOPIC_BYTES_MAX}}}"
"""The pattern of a name that Kafka allows."""
TOPIC_ALLOWED = (
    f"1 to {TOPIC_BYTES_MAX} ASCII letters, digits, '.', '_' and '-', and neither '.' nor '..'"
)

BROKERS = Cluster(9092, "topic", TOPIC, TOPIC_ALLOWED)
TLS_BROKERS = Cluster(9093, "topic", TOPIC, TOPIC_ALLOWED)

TLS_WITHOUT = (
    "peer_names",
    "peer_fingerprints",
    "server_name",
    "tls_version_min",
    "tls_ciphers",
)
"""Keys for TLS that librdkafka has no setting for, or under a name of its own (`options`)."""

_OPTION = re.compile(r"[a-z][a-z0-9_.]{0,99}")
_OPTION_TEXT = re.compile(r"[ -~]{0,4096}")

_SAME_DELIVERY = "is fixed: other values lose messages, change their order or bring them twice"
_SAME_KEYS = {
    ("bootstrap.servers", "metadata.broker.list"): "are the hosts of the URL",
    ("security.protocol",): "follows from the URL and from sasl",
    (
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "enable.sasl.oauthbearer.unsecure.jwt",
    ): "has a key in the table sasl",
    ("ssl.ca.location", "ssl.ca.pem", "ssl.ca.certificate.stores"): "is the key trusted_ca",
    (
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.keystore.location",
        "ssl.keystore.password",
    ): "is the key certificate",
    ("ssl.key.location", "ssl.key.pem"): "is the key private_key",
    ("ssl.key.password",): "is the key private_key_passphrase_file",
    ("ssl.crl.location",): "is the key crl",
    ("enable.ssl.certificate.verification",): "is the key peer_verify",
    (
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "transactional.id",
        "delivery.report.only.error",
        "queuing.strategy",
        "partitioner",
    ): _SAME_DELIVERY,
    (
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "enable.partition.eof",
        "offset.store.method",
    ): _SAME_DELIVERY,
    ("allow.auto.create.topics",): "is fixed: a topic has to be made with all its partitions",
    (
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
    ): "is the window of records in flight, which the relay counts itself",
    ("linger.ms", "queue.buffering.max.ms"): "is the key linger_seconds",
    ("compression.codec", "compression.type"): "is the key compression",
    ("group.id",): "is the key group",
    ("group.instance.id",): "is the key group_instance",
    ("client.rack",): "is the key client_rack",
    (
        "log.queue",
        "dr_cb",
        "dr_msg_cb",
        "error_cb",
        "throttle_cb",
        "stats_cb",
        "log_cb",
        "opaque",
        "default_topic_conf",
        "enabled_events",
        "background_event_cb",
    ): "belongs to the relay",
}
RESERVED_OPTIONS: Mapping[str, str] = {
    name: reason for names, reason in _SAME_KEYS.items() for name in names
}
"""Settings of librdkafka that `options` refuses, with the reason."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """A table of librdkafka's settings."""

    allowed: ClassVar[str] = 'a table such as { "socket.keepalive.enable" = true }'

    def read(self, value: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        return tuple((name, self._text(name, each)) for name, each in value.items())

    def _text(self, name: str, value: object) -> str:
        if not _OPTION.fullmatch(name):
            raise ValueError(f"{shown(name)} is no name of librdkafka's; expected {self.allowed}")
        if reason := RESERVED_OPTIONS.get(name):
            raise ValueError(f"{name} {reason}; remove it from options")
        if isinstance(value, bool):
            return "true" if value else "false"
        text = str(value) if isinstance(value, int | float) else value
        # The value is not shown: it may be a secret.
        if not isinstance(text, str) or not _OPTION_TEXT.fullmatch(text):
            raise ValueError(f"{name}: expected true, false, a number or a text of printable ASCII")
        return text


@dataclass(frozen=True, slots=True)
class Sasl:
    """The user that brokers know the relay by."""

    mechanism: str = key(
        Choice(("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")),
        "",
        "how the relay shows who it is",
        required=True,
        example='"SCRAM-SHA-512"',
    )
    user: str = key(Text("a user name", r"[^\0\n]{1,255}"), "", "for PLAIN and SCRAM")
    password_file: str = key(
        SecretFile(is_token=True), "", "file that holds nothing but the password of `user`"
    )
    token_url: str = key(
        Text("a URL such as https://login.example.com/token", r"https?://[!-~]{1,2000}"),
        "",
        "where OAUTHBEARER gets its tokens (OpenID Connect, client credentials)",
    )
    client_id: str = key(Text("a client id", r"[!-~]{1,255}"), "", "for OAUTHBEARER")
    client_secret_file: str = key(
        SecretFile(is_token=True), "", "file that holds nothing but the secret of `client_id`"
    )
    scope: str = key(Text("a scope", r"[ -~]{1,1000}"), "", "asked for with the token")

    @property
    def is_oauth(self) -> bool:
        return self.mechanism == "OAUTHBEARER"

    def problems(self, where: Where) -> Iterator[str]:
        password = ["user", "password_file"]
        oauth = ["token_url", "client_id", "client_secret_file"]
        needed, foreign = (oauth, password) if self.is_oauth else (password, [*oauth, "scope"])
        for name in needed:
            if self.mechanism and not getattr(self, name):
                yield f"{where(name)}: is missing; {self.mechanism} needs {' and '.join(needed)}"
        for name in foreign:
            if self.mechanism and getattr(self, name):
                yield f"{where(name)}: has no meaning with {self.mechanism}; remove it"

    def settings(self) -> dict[str, str]:
        """librdkafka's, with what the files hold now; UpstreamError says what is wrong."""
        if not self.is_oauth:
            return {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.user,
                "sasl.password": _secret(self.password_file),
            }
        return {
            "sasl.mechanism": self.mechanism,
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.token_url,
            "sasl.oauthbearer.client.id": self.client_id,
            "sasl.oauthbearer.client.secret": _secret(self.client_secret_file),
            **({"sasl.oauthbearer.scope": self.scope} if self.scope else {}),
        }


def _secret(path: str) -> str:
    try:
        return token_from_file(path).reveal().decode()
    except ValueError as error:
        raise UpstreamError(str(error)) from None


@dataclass(frozen=True, slots=True)
class SaslTable:
    """A table with the keys of `Sasl`."""

    allowed: ClassVar[str] = (
        'a table such as { mechanism = "SCRAM-SHA-512", user = "relay", password_file = "…" }'
    )

    def read_at(self, value: object, path: str, reading: Reading, /) -> Sasl:
        return read_record(Sasl, value, path, reading)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """Keys of whatever is a client of Kafka."""

    sasl: Sasl | None = key(
        SaslTable(),
        None,
        "user and password, or token: a table with `mechanism`, and `user` and `password_file`, "
        "or `token_url`, `client_id`, `client_secret_file` and `scope`",
        default_text="none",
    )
    options: tuple[tuple[str, str], ...] = key(
        ClientOptions(), (), "further settings of librdkafka", default_text="none"
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        from relay.transport.kafka.library import settings_problem

        if self.sasl is not None:
            yield from self.sasl.problems(partial(join_path, where("sasl")))
        try:
            if found := settings_problem(dict(self.options)):
                yield f"{where('options')}: {found}"
        except ImportError as error:
            yield f"{where('connect')}: {error}"


class BrokerCertificates(ClientCertificates):
    """The files of TLS for one client.  librdkafka reads them when a client is made."""

    def settings(self) -> dict[str, str]:
        """librdkafka's.  UpstreamError = a file cannot be read."""
        tls, passphrase = self._tls, self.passphrase()
        found = {
            "ssl.ca.location": tls.trusted_ca or "probe",
            "ssl.certificate.location": tls.certificate,
            "ssl.key.location": tls.private_key,
            "ssl.key.password": passphrase.decode("utf-8", "surrogateescape"),
            "ssl.crl.location": tls.crl,
        }
        if tls.peer_verify == "none":
            found["enable.ssl.certificate.verification"] = "false"
        return {name: value for name, value in found.items() if value}


def client_settings(
    url: Url, keys: ClientKeys, certificates: BrokerCertificates | None
) -> dict[str, str]:
    """librdkafka's settings for a client, with what the files hold now.

    Raises:
        UpstreamError: A password cannot be read.
    """
    layers = ("sasl_" if keys.sasl else "") + ("ssl" if certificates else "plaintext")
    return {
        "client.id": "syslogrelay",
        "socket.keepalive.enable": "true",
        **dict(keys.options),
        "bootstrap.servers": url.authority,
        "security.protocol": layers,
        "allow.auto.create.topics": "false",
        **(certificates.settings() if certificates else {}),
        **(keys.sasl.settings() if keys.sasl else {}),
    }


def sasl_warnings(
    url: Url, keys: ClientKeys, tls: TlsConfiguration | None, place: str
) -> Sequence[str]:
    """Warn of what is sent unencrypted."""
    if keys.sasl is None or tls is not None:
        return ()
    sent = "a token" if keys.sasl.is_oauth else "the password"
    if keys.sasl.mechanism.startswith("SCRAM"):
        return ()
    return (f"{place}: {sent} is sent unencrypted over {url.scheme}://; use TLS",)
