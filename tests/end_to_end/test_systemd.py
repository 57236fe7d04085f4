"""Started as systemd starts it: sockets are passed on, and it reports."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.certificate_files import CertificateFiles
from tests.end_to_end.test_start import refusal
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import FOREGROUND, RelayProcess, twistd, wait_for_lines
from tests.relp_sender import RelpSender

# Binds what its arguments say (NAME=udp:PORT, tcp:PORT, unixgram:PATH or unix:PATH; from:PATH gets
# a bound socket from whoever listens there), passes it on from descriptor 3 on as systemd does, and
# becomes the program after "--".
LAUNCHER = """
import os, socket, sys
middle = sys.argv.index("--")
sockets, names = [], []
for argument in sys.argv[1:middle]:
    name, _, what = argument.partition("=")
    kind, _, where = what.partition(":")
    if kind == "from":
        with socket.socket(socket.AF_UNIX) as giver:
            giver.connect(where)
            sockets.append(os.dup2(socket.recv_fds(giver, 1, 1)[1][0], 100 + len(sockets)))
        names.append(name)
        continue
    path = kind.startswith("unix")
    made = socket.socket(
        socket.AF_UNIX if path else socket.AF_INET,
        socket.SOCK_DGRAM if kind in ("udp", "unixgram") else socket.SOCK_STREAM,
    )
    made.bind(where if path else ("127.0.0.1", int(where)))
    if made.type == socket.SOCK_STREAM:
        made.listen()
    if path:
        os.chmod(where, 0o620)
    sockets.append(os.dup2(made.fileno(), 100 + len(sockets)))
    names.append(name)
for number, descriptor in enumerate(sockets):
    os.dup2(descriptor, 3 + number)
    os.close(descriptor)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(sockets))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(sys.argv[middle + 1], sys.argv[middle + 1 :])
