from __future__ import annotations

import pytest
from OpenSSL import SSL

from relay.service.tls.certificates import make_authority
from relay.transport.tls.endpoints import (
    TlsMaterial,
    TlsOptions,
    load_crls,
    new_context,
    revoke,
    trust,
)
from tests.odd_certificates import make_crl

AUTHORITY = make_authority("Test authority", days=2)


def ciphers_of(options: TlsOptions) -> list[str]:
    context = new_context(TlsMaterial(), options)
    return SSL.Connection(context, None).get_cipher_list()


def test_our_ciphers_have_forward_secrecy_and_authentication() -> None:
    for cipher in ciphers_of(TlsOptions()):
        assert cipher.startswith(("TLS_", "ECDHE-", "DHE-"))
        assert "PSK" not in cipher


def test_ciphers_for_both_versions() -> None:
    options = TlsOptions(ciphers="TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES256-GCM-SHA384")
    assert ciphers_of(options) == ["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
    older = ciphers_of(TlsOptions(ciphers="TLS_AES_128_GCM_SHA256"))
    assert older[0] == "TLS_AES_128_GCM_SHA256"
    assert len(older) > 1


def test_no_list_of_ciphers_lets_go_of_authentication() -> None:
    found = ciphers_of(TlsOptions(ciphers="ALL:aNULL:eNULL:@SECLEVEL=0"))
    assert found
    assert not [name for name in found if name.startswith(("ADH", "AECDH", "NULL"))]


@pytest.mark.parametrize("ciphers", ["nonsense", "TLS_NONSENSE"])
def test_ciphers_that_openssl_does_not_know(ciphers: str) -> None:
    with pytest.raises(ValueError, match=f"OpenSSL supports no cipher in '{ciphers}'"):
        ciphers_of(TlsOptions(ciphers=ciphers))


def test_neither_compression_nor_renegotiation_nor_tickets() -> None:
    context = new_context(TlsMaterial(), TlsOptions())
    options = context.set_options(0)
    for wanted in (SSL.OP_NO_COMPRESSION, SSL.OP_NO_RENEGOTIATION, SSL.OP_NO_TICKET):
        assert options & wanted
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


def test_revocation_lists_come_in_one_file() -> None:
    other = make_authority("Other", days=2)
    pem = make_crl(AUTHORITY) + b"a word between\n" + make_crl(other)
    assert [crl.issuer for crl in load_crls(pem)] == [
        AUTHORITY.certificate.subject,
        other.certificate.subject,
    ]
    revoke(new_context(TlsMaterial(), TlsOptions()), pem)


def test_what_holds_no_revocation_list() -> None:
    for pem in (b"", AUTHORITY.certificate_pem()):
        with pytest.raises(ValueError, match="no revocation list"):
            load_crls(pem)
    with pytest.raises(ValueError):
        load_crls(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")


def test_trusted_authorities_are_known_by_name() -> None:
    context = new_context(TlsMaterial(), TlsOptions())
    assert list(trust(context, AUTHORITY.certificate_pem())) == [AUTHORITY.certificate]


def test_a_key_of_another_certificate_is_refused() -> None:
    other = make_authority("Other", days=2)
    material = TlsMaterial(
        certificate_pem=AUTHORITY.certificate_pem(), private_key_pem=other.private_key_pem()
    )
    with pytest.raises(SSL.Error):
        new_context(material, TlsOptions())


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(TlsMaterial(private_key_pem=b"secret", passphrase=b"secret"))
