"""Describe certificates, keys and revocation lists, and say what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.model.text import printable
from relay.service.configuration.reading import content_of
from relay.service.tls.files import PEM_BYTES_MAX, public_bytes_of
from relay.service.tls.issued_index import serial_text
from relay.transport.tls.endpoints import load_crls

Role = Literal["server", "client", "authority", "any"]
"""The role of a certificate in its file."""

_DAY_SECONDS = 86400.0
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}


class Described(msgspec.Struct, omit_defaults=True):
    """A certificate, a private key or a revocation list."""

    file: str
    """Or host:port that it comes from."""
    kind: Literal["certificate", "authority", "private-key", "crl", "unreadable"]
    problems: list[str] = []
    used_by: list[str] = []
    """Keys of the configuration, such as ``sources.relays.certificate``."""
    subject: str = ""
    names: list[str] = []
    """DNS names and addresses."""
    issuer: str = ""
    serial: str = ""
    """Hexadecimal, as OpenSSL shows it."""
    begins_at: str = ""
    """UTC, as in ``2026-10-01T22:14:15Z``."""
    ends_at: str = ""
    """Of a revocation list: when the next one has to be there; empty = never."""
    days_left: float | None = None
    """Until `ends_at`; negative = it is over."""
    purposes: list[str] = []
    """server, client, authority; none = any."""
    key: str = ""
    """As ``P-256`` or ``RSA 2048``."""
    key_file: str = ""
    """Of a certificate: the file that has its key."""
    sha256: str = ""
    """The fingerprint, as `peer_fingerprints` takes it."""
    revoked: list[str] = []
    """Serial numbers in a revocation list."""


class Contents(msgspec.Struct):
    """The parts of one file or connection, with what they were made of."""

    described: list[Described] = []
    certificates: list[x509.Certificate] = []
    """The certificates of the first of `described`, in order."""
    public_key: bytes = b""
    """The public key of the private key in it; empty = it has none that can be read."""


def contents_of(
    path: str, *, role: Role = "any", now: datetime | None = None, passphrase: bytes = b""
) -> Contents:
    """The content of the PEM file `path`; one that cannot be read says why."""
    try:
        data = content_of(path, bytes_max=PEM_BYTES_MAX + 1)
    except OSError as error:
        return _unreadable(path, f"it cannot be read: {error.strerror}")
    if len(data) > PEM_BYTES_MAX:
        return _unreadable(path, f"it is larger than {PEM_BYTES_MAX} bytes: not a PEM file")
    now = now or datetime.now(UTC)
    found = Contents()
    try:
        if b"BEGIN CERTIFICATE-----" in data:
            found = described_chain(path, x509.load_pem_x509_certificates(data), role, now)
        if b"BEGIN X509 CRL-----" in data:
            found.described += [_describe_crl(path, crl, now) for crl in load_crls(data)]
    except ValueError:
        return _unreadable(path, "a certificate or revocation list in it is damaged")
    if (key := _KEY.search(data)) is not None:
        data = data[key.start() :]
        found.public_key = _describe_key(path, data, passphrase, found.described)
    if not found.described:
        return _unreadable(path, "it holds no certificate, private key or revocation list in PEM")
    return found


def described_chain(
    file: str, certificates: Sequence[x509.Certificate], role: Role, now: datetime
) -> Contents:
    """Certificates that are together in a file, or were presented together."""
    found = Contents([], list(certificates))
    for index, certificate in enumerate(certificates):
        is_leaf = index == 0 and role != "authority"
        described = describe(file, certificate, now)
        if is_leaf and role != "any":
            described.problems += _unfit(described, role)
        # A file of several authorities is no chain.
        is_link = index and role != "authority" and found.described[0].kind == "certificate"
        if is_link and not is_issuer(certificate, certificates[index - 1]):
            described.problems.append(
                "it did not sign the certificate before it: the order has to be own certificate, "
                "then the authority that signed it, and so on"
            )
        found.described.append(described)
    return found


def describe(file: str, certificate: x509.Certificate, now: datetime) -> Described:
    """One certificate by itself."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    is_authority = False
    purposes: list[str] = []
    names: list[str] = []
    problems = []
    try:
        for extension in certificate.extensions:
            value = extension.value
            if isinstance(value, x509.BasicConstraints):
                is_authority = value.ca
            elif isinstance(value, x509.ExtendedKeyUsage):
                purposes = [_USAGES.get(usage, usage.dotted_string) for usage in value]
            elif isinstance(value, x509.SubjectAlternativeName):
                names = [printable(str(name.value)) for name in value]
    except ValueError as error:
        problems.append(f"its extensions cannot be read: {printable(str(error))}")
    if ends < now:
        problems.append(f"it has expired on {ends:%Y-%m-%d}")
    elif begins > now:
        problems.append(f"it is not valid before {begins:%Y-%m-%d %H:%M} UTC")
    return Described(
        file,
        "authority" if is_authority else "certificate",
        problems,
        subject=_name(certificate.subject),
        names=names,
        issuer=_name(certificate.issuer),
        serial=serial_text(certificate.serial_number),
        begins_at=_stamp(begins),
        ends_at=_stamp(ends),
        days_left=_days(ends, now),
        purposes=["authority"] if is_authority else purposes,
        key=_key_kind(certificate.public_key()),
        sha256=certificate.fingerprint(SHA256()).hex(":").upper(),
    )


