"""Tell of certificates: whose they are, and the days that they have left."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509

from relay.model.text import counted, printable
from relay.service.configuration.model import TlsConfiguration
from relay.service.probes.probe import Probe
from relay.service.tls.files import file_problems, read_material
from relay.transport.tls.peer_check import names_of

_DAYS_MIN = 14
"""As `status --check` has it."""


def probe_own_certificate(probe: Probe, tls: TlsConfiguration | None) -> None:
    """The relay's own certificate; one that cannot be used is a problem of the configuration."""
    if tls is None or not tls.certificate or file_problems(tls, lambda key: key):
        return
    own = x509.load_pem_x509_certificate(read_material(tls).certificate_pem)
    tell_of_certificate(probe, own, f"own certificate {tls.certificate}: ")


def tell_of_certificate(probe: Probe, certificate: x509.Certificate, whose: str = "") -> None:
    """Subject, names, issuer and days left; few of them are a warning."""
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    names = ", ".join(names_of(certificate))
    who = certificate.subject.rfc4514_string() + (f" for {names}" if names else "")
    issuer = certificate.issuer.rfc4514_string()
    signed = "" if certificate.subject == certificate.issuer else f", signed by {issuer}"
    text = f"{whose}{printable(who)}{printable(signed)}, {counted(left.days, 'day')} left"
    if left.days >= _DAYS_MIN:
        probe.passed("handshake", text)
    else:
        probe.warn("handshake", "tls-expires-soon", text, "renew it before connections are refused")
