"""systemd's journal as a source that starts and stops with the relay."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from relay.service.source import SourceService
from relay.transport.journal_in import CURSOR, JournalReader

__all__ = ["JournalSource"]


class JournalSource(SourceService):
    """Reads the journal.  There is nothing to bind: journalctl runs as a child.

    Args:
        positions: How far this source has read, by name.
    """

    def __init__(
        self,
        *,
        reader: JournalReader,
        positions: Callable[[], Mapping[str, bytes]],
        **kwargs: Any,
    ) -> None:
        super().__init__(bind=socket.socket, **kwargs)
        self._reader = reader
        self._positions = positions

    def privilegedStartService(self) -> None:
        pass

    def startService(self) -> None:
        Service.startService(self)
        self._reader.start(self._positions().get(CURSOR, b""))
        self._log.info("source {id} reads {address}", id=self.id, address=self.address)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._reader.stop()

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "state": self._reader.state,
            "ready": self._reader.is_reading,
            "journalctl_starts": self._reader.starts,
            "gaps": self._reader.gaps,
        }
