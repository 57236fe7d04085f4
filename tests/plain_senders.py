"""Send syslog frames over TCP or UDP with plain blocking sockets; nothing is answered."""

from __future__ import annotations

import socket
from collections.abc import Sequence

__all__ = ["feed_datagrams", "feed_lines", "feed_stream"]


def feed_stream(port: int, frames: Sequence[bytes]) -> None:
    """Send `frames` over one TCP connection, octet-counted."""
    _send_stream(port, b"".join(b"%d %s" % (len(frame), frame) for frame in frames))


def feed_lines(port: int, frames: Sequence[bytes]) -> None:
    """Send `frames` over one TCP connection, each with a newline at its end."""
    _send_stream(port, b"".join(frame + b"\n" for frame in frames))


def _send_stream(port: int, stream: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(stream)


def feed_datagrams(port: int, frames: Sequence[bytes]) -> None:
    """Send `frames` over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for frame in frames:
            sender.sendto(frame, ("127.0.0.1", port))
