"""Brokers, topics and settings of librdkafka, as all dialects have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.report import Statement
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.url import is_host
from relay.service.kafka.keys import RESERVED_OPTIONS, TOPIC

__all__ = [
    "FALLBACK",
    "HAS_FALLBACK",
    "ONE_PARTITION",
    "REPLICAS",
    "Client",
    "kafka_url",
    "read_client",
]

ONE_PARTITION = (
    'all messages go to one partition, exactly once; key = "$HOST" spreads them, at least once'
)
FALLBACK = "logs"
HAS_FALLBACK = f"topic_fallback = {FALLBACK} gets messages for which topic gives no legal name"
REPLICAS = "a topic has to promise two replicas, or write replicas_min"
_BROKER = re.compile(r"(?:[A-Za-z_]+://)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+)(?::([0-9]{1,5}))?")
_OPTION = re.compile(r"[a-z][a-z0-9_.]{0,99}")
_VALUE = re.compile(r"[ -~]{0,4096}")
_FILES = {
    "ssl.ca.location": "trusted_ca",
    "ssl.certificate.location": "certificate",
    "ssl.key.location": "private_key",
    "ssl.crl.location": "crl",
}
_COMPRESSIONS = ("none", "lz4", "zstd", "snappy", "gzip")
_BEGINNINGS = {"smallest": "beginning", "earliest": "beginning", "beginning": "beginning"}
_BEGINNINGS |= {"largest": "end", "latest": "end", "end": "end"}
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SECRET = ("password", "secret", "jaas", "pem")


@dataclass(slots=True)
class Client:
    """Keys of a source or destination, from librdkafka's settings."""

    imported: Imported
    is_source: bool
    keys: dict[str, TomlValue] = field(default_factory=dict)
    options: dict[str, TomlValue] = field(default_factory=dict)
    has_tls: bool = False

    def secret(self, name: str, text: str) -> str:
        """The name of a file with `text` beside the configuration."""
        self.imported.report.hide(text)
        return self.imported.add_file(name, ExtraFile(f"{text}\n", is_secret=True))

    def sasl(self, mechanism: str, user: str, password: str, said: Statement) -> None:
        """The table `sasl`."""
        name = mechanism.upper() or "PLAIN"
        if name not in _MECHANISMS or not user or not password:
            said.unsupported(f"SASL {name[:30]}: write the table sasl")
            return
        file = self.secret("kafka.password", password)
        self.keys["sasl"] = {"mechanism": name, "user": user, "password_file": file}
        said.taken("its user is the table sasl")

    def tls(self, keys: Mapping[str, TomlValue]) -> None:
        """Keys for TLS, which is on."""
        self.has_tls = True
        self.keys |= {name: value for name, value in keys.items() if name != "server_name"}

    def finish(self) -> dict[str, TomlValue]:
        """All keys but the URL."""
        keys = {**self.keys, **({"options": self.options} if self.options else {})}
        if not self.has_tls:
            for name in (*_FILES.values(), "peer_verify", "private_key_passphrase_file"):
                keys.pop(name, None)
        return keys


def kafka_url(brokers: Sequence[str], topic: str, *, has_tls: bool) -> str:
    """The URL of a topic; raises ValueError with what is wrong."""
    found = [part.strip() for text in brokers for part in text.split(",") if part.strip()]
    hosts = []
    for broker in found:
        match = _BROKER.fullmatch(broker)
        if match is None or not is_host(match[1].strip("[]")) or not 0 < int(match[2] or 1) < 65536:
            raise ValueError(f"{broker[:50]!r} is no broker such as kafka-1:9092")
        hosts.append(f"{match[1]}:{match[2] or 9092}")
    if not hosts:
        raise ValueError("it names no broker")
    if topic and not re.fullmatch(TOPIC, topic):
        raise ValueError(f"{topic[:50]!r} is no topic")
    scheme = "kafka+tls" if has_tls else "kafka"
    return f"{scheme}://{','.join(dict.fromkeys(hosts))}{f'/{topic}' if topic else ''}"


def read_client(settings: Mapping[str, str], client: Client, said: Statement) -> None:
    """Take librdkafka's settings; `said` is told what became of each that has no key."""
    left = {name.strip().lower(): text.strip() for name, text in settings.items()}
    for name, text in left.items():
        if any(word in name for word in _SECRET) and text:
            client.imported.report.hide(text)
    protocol = left.pop("security.protocol", "").lower()
    client.has_tls = client.has_tls or protocol.endswith("ssl")
    mechanism = left.pop("sasl.mechanisms", "") or left.pop("sasl.mechanism", "")
    left.pop("sasl.mechanism", None)
    user, password = left.pop("sasl.username", ""), left.pop("sasl.password", "")
    if user or password or protocol.startswith("sasl"):
        client.sasl(mechanism, user, password, said)
    readers = _SOURCE_SETTINGS if client.is_source else _DESTINATION_SETTINGS
    for name, text in left.items():
        reader = _SETTINGS.get(name) or readers.get(name)
        if reader is not None:
            if not reader(client, name, text):
                said.unsupported(f"{name}: the relay has no value like {text[:30]!r}")
        elif name in RESERVED_OPTIONS:
            said.taken(f"{name} {RESERVED_OPTIONS[name]}")
        elif _OPTION.fullmatch(name) and _VALUE.fullmatch(text):
            client.options[name] = text
        else:
            said.unsupported(f"{name[:50]}: no setting of librdkafka's")


_Setting = Callable[[Client, str, str], bool]


def _file(client: Client, name: str, text: str) -> bool:
    client.keys[_FILES[name]] = text
    return True


def _verification(client: Client, name: str, text: str) -> bool:
    if text.lower() in ("false", "no", "off", "0"):
        client.keys["peer_verify"] = "none"
    return True


def _passphrase(client: Client, name: str, text: str) -> bool:
    client.keys["private_key_passphrase_file"] = client.secret("kafka.passphrase", text)
    return True


def _compression(client: Client, name: str, text: str) -> bool:
    if text.lower() not in _COMPRESSIONS:
        return False
    client.keys["compression"] = text.lower()
    return True


def _linger(client: Client, name: str, text: str) -> bool:
    if not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,6})?", text):
        return False
    client.keys["linger_seconds"] = min(float(text) / 1000, 60.0)
    return True


def _beginning(client: Client, name: str, text: str) -> bool:
    if text.lower() not in _BEGINNINGS:
        return False
    client.keys["read_from"] = _BEGINNINGS[text.lower()]
    return True


def _group(client: Client, name: str, text: str) -> bool:
    key = {"group.id": "group", "group.instance.id": "group_instance"}[name]
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", text):
        return False
    client.keys[key] = text
    return True


_SETTINGS: Mapping[str, _Setting] = {
    **dict.fromkeys(_FILES, _file),
    "enable.ssl.certificate.verification": _verification,
    "ssl.key.password": _passphrase,
}
_DESTINATION_SETTINGS: Mapping[str, _Setting] = {
    **dict.fromkeys(("compression.codec", "compression.type"), _compression),
    **dict.fromkeys(("linger.ms", "queue.buffering.max.ms"), _linger),
}
_SOURCE_SETTINGS: Mapping[str, _Setting] = {
    "auto.offset.reset": _beginning,
    **dict.fromkeys(("group.id", "group.instance.id"), _group),
}
