"""twistd's own ways: daemonising with a pid file and a log file, and changing the user."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.central import numbered
from tests.end_to_end.users import USER, folder_of_user, python_for_user
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

STOP_SECONDS_MAX = 5.0


@contextmanager
def daemon(pid_file: Path) -> Iterator[int]:
    """The process that `pid_file` names; killed at the end if it is still there."""
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip(), str(pid_file))
    pid = int(pid_file.read_text())
    try:
        yield pid
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """A process that has ended but that nobody waits for does not count."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the daemon ends", STOP_SECONDS_MAX)


def user_ids(pid: int) -> set[str]:
    """Real, effective, saved and file system user id."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return set(next(line for line in lines if line.startswith("Uid:")).split()[1:])


def free_privileged_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except PermissionError:
                pytest.skip("may not bind a port below 1024")
            except OSError:
                continue
            return port
    raise AssertionError("no free port below 1024")


def send(port: int, arrived: Path) -> None:
    """Everything that goes in comes out."""
    with RelpSender(port) as sender:
        sender.send(numbered("app", 100))
        sender.close()
    assert wait_for_lines(arrived, 100) == numbered("app", 100)


def test_daemonises(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    pid_file, log = tmp_path / "relay.pid", tmp_path / "daemon.log"
    relay = RelayProcess(
        tmp_path,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{tmp_path / 'received.log'}"}},
        arguments=[f"--pidfile={pid_file}", f"--logfile={log}"],
    )
    programs.add(relay)
    relay.start(wait=False)
    assert relay.wait_exit() == 0, relay.log()
    with daemon(pid_file) as pid:
        assert pid != relay.pid
        assert os.getsid(pid) != os.getsid(0)
        wait_until(relay.is_listening, "the daemon listens")
        send(port, tmp_path / "received.log")
        terminate(pid)
    assert not pid_file.exists()
    lines = [line.partition(" ")[2] for line in log.read_text().splitlines()]
    assert lines[0].startswith("syslogrelay ")
    assert [line for line in lines if " starting on " in line or "twistd" in line] == []
    assert f"source feed: listens on relp://127.0.0.1:{port}" in lines
    assert lines[-1].startswith("stopped after ")
    assert "Traceback" not in log.read_text()


def test_a_daemon_that_cannot_start_says_so(programs: Programs, tmp_path: Path) -> None:
    pid_file, log = tmp_path / "relay.pid", tmp_path / "daemon.log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        relay = RelayProcess(
            tmp_path,
            sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
            destinations={"file": {"connect": f"file://{tmp_path / 'received.log'}"}},
            arguments=[f"--pidfile={pid_file}", f"--logfile={log}"],
        )
        programs.add(relay)
        relay.start(wait=False)
        assert relay.wait_exit() > 0
    sentence = f"source feed: cannot listen on relp://127.0.0.1:{port}: Address already in use\n"
    assert relay.log() == sentence
    # The parent is told, and ends, before the child has written the reason.
    wait_until(lambda: f"127.0.0.1:{port}" in log.read_text(), "the reason in the log")
    assert not pid_file.exists()


def test_changes_the_user(programs: Programs) -> None:
    python = python_for_user()
    entry = pwd.getpwnam(USER)
    port, privileged = free_port(), free_privileged_port()
    with folder_of_user() as folder:
        pid_file, log, arrived = folder / "r.pid", folder / "daemon.log", folder / "received.log"
        relay = RelayProcess(
            folder,
            sources={
                "feed": {"listen": f"relp://127.0.0.1:{port}"},
                "privileged": {"listen": f"tcp://127.0.0.1:{privileged}"},
                "local": {"listen": f"unixgram://{folder / 'log.sock'}"},
            },
            destinations={"file": {"connect": f"file://{arrived}"}},
            arguments=[
                *(f"--uid={entry.pw_uid}", f"--gid={entry.pw_gid}"),
                *(f"--pidfile={pid_file}", f"--logfile={log}"),
            ],
            interpreter=python.path,
            environment=python.environment,
        )
        programs.add(relay)
        relay.start(wait=False)
        assert relay.wait_exit() == 0, relay.log() + log.read_text()
        with daemon(pid_file) as pid:
            wait_until(relay.is_listening, "the daemon listens")
            send(port, arrived)
            with socket.create_connection(("127.0.0.1", privileged)) as client:
                client.sendall(b"5 hello")
            subprocess.run(["logger", "-u", str(folder / "log.sock"), "local"], check=True)
            assert any(b"local" in line for line in wait_for_lines(arrived, 102))
            assert user_ids(pid) == {str(entry.pw_uid)}
            made = [arrived, *relay.state_dir.rglob("*"), relay.state_dir]
            assert len(made) > 3
            assert {path.lstat().st_uid for path in made} == {entry.pw_uid}
            assert {path.lstat().st_gid for path in made} == {entry.pw_gid}
            terminate(pid)
        assert "Traceback" not in log.read_text()
        assert not (folder / "log.sock").exists()
