"""What administrators read about handshakes that fail.  All of them are OpenSSL's own."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL

from relay.service.tls.certificates import make_leaf
from relay.transport.tls.endpoints import TlsListener, TlsOptions, TlsUpstream
from relay.transport.tls.failure import (
    _ALERTS,
    _FAULTS,
    TlsEnd,
    tls_failure,
)
from tests.odd_certificates import make_crl
from tests.transport.tls.test_endpoints import (
    NAME,
    OURS,
    OWN_FILE,
    Sides,
    authority,
    client,
    listener,
    server,
    upstream,
)

CLIENT = f"the certificate in {OWN_FILE} (CN=web-1.example.com)"
SERVER = f"the certificate in {OWN_FILE} (CN={NAME})"


def limited_to_tls_1_2(end: Any) -> Any:
    end._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    return end


def text(server_end: TlsListener, client_end: TlsUpstream) -> tuple[str, str]:
    sides = Sides(server_end, client_end)
    return sides.server.text, sides.client.text


@pytest.mark.parametrize("old", [False, True], ids=["TLS 1.3", "TLS 1.2"])
def test_no_client_certificate(old: bool) -> None:
    theirs = upstream()
    _, said = text(listener(peer_verify="required"), limited_to_tls_1_2(theirs) if old else theirs)
    assert said.startswith("the receiver requires a client certificate")
    assert "set `certificate` and `private_key`" in said


def test_an_issuer_that_the_other_end_does_not_know() -> None:
    _, said = text(listener(peer_verify="required"), upstream(client("Somebody else")))
    assert said == (
        f"the receiver's trusted_ca does not know the issuer of {CLIENT}: CN=Somebody else"
    )
    said, _ = text(listener(), upstream(trusts="Somebody else"))
    assert said == f"the sender's trusted_ca does not know the issuer of {SERVER}: CN={OURS}"


def test_a_certificate_that_is_over() -> None:
    old = client(days=-1)
    _, said = text(listener(peer_verify="required"), upstream(old))
    end = f"{old.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    assert said == (
        f"the receiver says that {CLIENT} has expired; it is valid until {end}: replace it, or set "
        "the clock there"
    )
    revoked = client()
    crl = make_crl(authority(OURS), [revoked])
    _, said = text(listener(peer_verify="required", crl=crl), upstream(revoked))
    assert said == f"the receiver says that {CLIENT} was revoked: replace it"


def test_a_certificate_for_something_else() -> None:
    _, said = text(listener(peer_verify="required"), upstream(server("web-1.example.com")))
    assert said == (
        f"the receiver rejects {CLIENT} for this purpose: its extended key usage has to "
        "allow clientAuth"
    )
    said, _ = text(
        listener(make_leaf(authority(OURS), [NAME], purpose="client", days=1)), upstream()
    )
    assert said.endswith("its extended key usage has to allow serverAuth")


def test_a_name_that_is_not_wanted() -> None:
    said, _ = text(listener(), upstream(server_name="other.example.com"))
    assert said == (
        f"the sender does not accept {SERVER}, which is for {NAME}, 127.0.0.1, ::1: it may expect "
        "another name (`server_name` there), or not trust the issuer; its log says why"
    )


def test_no_version_in_common() -> None:
    strict = TlsOptions(version_min="1.3")
    both = text(listener(options=strict), limited_to_tls_1_2(upstream()))
    version = "supports no version of TLS from {} on (`tls_version_min`)"
    assert both == (
        f"the sender {version.format('1.3')}",
        f"the receiver {version.format('1.2')}",
    )
    _, said = text(limited_to_tls_1_2(listener()), upstream(options=strict))
    assert said == f"the receiver {version.format('1.3')}"


def test_no_cipher_in_common() -> None:
    one, other = (
        TlsOptions(ciphers=name)
        for name in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384")
    )
    said = text(
        limited_to_tls_1_2(listener(options=one)), limited_to_tls_1_2(upstream(options=other))
    )
    assert said[0] == "the sender offers no cipher allowed here (`tls_ciphers`)"
    assert said[1].endswith("or allows none of our ciphers (`tls_ciphers`)")


def test_each_reason_is_a_kind_of_its_own() -> None:
    kinds = set()
    for other in (client("Somebody else"), client(days=-1), None):
        sides = Sides(listener(peer_verify="required"), upstream(other))
        error = SSL.Error([("SSL", "", "tlsv1 alert unknown ca")])
        assert tls_failure(sides.client.transport, error).kind == "tls-unknown-ca"
        kinds.add(sides.client.kind)
    assert kinds == {"tls-unknown-ca", "tls-certificate-expired", "tls-certificate-required"}


def test_an_alert_that_nobody_knows() -> None:
    class Transport:
        tls_end = TlsEnd("receiver", "", "", "", "", "1.2", "")

    failure = tls_failure(Transport(), SSL.Error([("SSL", "", "tlsv1 alert no renegotiation")]))
    assert failure == (
        "tls-alert",
        "the receiver ended the TLS handshake: tlsv1 alert no renegotiation",
    )


def test_every_text_can_be_written() -> None:
    """No text names a field that an end does not have."""
    own = client().certificate_pem()
    ends = [
        TlsEnd.of("receiver", own, OWN_FILE, version_min="1.2"),
        TlsEnd.of("receiver", b"", "", version_min="1.2"),
        TlsEnd.of("sender", own, "", version_min="1.2", wanted="one of ours"),
    ]
    for texts in (*_ALERTS.values(), *_FAULTS.values()):
        for end in ends:
            assert "{" not in end.explain(texts, "reason")
