"""Client of a running relay's control socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from relay.model.text import Document

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
    question: Document = {"command": command}
    if arguments:
        question["arguments"] = arguments
    request = msgspec.json.encode(question) + b"\n"
    try:
        answer = _exchange(path, request, seconds_max)
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
    try:
        with open(os.path.join(state_dir, "queue", "owner.lock"), encoding="ascii") as file:
            pid = int(file.read(20))
    except (OSError, ValueError):
        return "the relay does not answer; it may hang"
    state = _STATES.get(_state_of(pid), "does not answer; it may hang")
    return f"the relay (process {pid}) {state}"


def _state_of(pid: int) -> str:
    """The state letter of a process, as in proc(5); empty if it cannot be read."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read(4096).rpartition(b") ")[2][:1].decode("ascii", "replace")
    return ""
