from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.model.errors import UpstreamError
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.kafka.keys import (
    BROKERS,
    RESERVED_OPTIONS,
    TLS_BROKERS,
    BrokerCertificates,
    ClientKeys,
    ClientOptions,
    Sasl,
    client_settings,
    sasl_warnings,
)
from relay.transport.tls.endpoints import TlsMaterial

URL = BROKERS.read("kafka", "//k1:9092,k2:9093/logs", "connect", "")


def where(name: str) -> str:
    return f"destinations.bus.{name}"


def problems(keys: ClientKeys) -> Sequence[str]:
    return list(keys.problems(where, ()))


def password_file(folder: Path, text: str = "correct-horse") -> str:
    path = folder / "password"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def test_a_url_names_brokers_and_a_topic() -> None:
    assert Url("kafka", "k1", 9092, "/logs", others=(("k2", 9093),)) == URL
    assert str(URL) == "kafka://k1:9092,k2:9093/logs"
    one = TLS_BROKERS.read("kafka+tls", "//[::1]:9093", "connect", "")
    assert (one.authority, one.path) == ("[::1]:9093", "")


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("//k1:9092/.", "'/.' behind the hosts; the topic is 1 to 249 ASCII letters"),
        ("//k1:9092/", "'/' behind the hosts"),
        ("//k1:9092/a/b", "'/a/b' behind the hosts"),
        ("//k1:9092/" + "x" * 250, "behind the hosts"),
        ("//k1/logs", "the port is missing; write it as in kafka://host:9092"),
        ("//k1:9092,/logs", "the host is missing"),
        ("//k1:9092,k1:9092/logs", "k1:9092 is there twice; remove one of them"),
        ("//u:p@k1:9092/logs", "a user name or password before '@' has no meaning here"),
        ("k1:9092/logs", "kafka needs two slashes"),
    ],
)
def test_a_url_that_cannot_be(rest: str, problem: str) -> None:
    with pytest.raises(ValueError) as found:
        BROKERS.read("kafka", rest, "connect", "")
    assert problem in str(found.value)
    assert "u:p" not in str(found.value)


def test_options_are_texts_for_librdkafka() -> None:
    given = {"socket.keepalive.enable": True, "socket.timeout.ms": 5000, "client.id": "x"}
    assert ClientOptions().read(given) == (
        ("socket.keepalive.enable", "true"),
        ("socket.timeout.ms", "5000"),
        ("client.id", "x"),
    )


@pytest.mark.parametrize("name", sorted(RESERVED_OPTIONS))
def test_what_the_relay_sets_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError) as found:
        ClientOptions().read({name: "hunter2"})
    assert RESERVED_OPTIONS[name] in str(found.value)
    assert "hunter2" not in str(found.value)


@pytest.mark.parametrize("given", [5, {"UPPER": "x"}, {"debug": ["x"]}, {"debug": "a\nb"}])
def test_other_options_are_refused(given: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        ClientOptions().read(given)


def test_the_library_judges_options() -> None:
    assert problems(ClientKeys(options=(("debug", "broker"),))) == []
    assert problems(ClientKeys(options=(("socket.keepalive", "true"),))) == [
        'destinations.bus.options: No such configuration property: "socket.keepalive"'
    ]


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    (only,) = problems(ClientKeys())
    assert only.startswith("destinations.bus.connect: the package confluent-kafka is missing")
    assert "syslogrelay[kafka]" in only


@pytest.mark.parametrize(
    ("sasl", "names"),
    [
        (Sasl("PLAIN"), ["user", "password_file"]),
        (Sasl("SCRAM-SHA-512", "u", "p", scope="s"), ["scope"]),
        (Sasl("OAUTHBEARER", "u"), ["token_url", "client_id", "client_secret_file", "user"]),
        (Sasl("SCRAM-SHA-256", "u", "p"), []),
        (Sasl("OAUTHBEARER", "", "", "https://x", "c", "f", "s"), []),
    ],
)
def test_each_mechanism_has_its_keys(sasl: Sasl, names: Sequence[str]) -> None:
    found = [line.partition(":")[0] for line in problems(ClientKeys(sasl))]
    assert found == [f"destinations.bus.sasl.{name}" for name in names]


def test_settings_of_a_client(tmp_path: Path) -> None:
    keys = ClientKeys(
        Sasl("SCRAM-SHA-512", "relay", password_file(tmp_path)), (("client.id", "mine"),)
    )
    settings = client_settings(URL, keys, None)
    assert settings["bootstrap.servers"] == "k1:9092,k2:9093"
    assert settings["security.protocol"] == "sasl_plaintext"
    assert settings["sasl.password"] == "correct-horse"
    assert settings["client.id"] == "mine"
    plain = client_settings(URL, ClientKeys(), None)
    assert plain["security.protocol"] == "plaintext"
    assert not [name for name in plain if name.startswith(("sasl", "ssl"))]


def test_settings_of_oauth(tmp_path: Path) -> None:
    sasl = Sasl("OAUTHBEARER", "", "", "https://x/t", "c", password_file(tmp_path), "logs")
    settings = client_settings(URL, ClientKeys(sasl), None)
    assert settings["sasl.oauthbearer.method"] == "oidc"
    assert settings["sasl.oauthbearer.client.secret"] == "correct-horse"
    assert settings["sasl.oauthbearer.scope"] == "logs"


def test_a_password_that_cannot_be_read_is_trouble_of_the_upstream(tmp_path: Path) -> None:
    keys = ClientKeys(Sasl("PLAIN", "relay", str(tmp_path / "absent")))
    with pytest.raises(UpstreamError, match="absent"):
        client_settings(URL, keys, None)


def test_tls_verifies_the_broker_unless_told_otherwise() -> None:
    tls = TlsConfiguration(trusted_ca="/ca", certificate="/c", private_key="/k", crl="/crl")
    certificates = BrokerCertificates(None, tls=tls)
    certificates.renew(TlsMaterial(passphrase=b"open"))
    settings = client_settings(URL, ClientKeys(), certificates)
    assert settings["security.protocol"] == "ssl"
    assert settings["ssl.ca.location"] == "/ca"
    assert settings["ssl.certificate.location"] == "/c"
    assert settings["ssl.key.location"] == "/k"
    assert settings["ssl.key.password"] == "open"
    assert settings["ssl.crl.location"] == "/crl"
    assert "enable.ssl.certificate.verification" not in settings
    loose = BrokerCertificates(None, tls=TlsConfiguration(peer_verify="none"))
    assert loose.settings() == {
        "ssl.ca.location": "probe",
        "enable.ssl.certificate.verification": "false",
    }


def test_a_password_in_clear_text_is_warned_of() -> None:
    keys = ClientKeys(Sasl("PLAIN", "u", "p"))
    assert sasl_warnings(URL, keys, None, "d.bus.sasl") == (
        "d.bus.sasl: the password is sent unencrypted over kafka://; use TLS",
    )
    assert sasl_warnings(URL, keys, TlsConfiguration(), "d.bus.sasl") == ()
    assert sasl_warnings(URL, ClientKeys(Sasl("SCRAM-SHA-256")), None, "d.bus.sasl") == ()
