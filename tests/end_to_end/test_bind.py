"""An own address that connections and datagrams cannot come from is named, and nothing is lost."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

ELSEWHERE = "192.0.2.1"
SCHEMES = ("tcp", "tls", "relp", "relp+tls", "http", "https", "udp", "dtls")
TEXTS = {
    ELSEWHERE: f"cannot send from {ELSEWHERE}: Cannot assign requested address; compare bind with "
    "`ip address`",
    "::1": "no address of 127.0.0.1 can be reached from ::1; correct bind",
}


def states(relay: RelayProcess) -> dict[str, str]:
    return {
        each["id"]: each["state"] for each in ask(str(relay.state_dir), "status")["destinations"]
    }


def test_each_kind_names_an_address_that_is_not_here_or_of_another_family(
    programs: Programs, tmp_path: Path
) -> None:
    udp = free_port()
    retry = {"retry_seconds_min": 0.2, "retry_seconds_max": 0.5}
    destinations: dict[str, Any] = {}
    expected: dict[str, str] = {}
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        port = upstream.getsockname()[1]
        for scheme in SCHEMES:
            for bind, text in TEXTS.items():
                id = f"{scheme.replace('+', '-')}-{len(bind)}"
                keys = {"connect": f"{scheme}://127.0.0.1:{port}", "bind": bind, **retry}
                destinations[id] = keys | ({"index": "logs"} if "http" in scheme else {})
                expected[id] = text
        relay = RelayProcess.started(
            programs,
            tmp_path,
            sources={"in": {"listen": f"udp://127.0.0.1:{udp}"}},
            destinations=destinations,
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"<13>app: one", ("127.0.0.1", udp))
        for id, text in expected.items():
            wait_until(lambda id=id, text=text: text in states(relay)[id], f"the reason of {id}")
        reports = ask(str(relay.state_dir), "status")["destinations"]
    assert {each["queued_records"] for each in reports} == {1}
    relay.stop()


IN_NAMESPACE = """
import socket, sys
from pathlib import Path
from tests.end_to_end import test_bind
from tests.processes import running_programs
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("41000 41003")
with running_programs() as programs:
    test_bind.exhausted(programs, Path(sys.argv[1]))
"""


def exhausted(programs: Programs, folder: Path) -> None:
    """With four ports for all connections: one frees itself, and the queue goes on."""
    receiver = RelayProcess.started(
        programs,
        folder / "receiver",
        sources={"relays": {"listen": "relp://127.0.0.1:514"}},
        destinations={"file": {"connect": f"file:{folder}/received.log"}},
    )
    held = []
    for port in range(41000, 41004):
        held.append(socket.socket())
        held[-1].bind(("127.0.0.2", port))
    edge = RelayProcess.started(
        programs,
        folder / "edge",
        sources={"in": {"listen": "udp://127.0.0.1:515"}},
        destinations={
            "up": {
                "connect": "relp://127.0.0.1:514",
                "bind": "127.0.0.2",
                "retry_seconds_min": 0.1,
                "retry_seconds_max": 0.3,
            }
        },
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 516))
        sender.sendto(b"<13>app: one", ("127.0.0.1", 515))
    text = "cannot send from 127.0.0.2: none of its ports is free"
    wait_until(lambda: text in states(edge)["up"], "the reason")
    held[0].close()
    wait_until(lambda: (folder / "received.log").exists(), "the message")
    for relay in (edge, receiver):
        relay.stop()


def test_ports_that_are_all_in_use(tmp_path: Path) -> None:
    namespace = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can make a network namespace")
    command = [*namespace, sys.executable, "-c", IN_NAMESPACE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
