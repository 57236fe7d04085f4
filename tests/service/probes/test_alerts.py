from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from relay.service.configuration.model import AlertsConfiguration, Url
from relay.service.probes.alerts import probe_alerts
from relay.service.probes.probe import Probe
from tests.processes import free_port


def probed(**keys: Any) -> Probe:
    probe = Probe("alerts", 1)
    probe_alerts(probe, AlertsConfiguration(**keys))
    return probe


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


def url(port: int) -> Url:
    return Url("http", host="127.0.0.1", port=port, path="/hook")


def test_the_log_alone() -> None:
    assert faults(probed()) == ["alerts"]


def test_a_webhook_is_connected_to_and_gets_no_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        missing = probed(webhook=url(port), webhook_token_file=str(token))
        token.write_text("secret")
        probe = probed(webhook=url(port), webhook_token_file=str(token))
        for _ in range(2):
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                assert accepted.recv(100) == b""
    assert faults(missing)[-1] == "token-unusable"
    assert faults(probe)[-1] == "token"
    assert not any(each.fault for each in probe.findings)
    assert "secret" not in str(probe.findings)


def test_a_webhook_where_nobody_listens() -> None:
    (found,) = [each for each in probed(webhook=url(free_port())).findings if each.fault]
    assert found.fault == "tcp-refused"


def test_programs() -> None:
    assert faults(probed(program=("/bin/cat",))) == ["start"]
    assert faults(probed(program=("/nonexistent/notify",))) == ["program-missing"]
