"""Alerts of a real relay, told over HTTPS and to a program."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from relay.cli.control_client import ask
from tests.certificate_files import make_certificate_files
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

PROGRAM = '#!/bin/sh\ncat >> "$1"\n[ -e "$1.fails" ] && rm "$1.fails" && exit 3\nexit 0\n'


class Hook(BaseHTTPRequestHandler):
    """A web server that has its bad moments first."""

    steps: ClassVar[list[str]] = []
    taken: ClassVar[list[Any]] = []
    tokens: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.tokens.append(self.headers["Authorization"])
        step = self.steps.pop(0) if self.steps else "ok"
        if step == "slow":
            time.sleep(1.5)
        elif step == "broken":
            self.connection.close()
            return
        self.send_response(500 if step == "500" else 204)
        self.end_headers()
        if step == "ok":
            self.taken.append(json.loads(body))

    def log_message(self, format: str, *arguments: object) -> None:
        """It says nothing."""


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of the web server, and the file of the authority that has signed it."""
    Hook.steps[:], Hook.taken[:], Hook.tokens[:] = ["slow", "500", "broken"], [], []
    files = make_certificate_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server_certificate, files.server_key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # it has hung up
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}/hook?key=sesame", files.ca
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_an_alert_reaches_everybody_once_through_bad_moments_and_a_restart(
    programs: Programs, tmp_path: Path, hook: tuple[str, str]
) -> None:
    url, authority = hook
    token, program, told = tmp_path / "token", tmp_path / "page", tmp_path / "told"
    token.write_text("open-sesame\n")
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tmp_path / "told.fails").touch()
    log = tmp_path / "messages"
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"own": {"listen": "internal://"}},
        destinations={
            "log": {"connect": f"file://{log}"},
            "away": {"connect": f"tcp://127.0.0.1:{free_port()}"},
        },
        alerts={
            "down_after": 1,
            "webhook": url,
            "webhook_token_file": str(token),
            "webhook_seconds_max": 0.5,
            "trusted_ca": authority,
            "program": [str(program), str(told)],
        },
    )
    wait_until(lambda: len(Hook.taken) == 1, "an alert at the webhook")
    (alert,) = Hook.taken
    assert (alert["relay"], alert["event"]) == ("relay", "begin")
    assert (alert["rule"], alert["subject"]) == ("down", "destination away")
    assert Hook.tokens == ["Bearer open-sesame"] * 4
    # The program has failed the first time, and was run again.
    lines = wait_for_lines(told, 2)
    assert [json.loads(line) for line in lines] == [alert, alert]
    status = ask(str(relay.state_dir), "status")
    assert status["alerts"][0]["since"] == alert["since"]
    assert "(alert down)" in status["degraded"][0]
    webhook, ran = status["alert_outlets"]
    assert (webhook["told"], webhook["failures"], webhook["waiting"]) == (1, 3, 0)
    assert (ran["told"], ran["failures"]) == (1, 1)
    assert [line for line in wait_for_lines(log, 1) if b"alert: destination away: " in line]
    relay.stop()
    relay.start()
    relay.stop()
    assert len(Hook.taken) == 1 and len(wait_for_lines(told, 2)) == 2
    assert relay.log().count("alert: destination away") == 1
    assert "sesame" not in relay.log() + json.dumps(status)
