from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'
TLS = 'protocol="tcp" streamDriverMode="1" streamDriver.CAFile="/ca"'


def keys_of(parameters: str, folder: Path) -> dict[str, Any]:
    (found,) = import_text("rsyslog", f"{HEAD}action({parameters})\n", folder).destinations.values()
    return {name: found[name] for name in found if name != "format"}


@pytest.mark.parametrize(
    ("parameters", "keys"),
    [
        ('type="omfwd" target="h"', {"connect": "udp://h:514"}),
        ('type="omfwd" target="::1" port="syslog"', {"connect": "udp://[::1]:514"}),
        (
            'type="omfwd" target="h" protocol="tcp" TCP_Framing="octet-counted"',
            {"connect": "tcp://h:514", "framing": "octet-counting"},
        ),
        (
            f'type="omfwd" target="h" {TLS} streamDriverAuthMode="x509/name"'
            ' streamDriverPermittedPeers="n"',
            {
                "connect": "tls://h:514",
                "trusted_ca": "/ca",
                "server_name": "n",
                "framing": "newline",
            },
        ),
        (
            f'type="omfwd" target="h" {TLS}',
            {
                "connect": "tls://h:514",
                "trusted_ca": "/ca",
                "peer_verify": "none",
                "framing": "newline",
            },
        ),
        (
            'type="omfwd" target=["a","b"] protocol="tcp"',
            {
                "connect": ["tcp://a:514", "tcp://b:514"],
                "policy": "balance",
                "ordered": False,
            },
        ),
        (
            'type="omrelp" target="h" port="2514" windowSize="50" timeout="20"',
            {"connect": "relp://h:2514", "window_records": 50, "answer_seconds_max": 20},
        ),
        (
            'type="omrelp" target="h" tls="on" tls.caCert="/ca" tls.authMode="fingerprint"'
            ' tls.permittedPeer=["SHA1:AB"]',
            {
                "connect": "relp+tls://h:514",
                "trusted_ca": "/ca",
                "peer_fingerprints": ["SHA1:AB"],
            },
        ),
        (
            'type="omdtls" target="h" tls.caCert="/ca" tls.authMode="certvalid"',
            {"connect": "dtls://h:4433", "trusted_ca": "/ca", "octet_counting": False},
        ),
    ],
)
def test_forwarding(parameters: str, keys: object, tmp_path: Path) -> None:
    assert keys_of(parameters, tmp_path) == keys


@pytest.mark.parametrize(
    "parameters", ['target="a b"', 'target="h" port="0"', 'port="x" target="h"', ""]
)
def test_targets_that_are_none(parameters: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f'{HEAD}action(type="omfwd" {parameters})\n', tmp_path)
    assert result.doubts[0].startswith("3: not supported")
