"""A clean stop loses nothing that a local program could write: the kernel took it for us."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.processes import Programs, wait_until
from tests.relay_process import RelayProcess, received

RESTARTS = int(os.environ.get("RESTARTS", "4"))


class Sender(threading.Thread):
    """Writes numbered messages to a unix socket; one that cannot be written is tried again."""

    def __init__(self, path: Path, kind: socket.SocketKind) -> None:
        super().__init__(daemon=True)
        self.path, self.kind = path, kind
        self.ended = threading.Event()
        self.sent = 0

    def run(self) -> None:
        connection: socket.socket | None = None
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = socket.socket(socket.AF_UNIX, self.kind)
                    connection.settimeout(5)
                    connection.connect(str(self.path))
                connection.sendall(b"<13>app: %s %d\n" % (self.path.name.encode(), self.sent))
                self.sent += 1
            except OSError:
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.001)  # between two attempts to reach a relay that is away
        if connection is not None:
            connection.close()


class ShortLived(Sender):
    """Connects anew for each message, as `logger` does."""

    def run(self) -> None:
        while not self.ended.is_set():
            with socket.socket(socket.AF_UNIX, self.kind) as connection:
                try:
                    connection.settimeout(5)
                    connection.connect(str(self.path))
                    connection.sendall(b"<13>app: %s %d\n" % (self.path.name.encode(), self.sent))
                    self.sent += 1
                except OSError:
                    time.sleep(0.001)


@pytest.mark.parametrize("sender", [Sender, ShortLived], ids=["long-lived", "short-lived"])
def test_restarts_lose_nothing_that_was_written_to_unix_sockets(
    programs: Programs, tmp_path: Path, sender: type[Sender]
) -> None:
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "gram": {"listen": f"unixgram://{tmp_path / 'gram'}"},
            "stream": {"listen": f"unix://{tmp_path / 'stream'}"},
        },
        destinations={"out": {"connect": f"file://{tmp_path / 'out'}"}},
    )
    senders = [
        sender(tmp_path / "gram", socket.SOCK_DGRAM),
        sender(tmp_path / "stream", socket.SOCK_STREAM),
    ]
    for each in senders:
        each.start()
    for _ in range(RESTARTS):
        before = [each.sent for each in senders]
        wait_until(
            lambda before=before: all(  # type: ignore[misc]
                each.sent > count + 50 for each, count in zip(senders, before, strict=True)
            ),
            "messages from both senders",
        )
        relay.stop()
        relay.start()
    for each in senders:
        each.ended.set()
        each.join()
    relay.stop()
    relay.start()  # what was stored at the last moment is delivered now
    expected = Counter(
        b"%s %d" % (each.path.name.encode(), number)
        for each in senders
        for number in range(each.sent)
    )

    def arrived() -> Counter[bytes]:
        return Counter(line.partition(b"app: ")[2] for line in received(tmp_path / "out"))

    wait_until(lambda: arrived() >= expected, "every message", 20)
    relay.stop()
    assert arrived() == expected  # and none that was not sent, or twice
