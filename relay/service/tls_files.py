"""Look into the files of a TLS configuration, so that a bad one is found before the start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from relay.service.configuration import TlsConfiguration
from relay.service.url import is_host

__all__ = ["Where", "listener_problems", "upstream_problems"]

Where = Callable[[str], str]
"""Turns the name of a TLS key into what the administrator wrote: a dotted path or a flag."""

_PEM_BYTES_MAX = 16 * 2**20  # far above any bundle of authorities

# OpenSSL's security level 2, Debian's default, refuses shorter keys at start-up.
_RSA_BITS_MIN = 2048


def listener_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What keeps a TLS listener from working, one line each; reads the files."""
    problems = []
    if not tls.certificate and not tls.private_key:
        problems.append(
            f"{where('certificate')}: is missing; a TLS listener needs certificate and private_key"
        )
    if not tls.trusted_ca and tls.peer_verify != "none":
        default = " (the default)" if tls.peer_verify == "required" else ""
        problems.append(
            f'{where("trusted_ca")}: is missing; peer_verify = "{tls.peer_verify}"{default} '
            "verifies the senders' certificates with it; to accept senders without a certificate "
            'write peer_verify = "none"'
        )
    return problems + _file_problems(tls, where)


def upstream_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    """What keeps a TLS connection to an upstream from working; reads the files."""
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
    return problems + _file_problems(tls, where)


def _file_problems(tls: TlsConfiguration, where: Where) -> list[str]:
    problems: list[str] = []
    if tls.trusted_ca:
        try:
            _certificates(tls.trusted_ca)
        except ValueError as error:
            problems.append(f"{where('trusted_ca')}: {error}")
    own, key = None, None
    if tls.certificate:
        try:
            own = _own_certificate(tls.certificate)
        except ValueError as error:
            problems.append(f"{where('certificate')}: {error}")
    if tls.private_key:
        try:
            key = _private_key(tls.private_key)
        except ValueError as error:
            problems.append(f"{where('private_key')}: {error}")
    for given, absent in (("certificate", "private_key"), ("private_key", "certificate")):
        if getattr(tls, given) and not getattr(tls, absent):
            problems.append(f"{where(absent)}: is missing; {given} does not work without it")
    if own is not None and key is not None and _public_octets(own) != _public_octets(key):
        problems.append(
            f"{where('private_key')}: {tls.private_key} does not belong to the first certificate "
            f"in {tls.certificate}"
        )
    return problems


def _certificates(path: str) -> list[x509.Certificate]:
    octets = _content(path)
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError:
        raise ValueError(_not_pem(path, octets, "certificate", "CERTIFICATE")) from None


def _own_certificate(path: str) -> x509.Certificate:
    own = _certificates(path)[0]
    ended = own.not_valid_after_utc
    if ended < datetime.now(UTC):
        raise ValueError(f"the certificate in {path} expired on {ended:%Y-%m-%d}; replace it")
    return own


def _private_key(path: str) -> PrivateKeyTypes:
    octets = _content(path)
    try:
        key = load_pem_private_key(octets, password=None)
    except TypeError:  # how `cryptography` says that it needs a passphrase
        raise ValueError(
            f"the private key in {path} is encrypted; store it without a passphrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(_not_pem(path, octets, "private key", "PRIVATE KEY")) from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS_MIN:
        raise ValueError(
            f"the RSA key in {path} has {key.key_size} bits; use {_RSA_BITS_MIN} or more"
        )
    return key


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            octets = file.read(_PEM_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if len(octets) > _PEM_BYTES_MAX:
        raise ValueError(f"{path} is larger than {_PEM_BYTES_MAX} bytes: not a PEM file")
    return octets


def _not_pem(path: str, octets: bytes, what: str, label: str) -> str:
    if label.encode() + b"-----" in octets:
        return f"the {what} in {path} is damaged or of an unknown kind"
    return f"{path} holds no {what}; expected PEM with a line -----BEGIN {label}-----"


def _public_octets(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
