from __future__ import annotations

import os
import socket
from pathlib import Path

from relay.service.configuration.model import Url
from relay.service.destinations.local import ProgramConfiguration
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
