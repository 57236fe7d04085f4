"""Verification of peer certificates, with readable reasons for refusals.

A certificate is accepted because a trusted authority vouches for it and it carries
a name that is wanted, or because its fingerprint is known (RFC 5425 §5.1, §5.2).
A matching fingerprint overrides errors about the issuers of a certificate, but not errors
of the certificate itself: an expired or revoked one is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from relay.model.text import printable

_ALGORITHMS: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "sha256": ("SHA-256", hashes.SHA256()),
    "sha1": ("SHA-1", hashes.SHA1()),
}
_FINGERPRINT = re.compile(r"(SHA-?256|SHA-?1):([0-9A-F]{2}(?::?[0-9A-F]{2})*)", re.IGNORECASE)

# X509_V_ERR_*: what speaks against the issuers of a certificate, not against itself.
_NO_TRUST = {2, 3, 8, 11, 12, 18, 19, 20, 21, 33, 35}

_REFUSAL_MAX = 500  # characters, most of them names

# Of X509_V_ERR_*, those that administrators meet.
_CHAIN_ERRORS = {
    2: "its issuer {issuer!r} is not among the trusted CAs{authorities}",
    3: "there is no revocation list of its issuer {issuer!r}{crl}",
    8: "the revocation list of its issuer {issuer!r}{crl} has a wrong signature",
    9: "it is not valid before {begin:%Y-%m-%d %H:%M} UTC (check the clocks)",
    10: "it has expired at {end:%Y-%m-%d %H:%M} UTC (check the clocks)",
    11: "the revocation list of its issuer {issuer!r}{crl} is not valid yet (check the clocks)",
    12: "the revocation list of its issuer {issuer!r}{crl} has expired",
    18: "it is self-signed and not among the trusted CAs{authorities}",
    19: "its root is not among the trusted CAs{authorities}",
    20: "its issuer {issuer!r} is not among the trusted CAs{authorities}",
    21: "its issuer {issuer!r} is not among the trusted CAs{authorities}",
    23: "it was revoked{crl}",
    24: "its issuer may not sign certificates",
    26: "its extended key usage is for something else",
    35: "its issuer {issuer!r} may not sign revocation lists{crl}",
    66: "its key is too short",
}


class Fingerprint(NamedTuple):
    """The digest of a certificate in DER."""

    algorithm: str
    """SHA-256 or SHA-1."""
    digest: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest.hex(':').upper()}"


def parse_fingerprint(text: str) -> Fingerprint:
    """Read what RFC 5425 §4.2.2 (``sha-1:…``) or rsyslog (``SHA1:…``) would write.

    Raises:
        ValueError: It is neither, or its digest is of another length.
    """
    found = _FINGERPRINT.fullmatch(text.strip())
    if found is None:
        raise ValueError("expected SHA-256: or SHA-1: and the digest in hexadecimal")
    name, algorithm = _ALGORITHMS[found[1].lower().replace("-", "")]
    digest = bytes.fromhex(found[2].replace(":", ""))
    if len(digest) != algorithm.digest_size:
        raise ValueError(
            f"a {name} digest has {algorithm.digest_size} bytes, this one {len(digest)}"
        )
    return Fingerprint(name, digest)


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """Requirements beyond a signature by a trusted authority."""

    names: tuple[str, ...] = ()
    """Of these the certificate has to carry one; ``*.`` is any left-most label.  None = any."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """A certificate with one of these is accepted, whatever its issuer and names."""
    server_name: str = ""
    """The name or address of a server, which has to be a subjectAltName (RFC 9525)."""

    def pins(self, found: x509.Certificate) -> bool:
        """Whether the fingerprint of `found` is one of ours."""
        return any(
            found.fingerprint(algorithm) == wanted.digest
            for name, algorithm in _ALGORITHMS.values()
            for wanted in self.fingerprints
            if wanted.algorithm == name
        )

    def name_refusal(self, found: x509.Certificate) -> str:
        """The mismatch between the names of `found` and the policy; empty if there is none."""
        if self.server_name and not _is_for_server(found, self.server_name):
            seen = ", ".join(names_of(found)) or "no subjectAltName at all"
            return f"the certificate is for {seen}, expected {self.server_name}"
        names = vouched_names_of(found)
        if self.names and not any(
            name_matches(wanted, name) for wanted in self.names for name in names
        ):
            seen = ", ".join(names) or "nobody: it has no name"
            return f"the certificate is for {seen}, expected {' or '.join(self.names)}"
        return ""


class TlsTransport(Protocol):
    """The transport of a TLS connection, on which the relay leaves what it found."""

    tls_end: object
    """Our end, for `tls_failure`."""
    certificate_refusal: str
    """Why the peer's certificate was refused; empty = it was accepted."""
    certificate_vouched: bool
    """Whether a CA vouches for the names in the certificate."""


