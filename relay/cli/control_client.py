"""Client of a running relay's control socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from relay.model.text import Document
from relay.queue.files.ownership import owner_of

ANSWER_SECONDS_MAX = 5.0
"""Timeout in seconds for answers from memory; only a relay that hangs takes longer."""

_STATES = {
    "T": "is stopped by a signal; continue it with kill -CONT",
    "t": "is stopped by a debugger",
    "D": "waits for a disk that does not answer",
    "Z": "has ended, and its parent has not noticed",
}


class AskFailed(Exception):
    """The relay did not answer.  The text is one line: the reason and the remedy."""


class NoRelay(AskFailed):
    """No relay listens at the control socket."""


class Cut(AskFailed):
    """The relay has closed the connection in the middle of a stream: it has stopped, or ended."""


def ask(
    state_dir: str,
    command: str,
    arguments: Mapping[str, object] | None = None,
    *,
    seconds_max: float = ANSWER_SECONDS_MAX,
) -> Any:
    """Send `command` to the relay with this state directory and return its answer.

    Raises:
        AskFailed: No relay runs there, it hangs, access is denied, or it refused.
    """
    path = os.path.join(state_dir, "control.sock")
    with _explained(state_dir, path, seconds_max):
        answer = _exchange(path, _request(command, arguments), seconds_max)
    return _result(path, answer)


def stream(
    state_dir: str,
    command: str,
    arguments: Mapping[str, object],
    *,
    opened: Callable[[], None] = lambda: None,
    wait: Callable[[socket.socket], None] = lambda connection: None,
) -> Iterator[Document]:
    """Send `command`, and yield the items of its answer as they come, until it ends.

    The connection is closed with the iterator.

    Args:
        opened: Called when the relay has said that it will send items.
        wait: Called before each wait for more, and may itself wait until the socket is readable.

    Raises:
        Cut: The relay went away.
        AskFailed: As `ask`, before the first item.
    """
    path = os.path.join(state_dir, "control.sock")
    with socket.socket(socket.AF_UNIX) as connection:
        with _explained(state_dir, path, ANSWER_SECONDS_MAX):
            connection.settimeout(ANSWER_SECONDS_MAX)
            connection.connect(path)
            connection.sendall(_request(command, arguments))
            lines = _lines(connection, wait)
            _result(path, next(lines, b""))
        opened()
        connection.settimeout(None)
        for line in lines:
            document = msgspec.json.decode(line, type=Document)
            if "end" in document:
                return
            yield document["item"]
    raise Cut(f"the relay with state directory {state_dir} has stopped")


def _lines(connection: socket.socket, wait: Callable[[socket.socket], None]) -> Iterator[bytes]:
    """Whole lines as they come."""
    rest = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionError:
            return
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        wait(connection)


def _request(command: str, arguments: Mapping[str, object] | None) -> bytes:
    question: Document = {"command": command}
    if arguments:
        question["arguments"] = arguments
    return msgspec.json.encode(question) + b"\n"


@contextmanager
def _explained(state_dir: str, path: str, seconds_max: float) -> Iterator[None]:
    """Turn errors of the connection into `AskFailed`."""
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoRelay(
            f"no relay is running with state directory {state_dir} (no answer at {path}); "
            "name another one with --state-dir or --config"
        ) from error
    except PermissionError as error:
        raise AskFailed(
            f"{path}: permission denied; ask as the relay's user, or as root"
        ) from error
    except (TimeoutError, BlockingIOError) as error:  # the latter: too many wait for it already
        raise AskFailed(f"{_silent(state_dir)} (no answer within {seconds_max:g} s)") from error
    except OSError as error:
        raise AskFailed(f"{path}: {error.strerror or error}") from error


def _result(path: str, answer: bytes) -> object:
    """Raises `AskFailed` if it is incomplete, or an error."""
    try:
        reply = msgspec.json.decode(answer, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AskFailed(f"{path}: the answer is incomplete: {error}") from error
    if "error" in reply:
        raise AskFailed(str(reply["error"]))
    return reply["result"]


def _exchange(path: str, request: bytes, seconds_max: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds_max)
        connection.connect(path)
        connection.sendall(request)
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
        return b"".join(chunks)


def _silent(state_dir: str) -> str:
    """Describe a relay that accepts a connection and does not answer."""
    pid = owner_of(os.path.join(state_dir, "queue"))
    if not pid:
        return "the relay does not answer; it may hang"
    state = _STATES.get(process_state(pid), "does not answer; it may hang")
    return f"the relay (process {pid}) {state}"


def process_state(pid: int) -> str:
    """The state letter of a process, as in proc(5); empty if it cannot be read."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read(4096).rpartition(b") ")[2][:1].decode("ascii", "replace")
    return ""
