"""Ask a running relay through its control socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["AskFailed", "NoRelay", "ask"]

_ANSWER_SECONDS_MAX = 10.0


class AskFailed(Exception):
    """There was no answer.  The text is one line that says why and what to do."""


class NoRelay(AskFailed):
    """Nobody listens there."""


def ask(
    state_dir: str,
    command: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    seconds_max: float = _ANSWER_SECONDS_MAX,
) -> Any:
    """What the relay with this state directory answers to `command`.

    Raises:
        AskFailed: No relay runs there, we may not ask it, or it refused.
    """
    path = os.path.join(state_dir, "control.sock")
    question: dict[str, Any] = {"command": command}
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
    except OSError as error:
        raise AskFailed(f"{path}: {error}") from error
    try:
        reply = msgspec.json.decode(answer, type=dict[str, Any])
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