def match_keys(found: Iterable[Contents]) -> None:
    """Note at each certificate the file with its key, and at each key that fits none."""
    contents = list(found)
    keys = {each.public_key: each.described[-1].file for each in contents if each.public_key}
    matched = set()
    for each in contents:
        for certificate, described in zip(each.certificates, each.described, strict=False):
            public = public_bytes_of(certificate)
            if public in keys:
                described.key_file = keys[public]
                matched.add(public)
    for each in contents:
        if (
            each.public_key
            and each.public_key not in matched
            and any(c.certificates for c in contents)
        ):
            each.described[-1].problems.append("it belongs to none of these certificates")


def check_issuers(found: Sequence[Contents], authorities: Sequence[x509.Certificate]) -> None:
    """Note at each leaf that none of `authorities`, nor its own chain, has signed it."""
    for each in found:
        if not each.certificates or each.described[0].kind != "certificate":
            continue
        top = each.certificates[-1]
        if not any(is_issuer(one, top) or one == top for one in authorities):
            each.described[0].problems.append(
                f"no authority here signed it: {_name(top.issuer)} is missing, or has another key"
            )


def is_issuer(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether `authority` has signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _unfit(described: Described, role: Role) -> list[str]:
    """Why a certificate cannot be used in this role."""
    if described.kind == "authority":
        return [f"it is an authority, expected the certificate of a {role}"]
    problems = []
    if described.purposes and role not in described.purposes:
        problems.append(
            f"its extended key usage allows {', '.join(described.purposes)}, and it is used as "
            f"that of a {role}"
        )
    if role == "server" and not described.names:
        problems.append("it has no subjectAltName, so clients accept it for no host")
    return problems


def _describe_crl(file: str, crl: x509.CertificateRevocationList, now: datetime) -> Described:
    ends = crl.next_update_utc
    described = Described(
        file,
        "crl",
        issuer=_name(crl.issuer),
        begins_at=_stamp(crl.last_update_utc),
        ends_at="" if ends is None else _stamp(ends),
        days_left=None if ends is None else _days(ends, now),
        revoked=[serial_text(each.serial_number) for each in crl],
    )
    if ends is not None and ends < now:
        described.problems.append("the next list should be there: relays accept no peer with it")
    return described


def _describe_key(path: str, data: bytes, passphrase: bytes, described: list[Described]) -> bytes:
    """Add the private key to `described`; return its public half, if it can be read."""
    one = Described(path, "private-key")
    described.append(one)
    try:
        key = load_pem_private_key(data, password=passphrase or None)
    except TypeError:
        one.key = "encrypted"
        return b""
    except (ValueError, UnsupportedAlgorithm) as error:
        one.problems.append(f"it cannot be read: {printable(str(error))[:200]}")
        return b""
    one.key = _key_kind(key.public_key())
    return public_bytes_of(key)


def _key_kind(public: object) -> str:
    if isinstance(public, rsa.RSAPublicKey):
        return f"RSA {public.key_size}"
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _CURVES.get(public.curve.name, public.curve.name)
    return type(public).__name__.strip("_").removesuffix("PublicKey")


def _unreadable(path: str, problem: str) -> Contents:
    return Contents([Described(path, "unreadable", [problem])])


def _name(name: x509.Name) -> str:
    return printable(name.rfc4514_string()) or "nobody"


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _days(at: datetime, now: datetime) -> float:
    return round((at - now).total_seconds() / _DAY_SECONDS, 1)
