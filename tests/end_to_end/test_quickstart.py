"""deploy/quickstart.toml as it stands, only with free ports: what `logger` says arrives."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from tests.processes import (
    Program,
    Programs,
    free_port,
    is_bound_udp,
    is_listening_tcp,
    is_listening_unix,
    wait_until,
)
from tests.relay_process import received, twistd

QUICKSTART = Path(__file__).resolve().parents[2] / "deploy" / "quickstart.toml"


@pytest.fixture
def say() -> str:
    found = shutil.which("logger")
    if found is None:
        pytest.skip("no program named logger")
    return found


def logger(program: str, *arguments: str) -> None:
    subprocess.run([program, *arguments], check=True, timeout=10)


def wait_for_all(path: Path, texts: Sequence[str]) -> None:
    wait_until(
        lambda: all(text.encode() in b"\n".join(received(path)) for text in texts),
        f"{texts} in {path}",
    )


def test_the_three_ways_in(programs: Programs, tmp_path: Path, say: str) -> None:
    (tmp_path / "deploy").mkdir()
    config = tmp_path / "deploy" / "quickstart.toml"
    syslog, relp = free_port(), free_port()
    text = QUICKSTART.read_text().replace(":5514", f":{syslog}").replace(":20514", f":{relp}")
    config.write_text(text)
    configuration = read_configuration(str(config), KINDS)
    sources = {source.listen.scheme: source.listen for source in configuration.sources}
    arrived = next(
        Path(destination.connect.path)
        for destination in configuration.destinations
        if destination.connect.scheme == "file"
    )
    unix = sources["unixgram"].path
    assert arrived == tmp_path / "var" / "received.log"
    assert Path(unix).parent == tmp_path / "var"
    relay = Program(
        [twistd(), "--nodaemon", "--pidfile=", "syslogrelay", "--config", str(config)],
        folder=tmp_path,
        name="relay",
        is_ready=lambda: (
            is_bound_udp(syslog)
            and is_listening_tcp(syslog)
            and is_listening_tcp(relp)
            and is_listening_unix(unix)
        ),
    )
    programs.add(relay)
    relay.start()
    network = ("-n", "127.0.0.1", "-P", str(syslog))
    logger(say, *network, "--udp", "-t", "web", "hello over UDP")
    logger(say, *network, "-T", "-t", "web", "hello over TCP")
    logger(say, *network, "-T", "--octet-count", "-t", "web", "hello with a count")
    logger(say, "-u", unix, "-t", "web", "hello over the local socket")
    logger(say, *network, "-T", "--rfc3164", "-t", "web", "hello as in the old days")

    wait_for_all(arrived, [f"hello over {text}" for text in ("UDP", "TCP", "the local socket")])
    wait_for_all(arrived, ["hello with a count", "hello as in the old days"])
    assert len(received(arrived)) == 5
    relay.stop()
    assert "Traceback" not in relay.log()
