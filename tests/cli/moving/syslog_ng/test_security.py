from __future__ import annotations

from typing import Any

import pytest

from relay.cli.moving.report import Report
from relay.cli.moving.syslog_ng.options import Option
from relay.cli.moving.syslog_ng.scanner import ConfigurationText
from relay.cli.moving.syslog_ng.security import tls_keys
from relay.cli.moving.syslog_ng.tree import Call, Included, parse


def keys_of(text: str, *, is_source: bool = False) -> tuple[dict[str, Any], list[str]]:
    call = parse(ConfigurationText(f"tls({text});", "x"), lambda *_: Included()).items[0][0]
    assert isinstance(call, Call)
    report = Report()
    option = Option(report.statement(call.place, "tls"), call)
    keys = tls_keys(option, report, is_source=is_source)
    return dict(keys), [line for line in report.lines() if ": taken over: " not in line][:-1]


def test_files_are_keys() -> None:
    keys, doubts = keys_of('ca-file("/a/ca.pem") cert_file("/a/c.pem") key-file("/a/k.pem")')
    assert keys == {
        "certificate": "/a/c.pem",
        "private_key": "/a/k.pem",
        "trusted_ca": "/a/ca.pem",
    }
    assert doubts == []


def test_the_systems_authorities_are_the_default() -> None:
    assert keys_of('ca-dir("/etc/ssl/certs") peer-verify(required-trusted)') == ({}, [])


def test_a_folder_of_authorities_has_to_become_a_file() -> None:
    keys, (doubt,) = keys_of('ca-dir("/etc/ca.d")')
    assert keys == {"trusted_ca": "/etc/ca.d/ca.pem"}
    assert "approximated" in doubt


@pytest.mark.parametrize(
    ("word", "is_source", "value"),
    [
        ("required-trusted", True, None),
        ("yes", False, None),
        ("optional-trusted", True, "optional"),
        ("optional-trusted", False, None),
        ("optional-untrusted", True, "none"),
        ("no", False, "none"),
        ("required-untrusted", True, "none"),
        ("odd", True, None),
    ],
)
def test_verification(word: str, is_source: bool, value: str | None) -> None:
    assert keys_of(f"peer-verify({word})", is_source=is_source)[0].get("peer_verify") == value


def test_fingerprints_ciphers_and_versions() -> None:
    keys, _ = keys_of(
        'trusted-keys("SHA1:AB:CD") cipher-suite("ECDHE-RSA-AES256-GCM-SHA384") '
        "ssl-options(no-sslv3, no-tlsv1, no-tlsv12) sni(yes)"
    )
    assert keys == {
        "peer_fingerprints": ["SHA1:AB:CD"],
        "tls_ciphers": "ECDHE-RSA-AES256-GCM-SHA384",
        "tls_version_min": "1.3",
    }


def test_what_has_no_key_is_said() -> None:
    _, doubts = keys_of('crl-dir("/x") pkcs12-file("/y") trusted-dn("*, O=Acme")')
    assert [doubt.split(": ")[2] for doubt in doubts] == [
        *('crl-dir("/x")', 'pkcs12-file("/y")', 'trusted-dn("*, O=Acme")'),
    ]
