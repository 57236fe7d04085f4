"""systemd's journal as a source that starts and stops with the relay."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from relay.flow.intake import Intake
from relay.model.counters import SourceCounters
from relay.queue.admission.backpressure import SourceAdmission
from relay.queue.ledger import Ledger
from relay.service.configuration.model import SourceConfiguration
from relay.service.sources.service import SourceService
from relay.transport.journal.journalctl import Selection, find_journalctl
from relay.transport.journal.messages import EntryMessages
from relay.transport.journal.reader import CURSOR, JournalReader
from relay.transport.notices import Notices
from relay.transport.reception import Reception
from relay.wire.journal_message import HEADER_FIELDS, new_journal_format

__all__ = ["JournalSource", "new_journal_source"]


class JournalSource(SourceService):
    """Reads the journal.  There is nothing to bind: journalctl runs as a child.

    Args:
        positions: How far a source has read, by name; the queue knows once it is open.
    """

    def __init__(
        self,
        *,
        reader: JournalReader,
        positions: Callable[[str], Mapping[str, bytes]],
        **kwargs: Any,
    ) -> None:
        super().__init__(bind=socket.socket, **kwargs)
        self._reader = reader
        self._positions = positions

    def privilegedStartService(self) -> None:
        pass

    def startService(self) -> None:
        Service.startService(self)
        cursor = self._positions(self.id).get(CURSOR)
        self._reader.start(cursor or b"", is_lost=cursor == b"")
        self._log.info("source {id}: reads {address}", id=self.id, address=self.address)

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


def new_journal_source(
    configuration: SourceConfiguration,
    *,
    intake: Intake,
    admission: SourceAdmission,
    counters: SourceCounters,
    positions: Callable[[str], Mapping[str, bytes]],
    notices: Notices,
    reactor: Any,
    quarantine: Callable[[], Ledger | None] = lambda: None,
) -> JournalSource:
    """Build the service of one source with the scheme journald."""
    reader = JournalReader(
        Reception(configuration.id, intake, admission, counters, notices),
        selection=Selection(
            directory=configuration.listen.path,
            matches=configuration.matches,
            fields=tuple(dict.fromkeys((*HEADER_FIELDS, *configuration.fields))),
        ),
        messages=EntryMessages(
            format=new_journal_format(configuration.fields),
            bytes_max=configuration.frame_bytes_max,
            drop_long=configuration.oversize == "drop",
        ),
        from_beginning=configuration.read_from == "beginning",
        retry_seconds=backoffPolicy(),
        find_program=find_journalctl,
        reactor=reactor,
    )
    return JournalSource(
        source=configuration.id,
        url=configuration.listen,
        counters=counters,
        reactor=reactor,
        quarantine=quarantine,
        reader=reader,
        positions=positions,
    )
