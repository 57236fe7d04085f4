"""Keys that sources and destinations of NATS have in common."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from relay.model.errors import UpstreamError
from relay.service.configuration.model import TlsConfiguration
from relay.service.nats.keys import (
    SERVERS,
    LoginKeys,
    ServerCertificates,
    common_problems,
    login_warnings,
    new_login,
    stream_of,
)
from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.wire.nats.test_nkey import SEED, seed_text

URL = SERVERS.read("nats", "//n1:4222,n2:4223/LOGS", "connect", "")


def where(name: str) -> str:
    return f"destinations.bus.{name}"


def secret(folder: Path, text: bytes) -> str:
    path = folder / "secret"
    path.write_bytes(text)
    path.chmod(0o600)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificate_files(tmp_path_factory.mktemp("tls"))


def test_a_url_names_servers_and_a_stream() -> None:
    assert str(URL) == "nats://n1:4222,n2:4223/LOGS"
    assert stream_of(URL) == "LOGS"


def test_a_missing_stream_is_a_problem() -> None:
    url = SERVERS.read("nats", "//n1:4222", "connect", "")
    assert list(common_problems(URL, where, "connect")) == []
    (problem,) = common_problems(url, where, "connect")
    assert "the stream is missing; write it behind the hosts, as in nats://n1:4222/LOGS" in problem


@pytest.mark.parametrize("rest", ["//n1:4222/a.b", "//n1:4222/a b", "//n1:4222/"])
def test_a_stream_has_a_name_that_nats_allows(rest: str) -> None:
    with pytest.raises(ValueError, match="the stream is 1 to 255 ASCII letters"):
        SERVERS.read("nats", rest, "connect", "")


def test_who_connects_is_shown_in_one_way() -> None:
    (problem,) = LoginKeys(token_file="/t", credentials_file="/c").problems(where, ())
    assert problem.startswith("destinations.bus.credentials_file: ")
    (problem,) = LoginKeys(user="u").problems(where, ())
    assert "password_file: is missing" in problem
    assert list(LoginKeys(user="u", password_file="/p").problems(where, ())) == []


def test_secrets_in_the_clear_are_warned_of() -> None:
    assert list(login_warnings(URL, LoginKeys(token_file="/t"), where, "connect"))
    assert not list(login_warnings(URL, LoginKeys(credentials_file="/t"), where, "connect"))
    tls = SERVERS.read("nats+tls", "//n1:4222/LOGS", "connect", "")
    assert not list(login_warnings(tls, LoginKeys(token_file="/t"), where, "connect"))


def test_files_are_read_when_they_are_needed(tmp_path: Path) -> None:
    path = secret(tmp_path, b"correct-horse\n")
    assert LoginKeys(token_file=path).read() == {"token": "correct-horse"}
    user = LoginKeys(user="u", password_file=path)
    assert user.read() == {"user": "u", "password": "correct-horse"}
    assert LoginKeys().read() == {}
    secret(tmp_path, seed_text(SEED))
    assert str(LoginKeys(credentials_file=path).read()["public_nkey"]).startswith("U")


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for keys in (LoginKeys(token_file="/no/such"), LoginKeys(credentials_file="/no/such")):
        with pytest.raises(UpstreamError, match="such"):
            keys.read()
    path = secret(tmp_path, b"nothing")
    with pytest.raises(UpstreamError, match="expected one seed"):
        LoginKeys(credentials_file=path).read()


def test_the_files_of_tls_are_read_for_each_connection(files: CertificateFiles) -> None:
    tls = TlsConfiguration(
        trusted_ca=files.ca,
        certificate=files.client_certificate,
        private_key=files.client_key,
        crl=files.crl,
        tls_version_min="1.3",
    )
    context = ServerCertificates(None, tls=tls).context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_flags & ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def test_without_verification(files: CertificateFiles) -> None:
    tls = TlsConfiguration(peer_verify="none")
    assert ServerCertificates(None, tls=tls).context().verify_mode is ssl.CERT_NONE


def test_a_file_of_tls_that_is_away_is_no_defect() -> None:
    for tls in (TlsConfiguration(trusted_ca="/no/such"), TlsConfiguration(crl="/no/such")):
        with pytest.raises(UpstreamError, match="a file of TLS cannot be used"):
            ServerCertificates(None, tls=tls).context()


def test_a_login_hides_its_secrets(tmp_path: Path) -> None:
    keys = LoginKeys(token_file=secret(tmp_path, b"correct-horse"))
    tls = TlsConfiguration(server_name="nats.example.com")
    login = new_login(
        "bus",
        URL,
        keys,
        tls,
        ServerCertificates(None, tls=tls),
        connect_seconds_max=3.0,
        answer_seconds_max=2.0,
    )
    assert login.target == "n1:4222,n2:4223"
    assert login.server_name == "nats.example.com"
    assert login.tls is not None
    assert "horse" not in repr(login)
