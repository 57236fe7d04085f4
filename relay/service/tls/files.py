"""Look into the files of a TLS configuration, so that a bad one is found before the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from relay.service.configuration.model import TlsConfiguration, Where
from relay.service.configuration.reading import content_of
from relay.service.configuration.url import is_host
from relay.transport.tls.endpoints import TlsMaterial, TlsOptions, load_crls, new_context
from relay.transport.tls.peer_check import PeerPolicy, is_address, parse_fingerprint

T = TypeVar("T")

PEM_BYTES_MAX = 16 * 2**20
"""Of a file; far above any bundle of authorities."""

# OpenSSL's security level 2, Debian's default, refuses shorter keys at start-up.
_RSA_BITS_MIN = 2048


def listener_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What is wrong with the keys of a TLS listener, one line each; reads no file."""
    problems = []
    if not tls.certificate and not tls.private_key:
        problems.append(
            f"{where('certificate')}: is missing; a TLS listener needs certificate and private_key"
        )
    if not tls.trusted_ca and tls.peer_verify != "none" and not tls.peer_fingerprints:
        default = " (the default)" if tls.peer_verify == "required" else ""
        problems.append(
            f'{where("trusted_ca")}: is missing; peer_verify = "{tls.peer_verify}"{default} '
            "verifies the senders' certificates with it; to accept senders without a certificate "
            'write peer_verify = "none"'
        )
    elif not tls.trusted_ca:
        problems += _without_meaning(tls, where, ("peer_names", "crl"), "without trusted_ca")
    return problems + policy_problems(tls, where) + _own_key_problems(tls, where)


def upstream_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What is wrong with the keys of a TLS connection to an upstream; reads no file."""
    problems = []
    if tls.peer_verify == "optional":
        problems.append(
            f"{where('peer_verify')}: expected required or none, found 'optional'; an upstream "
            "always has a certificate"
        )
    if tls.server_name and not is_host(tls.server_name):
        problems.append(
            f"{where('server_name')}: expected a host name or an address, found {tls.server_name!r}"
        )
    if tls.peer_fingerprints and not tls.trusted_ca:
        why = "with peer_fingerprints and without trusted_ca"
        problems += _without_meaning(tls, where, ("crl",), why)
    return problems + policy_problems(tls, where) + _own_key_problems(tls, where)


def read_material(tls: TlsConfiguration) -> TlsMaterial:
    """What the files of `tls` hold.

    Raises:
        ValueError: One cannot be read.
    """
    return TlsMaterial(
        certificate_pem=_content(tls.certificate),
        private_key_pem=_content(tls.private_key),
        passphrase=_passphrase(tls.private_key_passphrase_file),
        trusted_ca_pem=_content(tls.trusted_ca),
        crl_pem=_content(tls.crl),
        certificate=tls.certificate,
        trusted_ca=tls.trusted_ca,
        crl=tls.crl,
    )


def read_policy(tls: TlsConfiguration) -> PeerPolicy:
    """Which peers `tls` accepts."""
    fingerprints = tuple(map(parse_fingerprint, tls.peer_fingerprints))
    return PeerPolicy(names=tls.peer_names, fingerprints=fingerprints)


def read_options(tls: TlsConfiguration) -> TlsOptions:
    return TlsOptions(tls.tls_version_min, tls.tls_ciphers, datagrams=tls.over_datagrams)


def policy_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What is wrong with the peers that `tls` accepts, and with its ciphers."""
    problems = []
    if tls.peer_verify == "none":
        keys = ("peer_names", "peer_fingerprints", "crl")
        why = 'with peer_verify = "none", which accepts every peer'
        problems += _without_meaning(tls, where, keys, why)
    for name in tls.peer_names:
        host = name.removeprefix("*.")
        if not is_host(host) or (host != name and is_address(host)):
            problems.append(
                f"{where('peer_names')}: expected host names, addresses and wildcards such as "
                f"*.example.com (the whole left-most label), found {name!r}"
            )
    for text in tls.peer_fingerprints:
        try:
            parse_fingerprint(text)
        except ValueError as error:
            problems.append(
                f"{where('peer_fingerprints')}: {error}, found {text!r}; "
                "openssl x509 -noout -fingerprint -sha256 -in FILE shows it"
            )
    if tls.tls_ciphers:
        try:
            new_context(TlsMaterial(), read_options(tls))
        except ValueError as error:
            problems.append(f"{where('tls_ciphers')}: {error}; openssl ciphers lists them")
    return problems


def _without_meaning(
    tls: TlsConfiguration, where: Where, keys: Sequence[str], why: str
) -> list[str]:
    return [
        f"{where(key)}: has no meaning {why}; remove one of them"
        for key in keys
        if getattr(tls, key)
    ]


