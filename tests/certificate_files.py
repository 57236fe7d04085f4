"""A private authority, a server's and a client's certificate for tests, as PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relay.service.tls.certificates import Issued, make_authority, make_leaf
from tests.odd_certificates import make_crl

__all__ = ["CLIENT_NAME", "SERVER_NAME", "CertificateFiles", "make_certificate_files"]

SERVER_NAME = "central.example.com"
CLIENT_NAME = "web-1.example.com"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths as text, ready for configuration files."""

    ca: str
    server_certificate: str
    """For SERVER_NAME and 127.0.0.1."""
    server_key: str
    client_certificate: str
    """For CLIENT_NAME."""
    client_key: str
    crl: str
    """The authority's revocation list, with the client's certificate in it."""
    old_crl: str
    """An empty one whose time is over."""


def make_certificate_files(folder: Path) -> CertificateFiles:
    """Make them in `folder`; two calls make two authorities that do not trust each other."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = make_authority("Test authority", days=2)
    server = make_leaf(authority, [SERVER_NAME, "127.0.0.1"], purpose="server", days=1)
    client = make_leaf(authority, [CLIENT_NAME], purpose="client", days=1)
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate_pem())
    crl, old_crl = folder / "crl.pem", folder / "old-crl.pem"
    crl.write_bytes(make_crl(authority, [client]))
    old_crl.write_bytes(make_crl(authority, days=-1))
    server_certificate, server_key = _write(folder, "server", server)
    client_certificate, client_key = _write(folder, "client", client)
    return CertificateFiles(
        ca=str(ca),
        server_certificate=server_certificate,
        server_key=server_key,
        client_certificate=client_certificate,
        client_key=client_key,
        crl=str(crl),
        old_crl=str(old_crl),
    )


def _write(folder: Path, name: str, issued: Issued) -> tuple[str, str]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    certificate.write_bytes(issued.certificate_pem())
    key.write_bytes(issued.private_key_pem())
    return str(certificate), str(key)
