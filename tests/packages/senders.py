"""Numbered messages over UDP, TCP and a unix socket, each over one socket that stays open.

Run inside of a host by its own python3: `python3 senders.py`, until standard input ends.  Then it
writes how many were sent of each kind, and the errors, as JSON.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading

PORT = 514
PATH = "/run/syslogrelay/log"
KINDS = ("udp", "tcp", "gram")
# A restart takes seconds, and datagrams have to fit into the socket's buffer meanwhile: with the
# kernel's usual 208 KiB these are 270.
_PAUSE_SECONDS = {"udp": 0.05, "tcp": 0.005, "gram": 0.01}


class Sender(threading.Thread):
    def __init__(self, kind: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.kind, self.sent, self.error = kind, 0, ""
        self._over = over
        family = socket.AF_UNIX if kind == "gram" else socket.AF_INET
        self._socket = socket.socket(
            family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        )
        self._socket.connect(PATH if kind == "gram" else ("127.0.0.1", PORT))

    def run(self) -> None:
        pause = _PAUSE_SECONDS[self.kind]
        try:
            for number in itertools.count():
                message = f"<13>app: {self.kind}-{number}".encode()
                if self.kind == "tcp":  # in two pieces, so that a restart comes between them
                    self._socket.sendall(message[: number % len(message)])
                    self._over.wait(pause / 2)
                    message = message[number % len(message) :] + b"\n"
                self._socket.sendall(message)
                self.sent += 1
                if self._over.wait(pause):
                    return
        except OSError as error:
            self.error = str(error)


def main() -> None:
    over = threading.Event()
    senders = [Sender(kind, over) for kind in KINDS]
    for sender in senders:
        sender.start()
    print("sending", flush=True)
    sys.stdin.read()
    over.set()
    for sender in senders:
        sender.join(20)
    sent = {each.kind: each.sent for each in senders}
    print(json.dumps({"sent": sent, "errors": [each.error for each in senders if each.error]}))


if __name__ == "__main__":
    main()
