from __future__ import annotations

import pytest

from relay.cli.moving.imported import Imported
from relay.cli.moving.kafka import Client, kafka_url, read_client
from relay.cli.moving.report import Place, Report


def read(settings: dict[str, str], *, is_source: bool = False) -> tuple[Client, list[str]]:
    imported = Imported("rsyslog", Report())
    client = Client(imported, is_source=is_source)
    read_client(settings, client, imported.report.statement(Place("x", 1), "settings"))
    return client, imported.report.lines()


@pytest.mark.parametrize(
    ("brokers", "topic", "has_tls", "url"),
    [
        (["k1:1, k2"], "logs", False, "kafka://k1:1,k2:9092/logs"),
        (
            ["SSL://k1:9093", "[2001:db8::1]:9093"],
            "",
            True,
            "kafka+tls://k1:9093,[2001:db8::1]:9093",
        ),
        (["k", "k:9092"], "a", False, "kafka://k:9092/a"),
    ],
)
def test_urls(brokers: list[str], topic: str, has_tls: bool, url: str) -> None:
    assert kafka_url(brokers, topic, has_tls=has_tls) == url


@pytest.mark.parametrize(
    ("brokers", "topic", "said"),
    [
        ([], "a", "names no broker"),
        (["k 1"], "a", "'k 1' is no broker"),
        (["k:0"], "a", "no broker"),
        (["k:99999"], "a", "no broker"),
        (["k"], "a b", "'a b' is no topic"),
        (["k"], "^a.*", "no topic"),
    ],
)
def test_what_is_no_url(brokers: list[str], topic: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kafka_url(brokers, topic, has_tls=False)


def test_settings_become_keys_and_the_rest_options() -> None:
    client, lines = read(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "scram-sha-256",
            "sasl.username": "relay",
            "sasl.password": "hunter2-secret",
            "ssl.ca.location": "/ca.pem",
            "ssl.key.password": "another-secret",
            "compression.type": "ZSTD",
            "linger.ms": "2.5",
            "acks": "1",
            "client.id": "x",
        }
    )
    assert client.finish() == {
        "sasl": {
            "mechanism": "SCRAM-SHA-256",
            "user": "relay",
            "password_file": "kafka.password",
        },
        "trusted_ca": "/ca.pem",
        "private_key_passphrase_file": "kafka.passphrase",
        "compression": "zstd",
        "linger_seconds": 0.0025,
        "options": {"client.id": "x"},
    }
    assert client.has_tls
    assert client.imported.extra_files["kafka.password"].is_secret
    assert "secret" not in "".join(line for line in lines if "written" not in line)


def test_a_source_has_group_and_beginning() -> None:
    client, _ = read({"group.id": "g", "auto.offset.reset": "latest"}, is_source=True)
    assert client.finish() == {"group": "g", "read_from": "end"}


def test_keys_of_tls_without_tls_are_left_out() -> None:
    client, _ = read({"ssl.ca.location": "/ca.pem", "enable.ssl.certificate.verification": "false"})
    assert client.finish() == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compression.codec", "odd"),
        ("linger.ms", "soon"),
        ("NOT A NAME", "x"),
        ("client.id", "ä"),
        ("security.protocol", "sasl_plaintext"),
    ],
)
def test_what_has_no_counterpart_is_said(name: str, text: str) -> None:
    client, lines = read({name: text})
    assert client.finish() == {}
    assert any("not supported" in line for line in lines)
