"""Explanations of TLS failures: which end to change, and which key or file.

OpenSSL only names an alert or a protocol error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL

from relay.transport.tls.peer_check import names_of

TLS_ALERT = b"\x15\x03"
"""First bytes of an alert (RFC 8446 §5.1), which TLS servers may send to plain-text clients."""


class TlsFailure(NamedTuple):
    kind: str
    """One of a few names; empty = not a TLS failure."""
    text: str


@dataclass(frozen=True, slots=True)
class TlsEnd:
    """Our end of a connection, for messages; `TlsListener` and `TlsUpstream` leave it with it."""

    peer: str
    """The role of the other end: receiver or sender."""
    certificate: str = ""
    """Our own, with its file and name; empty = there is none."""
    issuer: str = ""
    valid_until: str = ""
    names: str = ""
    version_min: str = "1.2"
    wanted: str = ""
    """Which certificates this end accepts."""

    def explain(self, texts: Sequence[str], reason: str) -> str:
        """The one of `texts` for this end: a sender, a sender without a certificate, a receiver."""
        index = 2 if self.peer == "sender" else 0 if self.certificate else 1
        return texts[min(index, len(texts) - 1)].format(
            reason=reason,
            peer=self.peer,
            own=self.certificate or "our certificate",
            issuer=self.issuer,
            until=self.valid_until,
            names=self.names or "nobody",
            version=self.version_min,
            purpose="clientAuth" if self.peer == "receiver" else "serverAuth",
            wanted=f", expected {self.wanted}" if self.wanted else "",
        )

    @classmethod
    def of(cls, peer: str, pem: bytes, path: str, *, version_min: str, wanted: str = "") -> TlsEnd:
        """With the certificate in `pem`, which the file at `path` holds."""
        if not pem:
            return cls(peer, version_min=version_min, wanted=wanted)
        own = x509.load_pem_x509_certificates(pem)[0]
        place = f"the certificate in {path}" if path else "our certificate"
        return cls(
            peer,
            f"{place} ({own.subject.rfc4514_string()})",
            own.issuer.rfc4514_string(),
            f"{own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            ", ".join(names_of(own)),
            version_min,
            wanted,
        )


_UNKNOWN_END = TlsEnd("peer")

_CIPHERS = "allows none of our ciphers (`tls_ciphers`)"
_VERSIONS = "supports no version of TLS from {version} on (`tls_version_min`)"
_NOT_ACCEPTED = (
    "the receiver does not accept {own}: it may require another name or fingerprint "
    "(`peer_names` and `peer_fingerprints` there); its log says why",
    "the receiver refused the handshake ({reason}); its log says why",
    "the sender does not accept {own}, which is for {names}: it may expect another name "
    "(`server_name` there), or not trust the issuer; its log says why",
)
_ALERTS: Mapping[str, Sequence[str]] = {
    "certificate required": (
        "the receiver requires a client certificate and rejected {own}",
        "the receiver requires a client certificate: set `certificate` and `private_key`",
    ),
    "unknown ca": ["the {peer}'s trusted_ca does not know the issuer of {own}: {issuer}"],
    "certificate expired": [
        "the {peer} says that {own} has expired; it is valid until {until}: replace it, or set "
        "the clock there"
    ],
    "certificate revoked": ["the {peer} says that {own} was revoked: replace it"],
    "unsupported certificate": [
        "the {peer} rejects {own} for this purpose: its extended key usage has to allow {purpose}"
    ],
    "handshake failure": (
        f"the receiver {_CIPHERS}, or requires another certificate than {{own}}",
        "the receiver requires a client certificate (set `certificate` and `private_key`), or "
        + _CIPHERS,
        f"the sender {_CIPHERS}",
    ),
    "insufficient security": [f"the {{peer}} {_CIPHERS}"],
    "protocol version": [f"the {{peer}} {_VERSIONS}"],
    "unrecognized name": [
        "the receiver has no certificate for the name in the URL (or in `server_name`)"
    ],
    "bad certificate": _NOT_ACCEPTED,
    "certificate unknown": _NOT_ACCEPTED,
    "access denied": _NOT_ACCEPTED,
    # What OpenSSL sends when the program that uses it refuses a certificate.
    "internal error": _NOT_ACCEPTED,
    "alert": ["the {peer} ended the TLS handshake: {reason}"],
}
_PLAIN_PORT = "the peer does not speak TLS: is this a plain-text port, for tcp:// or relp://?"
_NOT_TLS = (
    _PLAIN_PORT,
    _PLAIN_PORT,
    "the peer does not speak TLS, which this port requires: configure it to send to tls:// or "
    "relp+tls://",
)
_FAULTS: Mapping[str, Sequence[str]] = {
    "wrong version number": _NOT_TLS,
    "packet length too long": _NOT_TLS,
    "http request": ["the peer speaks HTTP, not TLS"],
    "did not return a certificate": ["the peer sent no certificate{wanted}"],
    "no shared cipher": ["the {peer} offers no cipher allowed here (`tls_ciphers`)"],
    "unsupported protocol": [f"the {{peer}} {_VERSIONS}"],
    "version too low": [f"the {{peer}} {_VERSIONS}"],
}


def tls_failure(transport: object, error: BaseException) -> TlsFailure:
    """Why TLS ended.

    Args:
        transport: The TLS transport, in its protocol's `connectionLost`.
        error: The reason passed to `connectionLost`.
    """
    if not isinstance(error, SSL.Error):
        return TlsFailure("", "")
    refusal: str = getattr(transport, "certificate_refusal", "")
    if refusal:
        return TlsFailure("tls-certificate", refusal)
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [entry[-1] for entry in queue]
    reason = next((each for each in reasons if each), "the connection ended during the handshake")
    end: TlsEnd = getattr(transport, "tls_end", _UNKNOWN_END)
    for needle, texts in (_ALERTS if "alert" in reason else _FAULTS).items():
        if needle in reason:
            return TlsFailure(f"tls-{needle.replace(' ', '-')}", end.explain(texts, reason))
    return TlsFailure("tls", f"TLS failed: {reason}")
