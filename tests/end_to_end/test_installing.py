"""docs/installing.md, done: its centre, its host, and a message by logger.

The page's commands are run in `test_documents.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from relay.cli.control_client import ask
from tests.documents import PLACE, blocks, make_stand_ins
from tests.processes import Program, Programs, free_port, is_listening_unix, wait_until
from tests.relay_process import FOREGROUND, twistd

PAGE = "docs/installing.md"
PLACES = {
    PLACE: "etc",
    "/var/lib/syslogrelay": "state",
    "/var/log/syslogrelay": "archive",
    "/run/syslogrelay/log": "socket",
}


def configuration(table: str) -> str:
    """The configuration on the page that has this table."""
    (found,) = (
        block.text
        for block in blocks("toml")
        if block.place.startswith(PAGE) and f"\n[{table}]\n" in block.text
    )
    return found


def relay(folder: Path, text: str, port: int) -> Program:
    """A relay with a configuration of the page, in a folder in place of the host's root."""
    folder.mkdir(exist_ok=True)
    for place, name in PLACES.items():
        text = text.replace(place, str(folder / name))
    text = text.replace("central.example.com:20515", f"127.0.0.1:{port}").replace(
        "relp+tls://:20515", f"relp+tls://127.0.0.1:{port}"
    )
    # The names of the certificates are still verified.
    text = text.replace(
        "[destinations.central]", '[destinations.central]\nserver_name = "central.example.com"'
    )
    # Not this machine's own logs.
    text = text.replace('[sources.own]\nlisten = "system://"\n', "")
    text = text.replace("[relay]\n", '[relay]\nname = "web-1"\nallow_volatile_state = true\n')
    path = folder / "relay.toml"
    path.write_text(text)
    return Program(
        [sys.executable, twistd(), *FOREGROUND, "syslogrelay", "--config", str(path)],
        folder=folder,
        name=folder.name,
        is_ready=lambda: is_listening_unix(str(folder / "state" / "control.sock")),
    )


def test_a_message_gets_from_the_host_to_the_centre(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    certificates = tmp_path / "etc"
    certificates.mkdir()
    make_stand_ins(certificates)
    folders = {"relays": tmp_path / "centre", "local": tmp_path / "host"}
    for source, folder in folders.items():
        program = relay(folder, configuration(f"sources.{source}"), port)
        (folder / "etc").symlink_to(certificates)
        programs.add(program)
        program.start()
    socket = folders["local"] / "socket"
    logger = ["logger", "--socket", str(socket), "--tag", "hello", "is anybody there?"]
    subprocess.run(logger, check=True, timeout=20)
    wait_until(lambda: "is anybody there?" in archived(folders["relays"]), "the archive")
    (central,) = ask(str(folders["local"] / "state"), "status")["destinations"]
    assert "exactly once" in central["state"]


def archived(folder: Path) -> str:
    files = (folder / "archive").rglob("*.log")
    return "".join(path.read_text() for path in files)
