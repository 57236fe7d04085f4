"""TLS of clients that read the files by themselves."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from relay.model.errors import UpstreamError
from relay.service.configuration.model import TlsConfiguration
from relay.service.kafka.keys import BrokerCertificates
from relay.service.log.tls import ClientCertificates, ClientTls, keep_certificates
from relay.service.nats.keys import ServerCertificates
from relay.service.prerequisite import Prerequisite
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.tls.endpoints import TlsMaterial
from tests.certificate_files import make_certificate_files
from tests.connections import RecordingNotices
from tests.threads import Reactor


@pytest.fixture
def encrypted(tmp_path: Path) -> TlsConfiguration:
    """A client's certificate, whose key has a passphrase."""
    files = make_certificate_files(tmp_path)
    key = load_pem_private_key(Path(files.client_key).read_bytes(), None)
    path, passphrase = tmp_path / "encrypted.pem", tmp_path / "passphrase"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"horse"))
    )
    path.chmod(0o600)
    passphrase.write_bytes(b"horse\n")
    passphrase.chmod(0o600)
    return TlsConfiguration(
        trusted_ca=files.ca,
        certificate=files.client_certificate,
        private_key=str(path),
        private_key_passphrase_file=str(passphrase),
    )


def test_a_probe_opens_a_key_with_a_passphrase(encrypted: TlsConfiguration) -> None:
    context = ServerCertificates(None, tls=encrypted).context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert BrokerCertificates(None, tls=encrypted).settings()["ssl.key.password"] == "horse"


def test_new_material_has_the_passphrase(encrypted: TlsConfiguration) -> None:
    certificates = ClientCertificates(None, tls=encrypted)
    certificates.renew(TlsMaterial(passphrase=b"other"))
    assert certificates.passphrase() == b"other"


def test_a_file_that_cannot_be_read_is_trouble_of_the_upstream() -> None:
    certificates = ClientCertificates(None, tls=TlsConfiguration(trusted_ca="/no/such"))
    with pytest.raises(UpstreamError, match="a file of TLS cannot be used: "):
        certificates.passphrase()


def test_files_are_watched(encrypted: TlsConfiguration) -> None:
    notices = RecordingNotices()
    watch = CertificateWatch(notices=notices, now=float, clock=Reactor())  # type: ignore[arg-type]
    files = Prerequisite("it waits")
    assert keep_certificates(ClientCertificates, "source in", None, watch, files) is None
    absent = ClientTls(trusted_ca="/no/such")
    kept = keep_certificates(ClientCertificates, "source in", absent, watch, files)
    assert isinstance(kept, ClientCertificates)
    assert "/no/such" in files.trouble
