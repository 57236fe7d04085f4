"""The commands in README.md and docs/ are run, one block after the other, beside a relay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.command_server import Commands
from tests.documents import ROOT, Block, blocks, make_stand_ins, with_stand_ins
from tests.end_to_end.central import Central, numbered
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess

MAKE = f'make() {{ command make --dry-run --directory={ROOT} "$@" >make.log; }}\n'
"""What make would do: it is what runs these tests."""


def relay_of(programs: Programs, folder: Path) -> RelayProcess:
    """What the documents assume: a central receiver that is there, one that is not, a history."""
    central = Central(programs, folder / "central", free_port())
    central.start()
    port = free_port()
    relay = RelayProcess.started(
        programs,
        folder / "host",
        sources={"tcp": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={
            "central": {"connect": central.url, "history": "6h"},
            "spare": {"connect": f"relp://127.0.0.1:{free_port()}"},
        },
    )
    messages = numbered("app", 100)
    feed_stream(port, messages)
    central.wait_for(messages)
    return relay


def run(block: Block, folder: Path, environment: dict[str, str]) -> None:
    script = MAKE + with_stand_ins(block.text, folder)
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail"],
        input=script,
        cwd=folder,
        env=environment,
        timeout=300,  # a busy machine takes seconds to start a command
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, f"{block.place}:\n{script}\n{done.stdout}{done.stderr}"


def test_every_command_works(programs: Programs, tmp_path: Path) -> None:
    relay = relay_of(programs, tmp_path)
    folder = tmp_path / "etc"
    folder.mkdir()
    make_stand_ins(folder)
    (folder / "relay.toml").write_text(
        with_stand_ins((ROOT / "deploy/host.toml").read_text(), folder)
    )
    commands = Commands(tmp_path / "commands")
    programs.add(commands)
    commands.start()
    environment = {
        **os.environ,
        "PATH": f"{commands.path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SYSLOGRELAY_STATE_DIR": str(relay.state_dir),
    }
    runnable = [block for block in blocks("sh") if not block.not_run]
    assert len(runnable) > 8
    for block in runnable:
        run(block, folder, environment)
