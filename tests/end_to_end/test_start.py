"""What keeps the relay from starting: one clear line, a non-zero exit, nothing damaged."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import pytest

from tests.end_to_end.central import numbered
from tests.end_to_end.users import USER, folder_of_user, python_for_user
from tests.processes import Program, Programs, free_port
from tests.relay_process import RelayProcess, received, twistd, wait_for_lines
from tests.relp_sender import RelpSender

REFUSE_SECONDS_MAX = 10.0


def refusal(program: Program, *needles: str) -> str:
    """Start `program`, which must refuse; return the one line that has all the `needles`."""
    before = len(program.log())
    program.start(wait=False)
    status = program.wait_exit(REFUSE_SECONDS_MAX)
    output = program.log()[before:]
    assert status > 0, f"exit status {status}:\n{output}"
    assert "Traceback" not in output and "Unhandled" not in output, output
    lines = [line for line in output.splitlines() if all(needle in line for needle in needles)]
    assert len(lines) == 1, f"{len(lines)} lines with {needles} in:\n{output}"
    return lines[0]


def relay_for(
    programs: Programs,
    folder: Path,
    *,
    source: Mapping[str, Any] | None = None,
    name: str = "relay",
    **keywords: Any,
) -> RelayProcess:
    """A relay from RELP to a file, not started yet."""
    process = RelayProcess(
        folder,
        sources={"feed": source or {"listen": f"relp://127.0.0.1:{free_port()}"}},
        destinations={"file": {"connect": f"file://{folder / 'received.log'}"}},
        name=name,
        **keywords,
    )
    programs.add(process)
    return process


def content_of(folder: Path) -> dict[str, str]:
    """A digest of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("scheme", ["tcp", "udp", "relp"])
def test_port_in_use(programs: Programs, tmp_path: Path, scheme: str) -> None:
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if scheme != "udp":
            taken.listen()
        port = taken.getsockname()[1]
        relay = relay_for(programs, tmp_path, source={"listen": f"{scheme}://127.0.0.1:{port}"})
        refusal(relay, f"{scheme}://127.0.0.1:{port}", "feed")


def test_unix_socket_in_use(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taken:
        taken.bind(str(path))
        relay = relay_for(programs, tmp_path, source={"listen": f"unixgram://{path}"})
        refusal(relay, str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"still there", str(path))
        assert taken.recv(100) == b"still there"


def test_a_file_in_the_place_of_a_unix_socket(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "log.sock"
    path.write_text("precious")
    refusal(relay_for(programs, tmp_path, source={"listen": f"unix://{path}"}), str(path))
    assert path.read_text() == "precious"


def test_a_queue_in_use_by_another_relay_is_refused_and_that_one_goes_on(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    listen = {"listen": f"relp://127.0.0.1:{port}"}
    first = relay_for(programs, tmp_path, source=listen, name="first")
    first.start()
    second = relay_for(programs, tmp_path, name="second")
    refusal(second, str(first.state_dir), str(first.pid))
    again = relay_for(programs, tmp_path, source=listen, name="again")
    refusal(again, "Address already in use", f"queue is in use by process {first.pid}; stop")
    with RelpSender(port) as sender:
        sender.send(numbered("app", 100))
        sender.close()
    assert wait_for_lines(tmp_path / "received.log", 100) == numbered("app", 100)
    assert (first.state_dir / "control.sock").exists()
    first.stop()


def test_no_such_configuration(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    command = [twistd(), "--nodaemon", "--pidfile=", "syslogrelay", "--config", str(path)]
    program = Program(command, folder=tmp_path, name="relay")
    programs.add(program)
    refusal(program, str(path))


def test_configuration_is_not_toml(programs: Programs, tmp_path: Path) -> None:
    relay = relay_for(programs, tmp_path)
    relay.config_path.write_text("[relay]\nname = web-1\n")
    refusal(relay, f"{relay.config_path}:2:")
    assert not relay.state_dir.exists()


def test_unknown_key(programs: Programs, tmp_path: Path) -> None:
    source = {"listen": f"relp://127.0.0.1:{free_port()}", "idle_secs_max": 5}
    relay = relay_for(programs, tmp_path, source=source)
    refusal(relay, "sources.feed.idle_secs_max", "idle_seconds_max")
    assert not relay.state_dir.exists()


def test_a_queue_that_cannot_be_opened_is_refused_and_left_as_it_is(
    programs: Programs, tmp_path: Path
) -> None:
    port, central = free_port(), free_port()
    relay = RelayProcess(
        tmp_path,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"central": {"connect": f"relp://127.0.0.1:{central}"}},
    )
    programs.add(relay)
    relay.start()
    with RelpSender(port) as sender:
        sender.send(numbered("app", 100))
        sender.close()
    relay.stop()
    queue = relay.state_dir / "queue"
    known = set_format(queue, b"4711")
    before = content_of(queue)
    refusal(relay, str(queue), "4711")
    after = content_of(queue)
    assert after.get("data.mdb") == before["data.mdb"]
    set_format(queue, known)
    arrived = tmp_path / "received.log"
    RelayProcess.started(
        programs,
        tmp_path / "central",
        sources={"relays": {"listen": f"relp://127.0.0.1:{central}"}},
        destinations={"file": {"connect": f"file://{arrived}"}},
    )
    relay.start()
    assert wait_for_lines(arrived, 100) == numbered("app", 100)


def set_format(queue: Path, value: bytes) -> bytes:
    """Change the format version of a queue; return what it was."""
    with lmdb.open(str(queue), max_dbs=16, map_size=2**33) as environment:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(write=True, db=meta) as transaction:
            before = transaction.get(b"format")
            transaction.put(b"format", value)
    return bytes(before)


def test_state_dir_below_a_file(programs: Programs, tmp_path: Path) -> None:
    obstacle = tmp_path / "obstacle"
    obstacle.write_text("precious")
    relay = relay_for(programs, tmp_path, relay={"state_dir": str(obstacle / "state")})
    refusal(relay, f"{obstacle} is a file, and has to be a directory")
    assert obstacle.read_text() == "precious"


def test_state_dir_not_writable(programs: Programs) -> None:
    python = python_for_user()
    with folder_of_user() as folder:
        closed = folder / "closed"
        closed.mkdir()
        closed.chmod(0o555)
        relay = relay_for(
            programs,
            folder,
            relay={"state_dir": str(closed / "state")},
            interpreter=python.path,
            environment=python.environment,
            user=USER,
        )
        refusal(relay, f"{closed} is owned by root")
        assert list(closed.iterdir()) == []


def test_starts_again_after_every_refusal(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    relay = relay_for(programs, tmp_path, source={"listen": f"relp://127.0.0.1:{port}"})
    with socket.create_server(("127.0.0.1", port)):
        refusal(relay, f"127.0.0.1:{port}")
    relay.start()
    with RelpSender(port) as sender:
        sender.send(numbered("app", 10))
        sender.close()
    wait_for_lines(tmp_path / "received.log", 10)
    relay.stop()
    assert received(tmp_path / "received.log") == numbered("app", 10)
