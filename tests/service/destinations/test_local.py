from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relay.service.configuration.model import Url
from relay.service.destinations.local import ProgramConfiguration
from relay.transport.local.terminals import Terminals
from tests.configurations import new_destination
from tests.destination_setup import Setup


def started(setup: Setup, scheme: str, path: Path | str) -> str:
    """The state of a destination after its first attempt."""
    service = setup.build(Url(scheme, path=str(path)))
    service.startService()
    for _ in range(3):
        setup.run()
    text: str = service.state_text
    service.stopService()
    setup.run()
    return text


def test_a_socket(setup: Setup, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    assert f"{path}: No such file or directory, next try in" in started(setup, "unix", path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        text = f"connected to {path}, delivered when its program has read it"
        assert started(setup, "unix", path) == text
        assert "next try in" in started(setup, "unixgram", path)


def test_datagrams(setup: Setup, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        text = f"sending to {path}, delivered when the kernel has queued it there"
        assert started(setup, "unixgram", path) == text
        assert [receiver.recv(10), receiver.recv(10)] == [b"one", b"two"]
        assert setup.queue.upto == 3


def test_a_pipe(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    path.write_bytes(b"")
    assert "it is no named pipe; make one with mkfifo" in started(setup, "pipe", path)
    path.unlink()
    os.mkfifo(path)
    assert "no program has it open for reading" in started(setup, "pipe", path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    text = f"writing to {path}, delivered when its reader has read it"
    assert started(setup, "pipe", path) == text
    assert os.read(reading, 100) == b"one\ntwo\n"
    os.close(reading)


def test_a_program_that_is_not_there(setup: Setup, tmp_path: Path) -> None:
    assert "No such file or directory" in started(setup, "program", tmp_path / "none")
    assert "is not a program that this user may run" in started(setup, "program", tmp_path)


def test_check_warns_of_what_is_no_program(tmp_path: Path) -> None:
    configuration = new_destination(
        "out", Url("program", path=str(tmp_path / "none")), ("in",), arguments=("-x",)
    )
    assert isinstance(configuration, ProgramConfiguration)
    assert configuration.arguments == ("-x",)
    (warning,) = configuration.warnings(lambda name: f"destinations.out.{name}")
    assert warning == f"destinations.out.connect: {tmp_path}/none is not a program that may be run"


def test_terminals(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(Terminals, "show", lambda self, records: shown.append(records))
    service = setup.build(Url("usertty", is_bare=True), users=("root", "0"))
    service.startService()
    for _ in range(4):
        setup.run()
    words = "writing to terminals of root, 0, delivered when written to once"
    assert service.state_text == words
    assert shown == [[b"one", b"two"]]
    assert setup.queue.upto == 3
    assert service.status.details()[0].startswith("0 written, 0 missed by terminals")
    service.stopService()
    setup.run()


def test_check_warns_of_terminals_that_would_get_everything_and_of_unknown_users() -> None:
    def warned(**keys: object) -> list[str]:
        configuration = new_destination("out", Url("usertty", is_bare=True), ("in",), **keys)
        return [*configuration.warnings(lambda name: f"destinations.out.{name}")]

    (everything,) = warned()
    assert everything.startswith("destinations.out.match: is missing, so users see every message")
    unknown, _ = sorted(warned(users=("root", "no-such-user", "4321")), reverse=True)
    assert unknown.startswith("destinations.out.users: there is no user 'no-such-user'")


def test_terminals_are_told_the_severity() -> None:
    configuration = new_destination("out", Url("usertty", is_bare=True), ("in",))
    assert configuration.record_key.text == "$SEVERITY_NUM"
    assert configuration.format.template.startswith("Message from $HOST")
