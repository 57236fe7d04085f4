"""Take the picture of `syslogrelay top` in the README, of a relay with live messages.

    python docs/take_top_picture.py

Needs the extra `top`.  Writes `docs/top.svg`.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from relay.cli.control_client import AskFailed, ask
from relay.cli.views.top_app import TopApp

PATH = Path(__file__).with_name("top.svg")
COLUMNS, LINES = 100, 16
SECONDS = 12.0
PANE = "3"

_CONFIGURATION = """\
[relay]
name = "central"
state_dir = "{folder}/state"
allow_volatile_state = true

[sources.hosts]
listen = "tcp://127.0.0.1:{tcp}"

[sources.network]
listen = "udp://127.0.0.1:{udp}"

[destinations.archive]
connect = "file:{folder}/all.log"

[destinations.mirror]
connect = "udp://127.0.0.1:{mirror}"
match = {{ severity = "..warning" }}

[destinations.siem]
connect = "relp://127.0.0.1:{closed}"
queue_bytes_max = "8 MiB"

[destinations.lab]
connect = "tcp://127.0.0.1:{closed}"
match = {{ severity = "debug" }}
"""
_PROGRAMS = {"nginx": 50, "sshd": 12, "postfix/smtpd": 18, "dockerd": 15, "kernel": 5}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        closed, tcp, udp, mirror = (_free_port() for _ in range(4))
        state_dir = f"{folder}/state"
        configuration = Path(folder, "relay.toml")
        configuration.write_text(
            _CONFIGURATION.format(folder=folder, tcp=tcp, udp=udp, mirror=mirror, closed=closed)
        )
        twistd = str(Path(sys.executable).with_name("twistd"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", mirror))
            relay = subprocess.Popen(
                [twistd, "--nodaemon", "--pidfile=", "syslogrelay", "--config", configuration],
                stdout=subprocess.DEVNULL,
            )
            try:
                _wait(state_dir)
                ask(state_dir, "pause", {"destination": "lab"})
                picture = asyncio.run(_taken(state_dir, tcp, udp))
            finally:
                relay.terminate()
                relay.wait(10)
    PATH.write_text(_without_fonts(picture.replace(folder, "/var/log/central")))
    print(f"written: {PATH}, {PATH.stat().st_size:,} bytes")


async def _taken(state_dir: str, tcp: int, udp: int) -> str:
    app = TopApp(state_dir, 1.0)
    async with app.run_test(size=(COLUMNS, LINES)) as pilot:
        await pilot.press(PANE)
        await asyncio.to_thread(_feed, tcp, udp)
        await pilot.pause(1.5)
        return app.export_screenshot(title="syslogrelay top")


def _feed(tcp: int, udp: int) -> None:
    """Send messages as hosts and network devices do."""
    chance = random.Random(7)
    with (
        socket.create_connection(("127.0.0.1", tcp)) as hosts,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device,
    ):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            hosts.sendall(b"".join(_message(chance) for _ in range(60)))
            for _ in range(3):
                device.sendto(b"<189>Oct 11 22:14:15 sw-1 LINK: port up", ("127.0.0.1", udp))
            time.sleep(0.05)


def _message(chance: random.Random) -> bytes:
    (program,) = chance.choices(list(_PROGRAMS), list(_PROGRAMS.values()))
    (severity,) = chance.choices((7, 6, 4, 3), (4, 85, 8, 3))
    text = f"<{8 + severity}>Oct 11 22:14:15 web-{chance.randrange(4)} {program}[812]: request done"
    return text.encode() + b"\n"


def _without_fonts(picture: str) -> str:
    """The picture without fonts from elsewhere: the reader's own will do."""
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def _wait(state_dir: str) -> None:
    for _ in range(100):
        try:
            ask(state_dir, "status")
            return
        except AskFailed:
            time.sleep(0.1)
    raise SystemExit("the relay does not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