"""


def relay_from_systemd(
    programs: Programs,
    folder: Path,
    *,
    passed: list[str],
    sources: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str] | None = None,
) -> RelayProcess:
    """A relay to a file that gets the sockets `passed`, not started yet."""
    process = RelayProcess(
        folder,
        sources=sources,
        destinations={"file": {"connect": f"file://{folder / 'received.log'}"}},
        environment={**os.environ, **(environment or {})},
    )
    # Ready when it says so: the sockets are there before it is.
    process._is_ready = lambda: process.log().count("listens on") >= len(sources)
    process.command = [
        *(sys.executable, "-c", LAUNCHER, *passed, "--"),
        *(sys.executable, twistd(), *FOREGROUND),
        *("syslogrelay", "--config", str(process.config_path)),
    ]
    programs.add(process)
    return process


def test_every_kind_of_socket(programs: Programs, tmp_path: Path) -> None:
    udp, tcp, relp = free_port(), free_port(), free_port()
    local, stream = tmp_path / "local", tmp_path / "stream"
    passed = [
        f"local=unixgram:{local}",
        f"stream=unix:{stream}",
        f"net=udp:{udp}",
        f"net=tcp:{tcp}",
        f"relp.socket=tcp:{relp}",
    ]
    sources = {
        "local": {"listen": "systemd://local"},
        "stream": {"listen": "systemd://stream", "connections_max": 5},
        "udp": {"listen": "systemd://5"},
        "tcp": {"listen": "systemd://6"},
        "relp": {"listen": "systemd://relp.socket", "protocol": "relp"},
    }
    relay = relay_from_systemd(programs, tmp_path, passed=passed, sources=sources)
    relay.start()
    for family, kind, address in (
        (socket.AF_UNIX, socket.SOCK_DGRAM, str(local)),
        (socket.AF_UNIX, socket.SOCK_STREAM, str(stream)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", udp)),
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", tcp)),
    ):
        with socket.socket(family, kind) as sender:
            sender.connect(address)
            sender.send(b"<13>app: over %s\n" % str(address).encode())
    with RelpSender(relp) as sender:
        sender.send([b"<13>app: over relp"])
        sender.close()
    lines = wait_for_lines(tmp_path / "received.log", 5)
    assert len(lines) == 5
    for words in (str(local), str(stream), str(udp), str(tcp), "over relp"):
        assert sum(words.encode() in line for line in lines) == 1
    for text in (f"unixgram://{local}", f"unix://{stream}", f"udp://127.0.0.1:{udp}"):
        assert f"listens on {text}" in relay.log()
    relay.stop()
    for path in (local, stream):  # they are systemd's
        assert stat.S_IMODE(path.stat().st_mode) == 0o620


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("local", [False, True])
def test_a_socket_outlives_the_relay(
    programs: Programs, tmp_path: Path, kind: socket.SocketKind, local: bool
) -> None:
    """What comes between two runs waits in it."""
    address: Any = str(tmp_path / "log") if local else ("127.0.0.1", free_port())
    family = socket.AF_UNIX if local else socket.AF_INET
    relay = relay_from_systemd(
        programs,
        tmp_path,
        passed=[f"log=from:{tmp_path / 'giver'}"],
        sources={"log": {"listen": "systemd://log"}},
    )
    with socket.socket(family, kind) as kept, socket.socket(socket.AF_UNIX) as giver:
        kept.bind(address)
        if kind == socket.SOCK_STREAM:
            kept.listen()
        giver.bind(str(tmp_path / "giver"))
        giver.listen()
        for run in (1, 2):
            with socket.socket(family, kind) as sender:  # in the second run, nobody is there
                sender.connect(address)
                sender.send(b"<13>app: %d\n" % run)
            relay.start(wait=False)
            taker, _ = giver.accept()
            with taker:
                socket.send_fds(taker, [b"x"], [kept.fileno()])
            assert len(wait_for_lines(tmp_path / "received.log", run)) == run
            relay.stop()


def test_tls(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> None:
    port = free_port()
    feed = {
        "listen": "systemd://tls",
        "protocol": "relp+tls",
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "peer_verify": "none",
    }
    relay = relay_from_systemd(
        programs, tmp_path, passed=[f"tls=tcp:{port}"], sources={"feed": feed}
    )
    relay.start()
    edge = RelayProcess.started(
        programs,
        tmp_path / "edge",
        sources={"in": {"listen": f"unixgram://{tmp_path}/edge.sock"}},
        destinations={
            "out": {"connect": f"relp+tls://127.0.0.1:{port}", "trusted_ca": certificates.ca}
        },
        name="edge",
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>app: hello", f"{tmp_path}/edge.sock")
    assert wait_for_lines(tmp_path / "received.log", 1) == [b"<13>app: hello"]
    edge.stop()
    relay.stop()


def test_a_wrong_name(programs: Programs, tmp_path: Path) -> None:
    relay = relay_from_systemd(
        programs,
        tmp_path,
        passed=[f"syslog.socket=unixgram:{tmp_path / 'log'}"],
        sources={"local": {"listen": "systemd://sylog.socket"}},
    )
    refusal(relay, "source local", "systemd://sylog.socket", "only syslog.socket (number 3)")
    assert not relay.state_dir.exists()


def test_without_systemd(programs: Programs, tmp_path: Path) -> None:
    relay = RelayProcess(
        tmp_path,
        sources={"local": {"listen": "systemd://syslog.socket"}},
        destinations={"file": {"connect": f"file://{tmp_path / 'received.log'}"}},
    )
    programs.add(relay)
    refusal(relay, "source local", "systemd passed no sockets", "start it by a socket unit")


class Manager:
    """The end of a service manager; keeps every report."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self.reports: list[str] = []

    def heard(self, words: str) -> bool:
        while True:
            try:
                self.reports.append(self._socket.recv(8192).decode())
            except BlockingIOError:
                return any(words in report for report in self.reports)

    def close(self) -> None:
        self._socket.close()


def test_it_reports_to_the_service_manager(programs: Programs, tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    port = free_port()
    log = tmp_path / "relay.log"
    log.touch()
    journal = f"{log.stat().st_dev}:{log.stat().st_ino}"  # which its output is connected to
    reporting = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}
    relay = RelayProcess(
        tmp_path,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{tmp_path / 'received.log'}"}},
        relay={"statistics_seconds": 0.2},
        environment={**os.environ, **reporting, "JOURNAL_STREAM": journal},
    )
    programs.add(relay)
    relay.start(wait=False)
    wait_until(lambda: manager.heard("READY=1"), "READY=1")
    with RelpSender(port) as sender:  # it is what it says
        sender.send([b"<13>app: hello"])
        sender.close()
    for words in ("WATCHDOG=1", "STATUS=statistics: feed: received"):
        wait_until(lambda words=words: manager.heard(words), words)  # type: ignore[misc]
    assert not manager.heard("STOPPING=1")
    relay.stop()
    assert manager.heard("STOPPING=1")
    manager.close()
    lines = relay.log().splitlines()
    assert f"<6>source feed: listens on relp://127.0.0.1:{port}" in lines
    assert [line for line in lines if line[0] + line[2] != "<>"] == []


def test_a_relay_that_cannot_start_is_never_ready(programs: Programs, tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        relay = RelayProcess(
            tmp_path,
            sources={"feed": {"listen": f"tcp://127.0.0.1:{taken.getsockname()[1]}"}},
            destinations={"file": {"connect": f"file://{tmp_path / 'received.log'}"}},
            environment={**os.environ, "NOTIFY_SOCKET": manager.path},
        )
        programs.add(relay)
        refusal(relay, "source feed")
    assert not manager.heard("READY=1")
    manager.close()
