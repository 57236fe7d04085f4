"""What `status` says of a relay with many kinds of sources and destinations, most of them in
trouble; `tests/conftest.py` has all other documents checked, those of damaged queues and full disks
too."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.end_to_end.test_command_line import run
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

LONG = b"<13>Oct 11 22:14:15 host app: " + 5000 * b"x"
RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.2}


@pytest.fixture
def relay(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> RelayProcess:
    tcp, gone = free_port(), free_port()
    own = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "trusted_ca": certificates.ca,
    }
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "tcp": {
                "listen": f"tcp://127.0.0.1:{tcp}",
                "frame_bytes_max": 1024,
                "oversize": "quarantine",
            },
            "udp": {"listen": f"udp://127.0.0.1:{free_port()}"},
            "dtls": {"listen": f"dtls://127.0.0.1:{free_port()}", **own},
            "relps": {"listen": f"relp+tls://127.0.0.1:{free_port()}", **own},
            "http": {"listen": f"http://127.0.0.1:{free_port()}"},
            "files": {"listen": f"file://{tmp_path}/*.log"},
            "program": {"listen": "program:///bin/false"},
            "relay": {"listen": "internal://"},
        },
        destinations={
            "away": {
                "connect": f"relp://127.0.0.1:{gone}",
                "queue_bytes_max": "4 MiB",
                **RETRY,
            },
            "lanes": {
                "connect": [f"relp://127.0.0.1:{gone}", f"relp://127.0.0.2:{gone}"],
                "order": "live-first",
                **RETRY,
            },
            "dtls": {
                "connect": f"dtls://127.0.0.1:{gone}",
                "certificate": str(tmp_path / "missing.pem"),
                "private_key": str(tmp_path / "missing.pem"),
                "trusted_ca": certificates.ca,
            },
            "file": {"connect": f"file://{tmp_path}/out/all", "history": "1 h"},
            "bulk": {"connect": f"http://127.0.0.1:{gone}", "index": "logs", **RETRY},
        },
        web={"listen": f"http://127.0.0.1:{free_port()}"},
    )
    (tmp_path / "a.log").write_bytes(b"one line\n")
    feed_stream(tcp, [b"<13>Oct 11 22:14:15 host app: good", LONG, b"<999>bad"])
    return relay


def test_each_kind_and_state_is_as_the_schema_says(relay: RelayProcess) -> None:
    def document() -> dict:  # type: ignore[type-arg]
        return ask(str(relay.state_dir), "status")

    def is_in_trouble() -> bool:
        sources = {each["id"]: each for each in document()["sources"]}
        destinations = {each["id"]: each for each in document()["destinations"]}
        return bool(
            sources["tcp"]["quarantine"]["records"]
            and sources["files"]["stored_records"]
            and "refused" in destinations["away"]["state"]
            and destinations["file"]["delivered_records"]
            and destinations["away"]["last_errors"]
        )

    wait_until(is_in_trouble, "all of it has happened")
    validator = Draft202012Validator(json.loads(run("status", "--schema")[1]))
    found = json.loads(run("status", "--json", "-d", str(relay.state_dir))[1])
    validator.validate(found)
    assert {each["kind"] for each in found["certificates"]} == {"certificate"}
    assert found["web"]["ready"] and found["destinations"][1]["lanes"]["live"]["state"]


def test_a_usual_host_fits_one_screen_with_the_worst_in_its_first_line(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "programs": {"listen": f"unixgram://{tmp_path}/log"},
            "devices": {"listen": f"udp://127.0.0.1:{free_port()}"},
            "relays": {"listen": f"relp://127.0.0.1:{port}"},
            "files": {"listen": f"file://{tmp_path}/*.log"},
        },
        destinations={
            "central": {"connect": f"relp://127.0.0.1:{free_port()}", **RETRY},
            "archive": {"connect": f"file://{tmp_path}/archive"},
            "second": {"connect": f"tcp://127.0.0.1:{free_port()}", **RETRY},
        },
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(f"{tmp_path}/log")
        sender.send(b"<13>app: hello")
    here = ("-d", str(relay.state_dir))
    wait_until(lambda: "central: refused" in run("status", *here)[1], "central is refused")
    lines = run("status", *here)[1].splitlines()
    assert lines[0].startswith("degraded: ") and "refused by 127.0.0.1:" in lines[0]
    assert len(lines) < 24, lines
    assert run("status", "--check", *here)[0] == 1
