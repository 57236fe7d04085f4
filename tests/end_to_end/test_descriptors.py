"""At the end of the file descriptors: who is connected is served, and the relay can be asked."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

from relay.cli.control_client import ask
from tests.end_to_end.central import numbered
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 64))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_sources_refuse_and_everything_else_goes_on(programs: Programs, tmp_path: Path) -> None:
    relp, tcp, unix = free_port(), free_port(), tmp_path / "log.sock"
    arrived = tmp_path / "received.log"
    relay = RelayProcess(
        tmp_path,
        sources={
            "relp": {"listen": f"relp://127.0.0.1:{relp}"},
            "tcp": {"listen": f"tcp://127.0.0.1:{tcp}"},
            "unix": {"listen": f"unix://{unix}"},
        },
        destinations={"file": {"connect": f"file://{arrived}"}},
    )
    relay.command = [sys.executable, "-c", LIMITED, *relay.command]
    programs.add(relay)
    relay.start()
    assert "warning: this process may have 64 files open, and could need 3," in relay.log()
    with contextlib.ExitStack() as opened:
        sender = opened.enter_context(RelpSender(relp))
        sender.send(numbered("before", 10))
        wait_for_lines(arrived, 10)
        for _ in range(300):
            opened.enter_context(socket.create_connection(("127.0.0.1", tcp), timeout=10))
        local = opened.enter_context(socket.socket(socket.AF_UNIX))
        local.connect(str(unix))
        assert local.recv(1) == b""  # it was hung up on

        def refused() -> int:
            sources = ask(str(relay.state_dir), "status")["sources"]
            return sum(report["connections_refused"] for report in sources)

        wait_until(lambda: refused() > 250, "the sources refuse")
        sender.send(numbered("within", 100))
        sender.close()
        wait_for_lines(arrived, 110)
        reports = {each["id"]: each for each in ask(str(relay.state_dir), "status")["sources"]}
        assert 10 < reports["tcp"]["connections_open"] < 48
        last = reports["tcp"]["last_errors"][0]
        assert last["kind"] == "descriptors"
        assert last["count"] == reports["tcp"]["connections_refused"]
        assert " of 64 file descriptors are left" in last["text"]
    wait_until(
        lambda: ask(str(relay.state_dir), "status")["sources"][1]["connections_open"] == 0,
        "all have gone",
    )
    with RelpSender(relp) as sender:
        sender.send(numbered("after", 10))
        sender.close()
    wait_for_lines(arrived, 120)
    log = relay.log()
    assert log.count("file descriptors are left") == 2  # one for each source that refused
    assert "EMFILE" not in log and len(log) < 4000
    relay.stop()


def test_files_leave_descriptors_to_everybody_else(programs: Programs, tmp_path: Path) -> None:
    relp, arrived = free_port(), tmp_path / "received.log"
    (tmp_path / "logs").mkdir()
    for number in range(80):
        (tmp_path / "logs" / f"{number}.log").write_text(f"file {number}\n")
    relay = RelayProcess(
        tmp_path,
        sources={
            "files": {"listen": f"file://{tmp_path}/logs/*.log"},
            "relp": {"listen": f"relp://127.0.0.1:{relp}"},
        },
        destinations={"file": {"connect": f"file://{arrived}"}},
    )
    relay.command = [sys.executable, "-c", LIMITED, *relay.command]
    programs.add(relay)
    relay.start()
    with RelpSender(relp) as sender:
        sender.send(numbered("within", 10))
        wait_for_lines(arrived, 15)
    reports = {each["id"]: each for each in ask(str(relay.state_dir), "status")["sources"]}
    assert reports["files"]["files_refused"] == 80 - reports["files"]["files_open"] > 0
    assert reports["files"]["last_errors"][0]["kind"] == "descriptors"
    relay.stop()
