"""A file is wrong that one source or destination needs: the relay starts, and spools."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.odd_certificates import make_certificate
from tests.processes import Programs, free_port, is_listening_tcp, is_listening_unix, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

LINE = b"<13>1 2026-10-11T22:14:15Z h app - - - %b\n"
TOKEN = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Waiting(RelayProcess):
    """Not all of its sources listen."""

    def is_listening(self) -> bool:
        return is_listening_unix(str(self.state_dir / "control.sock"))


class Host:
    """A relay of which a destination or source each lacks another file, and its central relay."""

    def __init__(self, programs: Programs, folder: Path, files: CertificateFiles) -> None:
        self.folder, self.files = folder, files
        self.port, self.secure_port = free_port(), free_port()
        central_port = free_port()
        self.arrived = folder / "central.log"
        self.good, self.tokens = folder / "good.log", folder / "tokens.log"
        own = {"certificate": files.server_certificate, "private_key": files.server_key}
        RelayProcess.started(
            programs,
            folder / "central",
            sources={
                "relays": {
                    "listen": f"relp+tls://127.0.0.1:{central_port}",
                    "trusted_ca": files.ca,
                    **own,
                }
            },
            destinations={"file": {"connect": f"file://{self.arrived}"}},
        )
        old = make_certificate("old", days_from=-20, days_to=-10)
        (folder / "own.pem").write_bytes(old.certificate_pem())
        (folder / "key.pem").write_bytes(old.private_key_pem())
        upstream: dict[str, Any] = {
            "connect": f"relp+tls://127.0.0.1:{central_port}",
            "certificate": str(folder / "own.pem"),
            "private_key": str(folder / "key.pem"),
        }
        rewrite = {"mode": "cee", "token_file": str(folder / "token")}
        self.relay = Waiting.started(
            programs,
            folder / "host",
            sources={
                "plain": {"listen": f"tcp://127.0.0.1:{self.port}"},
                "secure": {
                    "listen": f"tls://127.0.0.1:{self.secure_port}",
                    "peer_verify": "none",
                    **own,
                    "private_key": str(folder / "missing-key.pem"),
                },
            },
            destinations={
                "good": {"connect": f"file://{self.good}"},
                "expired": {**upstream, "trusted_ca": files.ca},
                "no-ca": {**upstream, "trusted_ca": str(folder / "missing-ca.pem")},
                "token": {"connect": f"file://{self.tokens}", "rewrite": rewrite},
            },
        )

    def send(self, *texts: str) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(b"".join(LINE % text.encode() for text in texts))

    def reports(self) -> dict[str, dict[str, Any]]:
        document = ask(str(self.relay.state_dir), "status")
        return {each["id"]: each for each in (*document["sources"], *document["destinations"])}

    def check(self) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("syslogrelay")
        command = [str(program), "check", str(self.relay.config_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    def mend(self) -> None:
        shutil.copy(self.files.client_key, self.folder / "key.pem")
        shutil.copy(self.files.client_certificate, self.folder / "own.pem")
        shutil.copy(self.files.ca, self.folder / "missing-ca.pem")
        shutil.copy(self.files.server_key, self.folder / "missing-key.pem")
        (self.folder / "token").write_text(TOKEN)
        self.relay.signal(signal.SIGHUP)


@pytest.fixture
def host(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> Host:
    return Host(programs, tmp_path, certificates)


def test_the_relay_starts_spools_and_begins_by_itself(host: Host) -> None:
    folder = host.folder
    host.send("one", "two")
    wait_for_lines(host.good, 2)
    reports = host.reports()
    words = {id: reports[id]["state"] for id in ("expired", "no-ca", "token", "secure")}
    queued = "its messages are queued until"
    own = f"certificate: the certificate in {folder}/own.pem expired on "
    assert words["expired"].startswith(own)
    assert words["expired"].endswith(f"; replace it; {queued} the files are right")
    assert words["no-ca"].startswith(
        f"trusted_ca: cannot read {folder}/missing-ca.pem: No such file or directory; "
    )
    assert words["token"] == (
        f"cannot read the token file {folder}/token: No such file or directory; {queued} there is "
        "a token"
    )
    assert words["secure"] == (
        f"private_key: cannot read {folder}/missing-key.pem: No such file or directory; it does "
        "not listen until the files are right"
    )
    for id, text in words.items():
        assert not reports[id]["ready"]
        assert text in host.relay.log()
        assert reports[id].get("queued_records") in (None, 2)
    assert reports["expired"]["last_errors"][0]["text"] == words["expired"]
    assert not is_listening_tcp(host.secure_port)

    checked = host.check()
    assert checked.returncode == 1
    problems = [line for line in checked.stderr.splitlines() if ": warning: " not in line]
    assert [line.split(": ")[1] for line in problems] == [  # by line
        "sources.secure.private_key",
        "destinations.expired.certificate",
        "destinations.no-ca.certificate",
        "destinations.no-ca.trusted_ca",
        "destinations.token.rewrite.token_file",
    ]

    host.relay.kill()  # what waits for its token does so over a crash
    host.relay.start()
    host.send("three")
    wait_for_lines(host.good, 3)
    host.mend()
    wait_for_lines(host.arrived, 6)  # of two destinations
    host.send("four")
    wait_for_lines(host.arrived, 8)
    wait_for_lines(host.tokens, 4)
    wait_until(lambda: is_listening_tcp(host.secure_port), "the source listens")
    assert host.check().returncode == 0
    form = 'app:@cee: {"logsene-app-token": "%s", "message": "%s"}'
    assert [line.decode().partition(" h ")[2] for line in received(host.tokens)] == [
        form % (TOKEN, text) for text in ("one", "two", "three", "four")
    ]
    assert all(report.get("ready", True) for report in host.reports().values())
    host.relay.stop()