def _own_key_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What is missing of certificate, private_key and passphrase, of which none works alone."""
    problems = []
    if not tls.private_key:
        keys = ("private_key_passphrase_file",)
        problems += _without_meaning(tls, where, keys, "without private_key")
    for given, absent in (("certificate", "private_key"), ("private_key", "certificate")):
        if getattr(tls, given) and not getattr(tls, absent):
            problems.append(f"{where(absent)}: is missing; {given} does not work without it")
    return problems


def file_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What is wrong with the files that `tls` names, one line each.

    The administrator mends them without touching the configuration, and time may: a
    certificate that is not valid yet becomes valid.
    """
    problems: list[str] = []

    def tried(key: str, look: Callable[[], T]) -> T | None:
        try:
            return look() if getattr(tls, key) else None
        except ValueError as error:
            problems.append(f"{where(key)}: {error}")
            return None

    tried("trusted_ca", lambda: certificates_in(tls.trusted_ca))
    tried("crl", lambda: _parsed(tls.crl, load_crls, "revocation list", "X509 CRL"))
    own = tried("certificate", lambda: _own_certificate(tls.certificate))
    passphrase_file = tls.private_key_passphrase_file
    passphrase = tried("private_key_passphrase_file", lambda: _passphrase(passphrase_file))
    key = None
    if bool(passphrase_file) == bool(passphrase):  # what it says without one would mislead
        key = tried("private_key", lambda: _private_key(tls.private_key, passphrase or b""))
    if own is not None and key is not None and public_bytes_of(own) != public_bytes_of(key):
        problems.append(
            f"{where('private_key')}: {tls.private_key} does not belong to the first certificate "
            f"in {tls.certificate}"
        )
    return problems


def _parsed(path: str, load: Callable[[bytes], list[T]], what: str, label: str) -> list[T]:
    data = _content(path)
    try:
        return load(data)
    except ValueError:
        raise ValueError(_not_pem(path, data, what, label)) from None


def certificates_in(path: str) -> list[x509.Certificate]:
    """Those of a PEM file; ValueError says why it has none."""
    return _parsed(path, x509.load_pem_x509_certificates, "certificate", "CERTIFICATE")


def _own_certificate(path: str) -> x509.Certificate:
    own = certificates_in(path)[0]
    begins, ended, now = own.not_valid_before_utc, own.not_valid_after_utc, datetime.now(UTC)
    if ended < now:
        raise ValueError(f"the certificate in {path} expired on {ended:%Y-%m-%d}; replace it")
    if begins > now:
        raise ValueError(
            f"the certificate in {path} is not valid before {begins:%Y-%m-%d %H:%M} UTC; replace "
            "it, or check the clock"
        )
    return own


def _passphrase(path: str) -> bytes:
    """The first line of the file; none for no file."""
    passphrase = _content(path).partition(b"\n")[0].removesuffix(b"\r")
    if path and not passphrase:
        raise ValueError(f"{path} holds no passphrase; expected it in the first line")
    return passphrase


def _private_key(path: str, passphrase: bytes) -> PrivateKeyTypes:
    data = _content(path)
    try:
        key = load_pem_private_key(data, password=passphrase or None)
    except TypeError:  # how `cryptography` says that a passphrase is missing, or is one too many
        if passphrase:
            raise ValueError(
                f"the private key in {path} is not encrypted; remove private_key_passphrase_file"
            ) from None
        raise ValueError(
            f"the private key in {path} is encrypted; name the file with its passphrase in "
            "private_key_passphrase_file"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        if passphrase and b"ENCRYPTED" in data:
            raise ValueError(
                f"the private key in {path} cannot be decrypted: the passphrase is another, or "
                "the key is damaged"
            ) from None
        raise ValueError(_not_pem(path, data, "private key", "PRIVATE KEY")) from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS_MIN:
        raise ValueError(
            f"the RSA key in {path} has {key.key_size} bits; use {_RSA_BITS_MIN} or more"
        )
    return key


def _content(path: str) -> bytes:
    """The bytes of a file that the configuration names; none for no name."""
    if not path:
        return b""
    try:
        data = content_of(path, bytes_max=PEM_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > PEM_BYTES_MAX:
        raise ValueError(f"{path} is larger than {PEM_BYTES_MAX} bytes: not a PEM file")
    return data


def _not_pem(path: str, data: bytes, what: str, label: str) -> str:
    if label.encode() + b"-----" in data:
        return f"the {what} in {path} is damaged or of an unknown kind"
    return f"{path} holds no {what}; expected PEM with a line -----BEGIN {label}-----"


def public_bytes_of(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    """The public key in DER: the same for a certificate and its private key."""
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
