"""When our certificates and the revocation lists of others end, and when to say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from relay.model.text import Document
from relay.transport.tls.context import TlsMaterial, load_crls

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
            return self._words(left)
        if left > 0:
            hours = left / _HOUR_SECONDS
            return f"{self._what} expires in {hours:.1f} hours; put the next one there"
        return (
            f"{self._what} has expired: every peer whose certificate this issuer has signed is "
            "refused until the next one is there"
        )

    def report(self, subject: str, now: float) -> Document:
        """For status: whose it is, the days that are left, and the same in words."""
        left = self.ends_at - now
        days = left / _DAY_SECONDS
        if not self.issuer:
            return {
                "subject": subject,
                "kind": "certificate",
                "certificate": self.path,
                "expires_days": round(days, 1),
                "problem": self._words(left),
            }
        return {
            "subject": subject,
            "kind": "crl",
            "crl": self.path,
            "issuer": self.issuer,
            "next_update": self._ends,
            "days_left": round(days, 2),
            "is_due": left <= self.warnings[-1],
            "problem": self._words(left),
        }

    @property
    def _what(self) -> str:
        if self.issuer:
            return f"the revocation list of {self.issuer!r} in {self.path}"
        return f"the certificate in {self.path}"

    @property
    def _ends(self) -> str:
        return f"{datetime.fromtimestamp(self.ends_at, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def _words(self, left: float) -> str:
        """When it ends or has ended; `left` seconds are left."""
        if self.issuer:
            when = "expires at" if left > 0 else "should have been replaced by"
            return f"{self._what} {when} {self._ends}"
        when = "has expired" if left <= 0 else f"expires in {left / _DAY_SECONDS:.1f} days"
        return f"{self._what} {when}"


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
