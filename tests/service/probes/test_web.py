from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from relay.service.configuration.model import TlsConfiguration, Url, WebConfiguration
from relay.service.probes.probe import Probe
from relay.service.probes.web import probe_web
from tests.certificate_files import make_certificate_files
from tests.processes import free_port


def probed(scheme: str = "http", port: int = 0, **keys: Any) -> Probe:
    probe = Probe("web server", 1)
    url = Url(scheme, host="127.0.0.1", port=port or free_port())
    probe_web(probe, WebConfiguration(url, **keys))
    return probe


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


def test_a_port_that_somebody_has() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        assert faults(probed(port=held.getsockname()[1])) == ["port-taken"]
    assert faults(probed()) == ["port"]


def test_its_certificate_is_told_of(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(certificate=files.server_certificate, private_key=files.server_key)
    probe = probed("https", tls=tls)
    assert [each.step for each in probe.findings] == ["handshake", "port"]


def test_its_tokens(tmp_path: Path) -> None:
    reader, admin = tmp_path / "reader", tmp_path / "admin"
    keys = {"token_file": str(reader), "admin_token_file": str(admin)}
    reader.write_text("secret-of-readers")
    assert faults(probed(**keys)) == ["port", "token", "token-unusable"]
    admin.write_text("secret-of-admins")
    assert faults(probed(**keys)) == ["port", "token", "token"]
    admin.write_text("secret-of-readers\n")
    probe = probed(**keys)
    assert faults(probe) == ["port", "token", "token", "tokens-equal"]
    assert "secret-of-readers" not in str(probe.findings)