class CertificateCheck:
    """OpenSSL's verify callback for one connection.

    OpenSSL itself only says that verification failed; the reason is left with the
    transport, where `tls_failure` finds it.  (A connection's application data
    would be the place, but Twisted keeps its own there.)

    OpenSSL calls for every trouble that it finds, in no particular order, and at
    last for every certificate of the chain, from the root down to the peer's own
    (depth 0): only then is it known whether a fingerprint makes up for the trouble.
    Where it did, nobody vouches for the names of the certificate: whether they count is
    left with the transport as well, as `certificate_vouched`.

    Args:
        transport: The TLS transport of the connection.
        authorities: Where the trusted CAs are, for texts: `` in /etc/ca.pem``.
        crl: Where the revocation lists are, in the same way.
    """

    def __init__(
        self, transport: TlsTransport, policy: PeerPolicy, *, authorities: str = "", crl: str = ""
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._places = {"authorities": authorities, "crl": crl}
        self._trouble = ""  # with an issuer, for which a fingerprint could make up
        self._accepted = False  # and not for a fingerprint
        self._vouched = True

    def __call__(
        self, connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int
    ) -> bool:
        # An exception here would bypass the code that explains TLS failures.
        try:
            refusal = self._refusal(certificate.to_cryptography(), code, depth, ok)
        except ValueError as error:  # what cryptography says of a certificate that it cannot read
            refusal = f"the certificate cannot be read: {error}"
        # Names in it are what the peer has written.
        self._transport.certificate_refusal = printable(refusal, length_max=_REFUSAL_MAX)
        self._vouched = self._vouched and bool(ok)
        self._transport.certificate_vouched = self._vouched and not depth and not refusal
        return not refusal

    def _refusal(self, found: x509.Certificate, code: int, depth: int, ok: int) -> str:
        refusal = "" if ok else _trouble_text(found, code, depth, self._places)
        if depth:
            if self._accepted or not self._policy.fingerprints:
                return refusal
            self._trouble = self._trouble or refusal
            return ""
        if self._policy.pins(found):
            return "" if code in _NO_TRUST else refusal
        refusal = refusal or self._trouble or ("" if not ok else self._policy.name_refusal(found))
        if refusal and self._policy.fingerprints:
            seen = Fingerprint("SHA-256", found.fingerprint(hashes.SHA256()))
            refusal += f"; nor is its fingerprint {seen} in peer_fingerprints"
        self._accepted = bool(ok and not refusal)
        return refusal


def _trouble_text(found: x509.Certificate, code: int, depth: int, places: Mapping[str, str]) -> str:
    why = _CHAIN_ERRORS.get(code, "X.509 error {code}").format(
        code=code,
        issuer=found.issuer.rfc4514_string(),
        begin=found.not_valid_before_utc,
        end=found.not_valid_after_utc,
        **places,
    )
    names = "" if depth else ", ".join(names_of(found))
    names = f" (for {names})" if names else ""
    return f"certificate {found.subject.rfc4514_string()!r}{names} is not accepted: {why}"


def _is_for_server(found: x509.Certificate, server_name: str) -> bool:
    try:
        if is_address(server_name):
            verify_certificate_ip_address(found, server_name)
        else:
            verify_certificate_hostname(found, server_name)
    except (VerificationError, CertificateError):
        return False
    return True


def name_matches(wanted: str, found: str) -> bool:
    """Whether a name of a certificate is the one wanted (RFC 5425 §5.2).

    On either side ``*`` may stand for the left-most label, exactly one.  In a
    certificate two more labels have to follow it.
    """
    addresses = _address(wanted), _address(found)
    if any(addresses):
        return addresses[0] == addresses[1]
    wanted, found = wanted.lower().rstrip("."), found.lower().rstrip(".")
    wanted_first, _, wanted_rest = wanted.partition(".")
    found_first, _, found_rest = found.partition(".")
    if wanted_rest != found_rest or not (wanted_first and found_first):
        return False
    if wanted_first == "*":
        return bool(wanted_rest)
    return wanted_first == found_first or (found_first == "*" and "." in found_rest)


def identity_of(certificate: x509.Certificate) -> str:
    """The subject of a certificate: its common name, or the first of its other names."""
    return next(iter([*_common_names(certificate), *names_of(certificate)]), "")


def names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses in the subjectAltName of `certificate`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def vouched_names_of(certificate: x509.Certificate) -> list[str]:
    """The names that the issuer of `certificate` vouches for: the common name only
    where there is no DNS name and no address.

    Raises:
        ValueError: The certificate cannot be read.
    """
    return names_of(certificate) or list(_common_names(certificate))


def fingerprints_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every fingerprint of `certificate`, as `Fingerprint` is written."""
    return tuple(
        str(Fingerprint(name, certificate.fingerprint(algorithm)))
        for name, algorithm in _ALGORITHMS.values()
    )


def is_address(host: str) -> bool:
    return _address(host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _common_names(certificate: x509.Certificate) -> Sequence[str]:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [str(name.value) for name in names]
