from __future__ import annotations

from pathlib import Path

from relay.service.configuration.model import TlsConfiguration
from relay.service.probes.certificates import probe_own_certificate, tell_of_certificate
from relay.service.probes.probe import Probe, Severity
from relay.service.tls.certificates import make_authority, make_leaf

AUTHORITY = make_authority("Ours", days=100)


def test_days_left_and_names() -> None:
    probe = Probe("central", 1)
    leaf = make_leaf(AUTHORITY, ["a.example.com"], purpose="server", days=50)
    tell_of_certificate(probe, leaf.certificate)
    tell_of_certificate(probe, AUTHORITY.certificate)
    assert [each.severity for each in probe.findings] == [Severity.OK, Severity.OK]
    assert [each.text for each in probe.findings] == [
        "CN=a.example.com for a.example.com, signed by CN=Ours, 49 days left",
        "CN=Ours, 99 days left",
    ]


def test_few_days_are_a_warning() -> None:
    probe = Probe("central", 1)
    leaf = make_leaf(AUTHORITY, ["a"], purpose="server", days=3)
    tell_of_certificate(probe, leaf.certificate)
    assert [each.fault for each in probe.findings] == ["tls-expires-soon"]


def test_the_own_certificate(tmp_path: Path) -> None:
    leaf = make_leaf(AUTHORITY, ["a"], purpose="server", days=50)
    certificate, key = tmp_path / "own.pem", tmp_path / "key.pem"
    certificate.write_bytes(leaf.certificate_pem())
    tls = TlsConfiguration(certificate=str(certificate), private_key=str(key))
    probe = Probe("source tls", 1)
    probe_own_certificate(probe, None)
    probe_own_certificate(probe, TlsConfiguration())
    probe_own_certificate(probe, tls)
    assert probe.findings == []  # the check of the configuration tells what is wrong
    key.write_bytes(leaf.private_key_pem())
    probe_own_certificate(probe, tls)
    assert f"own certificate {certificate}: CN=a" in probe.findings[0].text
