"""When our certificates and the revocation lists of others end, and when to say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from relay.transport.tls_context import TlsMaterial, load_crls

__all__ = ["Expiry", "expiries_of"]

_DAY_SECONDS = 86400.0
_HOUR_SECONDS = 3600.0
_CERTIFICATE_WARNINGS = (0.0, 1 * _DAY_SECONDS, 7 * _DAY_SECONDS, 30 * _DAY_SECONDS)
_CRL_WARNING_SECONDS_MAX = _DAY_SECONDS


@dataclass(slots=True)
class Expiry:
    """The end of one certificate or revocation list."""

    path: str
    """The file that it is in."""
    ends_at: float
    """Seconds since 1970."""
    warnings: Sequence[float]
    """How many seconds before the end to warn, ascending."""
    issuer: str = ""
    """Whose revocation list it is; empty = it is our certificate."""
    _warned: float | None = None
    """The one of `warnings` that was warned of last."""

    def warning(self, now: float) -> str:
        """What to warn of at `now`; empty if nothing, or if it was warned of already."""
        left = self.ends_at - now
        due = next((seconds for seconds in self.warnings if left <= seconds), None)
        if due is None or due == self._warned:
            return ""
        self._warned = due
        if not self.issuer:
            words = "has expired" if left <= 0 else f"expires in {left / _DAY_SECONDS:.1f} days"
            return f"the certificate in {self.path} {words}"
        what = f"the revocation list of {self.issuer!r} in {self.path}"
        if left > 0:
            return f"{what} expires in {left / _HOUR_SECONDS:.1f} hours; put the next one there"
        return (
            f"{what} has expired: every peer whose certificate this issuer has signed is refused "
            "until the next one is there"
        )

    def report(self, subject: str, now: float) -> dict[str, Any]:
        """For status: whose it is, and the days that are left."""
        days = (self.ends_at - now) / _DAY_SECONDS
        if not self.issuer:
            return {
                "subject": subject,
                "kind": "certificate",
                "certificate": self.path,
                "expires_days": round(days, 1),
            }
        return {
            "subject": subject,
            "kind": "crl",
            "crl": self.path,
            "issuer": self.issuer,
            "next_update": f"{datetime.fromtimestamp(self.ends_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "days_left": round(days, 2),
            "is_due": self.ends_at - now <= self.warnings[-1],
        }


def expiries_of(material: TlsMaterial, *, certificate: str) -> list[Expiry]:
    """What of `material` expires: our certificate, and one revocation list of each issuer.

    Args:
        certificate: The file of our certificate, for words.
    """
    expiries = []
    if material.certificate_pem:
        own = x509.load_pem_x509_certificate(material.certificate_pem)
        ends_at = own.not_valid_after_utc.timestamp()
        expiries.append(Expiry(certificate, ends_at, _CERTIFICATE_WARNINGS))
    if material.crl_pem:
        expiries += _crl_expiries(material)
    return expiries


def _crl_expiries(material: TlsMaterial) -> list[Expiry]:
    """The list that holds longest counts, of each issuer; one without nextUpdate holds for ever."""
    last: dict[str, Expiry | None] = {}
    for crl in load_crls(material.crl_pem):
        issuer = crl.issuer.rfc4514_string() or "nobody"
        if crl.next_update_utc is None:
            last[issuer] = None
            continue
        ends_at = crl.next_update_utc.timestamp()
        life_seconds = ends_at - crl.last_update_utc.timestamp()
        before = max(0.0, min(_CRL_WARNING_SECONDS_MAX, life_seconds / 4))
        expiry = Expiry(material.crl, ends_at, (0.0, before), issuer)
        known = last.setdefault(issuer, expiry)
        if known is not None and known.ends_at < ends_at:
            last[issuer] = expiry
    return [expiry for expiry in last.values() if expiry is not None]
