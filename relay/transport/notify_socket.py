"""Tell the service manager how we are (sd_notify(3)).

One datagram a report, of lines NAME=VALUE.  It never waits: a report that the
manager has no room for is lost, and the next one says the same or better.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from twisted.logger import Logger

_VALUE_CHARACTERS_MAX = 1000  # systemd takes datagrams of 4 KiB


def notify_address(path: str) -> str:
    """The address of the manager's socket, whose path may say with '@' that it is abstract."""
    return "\0" + path[1:] if path.startswith("@") else path


class NotifySocket:
    """The way to a service manager, or to nobody.

    Args:
        path: Of its socket: absolute, or '@' and an abstract name; empty = nobody
            wants to know.
    """

    _log = Logger(namespace="relay")

    def __init__(self, path: str) -> None:
        self._address = notify_address(path)
        self._path = path
        self._failed = False

    def send(self, report: Mapping[str, str]) -> None:
        """Send one report, such as ``{"READY": "1"}``."""
        if not self._address:
            return
        lines = [f"{name}={_on_one_line(value)}" for name, value in report.items()]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
            except BlockingIOError:
                pass  # it is busy
            except OSError as error:
                self._say(error)

    def _say(self, error: OSError) -> None:
        if not self._failed:  # once is enough: nothing will change
            self._failed = True
            reason = error.strerror or error
            self._log.warn(
                "cannot report to NOTIFY_SOCKET {path}: {reason}", path=self._path, reason=reason
            )


def _on_one_line(value: str) -> str:
    text = " ".join(value.split())
    return text if len(text) <= _VALUE_CHARACTERS_MAX else text[: _VALUE_CHARACTERS_MAX - 1] + "…"
