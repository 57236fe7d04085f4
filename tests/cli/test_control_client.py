from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.cli.control_client import AskFailed, NoRelay, ask

_PR_SET_DUMPABLE = 4


@contextmanager
def relay_that_answers(state_dir: Path, answer: bytes) -> Iterator[list[bytes]]:
    """A control socket that gives one answer; yields what it was asked."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state_dir / "control.sock"))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(4096))
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        yield requests
        server.join()


@contextmanager
def without_root() -> Iterator[None]:
    """Root may connect to any socket: be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        # Linux hides the descriptors of a process that has changed its user from other tests.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)


def test_a_question_and_its_answer(tmp_path: Path) -> None:
    with relay_that_answers(tmp_path, b'{"result":{"name":"web-1"}}\n') as requests:
        assert ask(str(tmp_path), "status") == {"name": "web-1"}
    assert requests == [b'{"command":"status"}\n']


def test_a_question_with_arguments(tmp_path: Path) -> None:
    with relay_that_answers(tmp_path, b'{"result":null}\n') as requests:
        assert ask(str(tmp_path), "pause", {"destination": "a"}) is None
    assert requests == [b'{"command":"pause","arguments":{"destination":"a"}}\n']


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'{"error":"unknown command"}\n', "unknown command"),
        (b'{"resu', "the answer is incomplete"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes, text: str) -> None:
    with relay_that_answers(tmp_path, answer), pytest.raises(AskFailed, match=text):
        ask(str(tmp_path), "status")


def test_no_relay_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AskFailed, match=r"no relay is running with state directory .* --state-dir"):
        ask(str(tmp_path), "status")


def test_a_relay_that_was_killed_left_its_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control.sock"))
    with pytest.raises(NoRelay, match="no relay is running"):
        ask(str(tmp_path), "status")


def test_the_wrong_user_is_told_who_may_ask(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        os.chmod(tmp_path / "control.sock", 0)
        with without_root(), pytest.raises(AskFailed, match="permission denied"):
            ask(str(tmp_path), "status")
