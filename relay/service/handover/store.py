"""systemd's file descriptor store: it keeps descriptors for the next start of the service.

sd_pid_notify_with_fds(3): a datagram to NOTIFY_SOCKET with FDSTORE=1 and FDNAME=, and the
descriptors beside it.  Those with a name are given up with FDSTOREREMOVE=1.  FDPOLL=0: or systemd
would drop a connection as soon as its peer closes it, with all that was not read.

systemd says how many it keeps in FDSTORE, since version 254; before, the unit may say it there
(Environment=FDSTORE=1024, as its FileDescriptorStoreMax=).
"""

from __future__ import annotations

import os
import select
import socket
from collections import Counter
from collections.abc import Mapping, Sequence

from twisted.logger import Logger

from relay.transport.notify_socket import notify_address

_AT_ONCE_MAX = 250  # SCM_RIGHTS takes 253
_SEND_SECONDS_MAX = 1.0
_BARRIER_SECONDS_MAX = 1.0


class DescriptorStore:
    """The store of the service manager, if it has one.

    Args:
        path: Of NOTIFY_SOCKET.
        descriptors_max: How many it keeps; 0 = none.
    """

    _log = Logger(namespace="relay")

    def __init__(self, path: str = "", descriptors_max: int = 0) -> None:
        self._address = notify_address(path)
        self._max = descriptors_max if path else 0
        self._stored: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()  # of these, from before the start

    @property
    def exists(self) -> bool:
        return self._max > 0

    @property
    def room(self) -> int:
        """How many more descriptors it keeps."""
        return max(0, self._max - self._stored.total())

    def note(self, name: str) -> None:
        """One descriptor with this name was in it at the start."""
        self._stored[name] += 1
        self._noted[name] += 1

    def add(self, name: str, descriptors: Sequence[int]) -> bool:
        """Store descriptors under a name that others may have as well; whether that was said."""
        if not self.exists:
            return False
        if len(descriptors) - self._noted[name] > self.room:
            self._log.warn(
                "systemd keeps {most} descriptors for the next start, no room for {name}: "
                "raise FileDescriptorStoreMax= of the unit",
                most=self._max,
                name=name,
            )
            return False
        report = {"FDSTORE": "1", "FDNAME": name, "FDPOLL": "0"}
        for at in range(0, len(descriptors), _AT_ONCE_MAX):
            if not self._send(report, descriptors[at : at + _AT_ONCE_MAX]):
                return False
        # systemd sees that it has those of the last start already.
        known = min(len(descriptors), self._noted[name])
        self._noted[name] -= known
        self._stored[name] += len(descriptors) - known
        return True

    def remove(self, name: str) -> None:
        """Give up all descriptors with this name."""
        if self.exists and self._stored.pop(name, 0):
            self._send({"FDSTOREREMOVE": "1", "FDNAME": name}, [])

    def wait(self) -> None:
        """Wait until the manager has read everything (sd_notify_barrier(3)), a second at most."""
        if not self.exists:
            return
        ours, theirs = os.pipe()
        try:
            try:
                self._send({"BARRIER": "1"}, [theirs])
            finally:
                os.close(theirs)
            poll = select.poll()
            poll.register(ours, 0)  # for the other end's close
            poll.poll(_BARRIER_SECONDS_MAX * 1000)
        finally:
            os.close(ours)

    def _send(self, report: Mapping[str, str], descriptors: Sequence[int]) -> bool:
        text = "\n".join(f"{name}={value}" for name, value in report.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_SECONDS_MAX)
            try:
                sender.connect(self._address)
                socket.send_fds(sender, [text.encode()], list(descriptors))
            except OSError as error:
                reason = error.strerror or error
                self._log.warn("cannot leave descriptors with systemd: {why}", why=reason)
                self._max = 0
                return False
        return True
