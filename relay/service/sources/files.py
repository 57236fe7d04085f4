"""A source that reads files; it binds nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service

from relay.flow.intake import Intake
from relay.model.clock import WallClock
from relay.model.counters import SourceCounters
from relay.model.expression import Expression
from relay.model.words import counted
from relay.queue.admission.backpressure import SourceAdmission
from relay.queue.ledger import Ledger
from relay.service.configuration.model import SourceConfiguration
from relay.service.sources.service import SourceService
from relay.transport.files.delivery import NewFrames
from relay.transport.files.followed import FileLimits
from relay.transport.files.reader import FileReader, LineHandling
from relay.transport.files.tailed_file import NewDecoder
from relay.transport.notices import Notices
from relay.transport.reception import Reception
from relay.wire.framing.charset import Charset
from relay.wire.framing.lines import LineDecoder
from relay.wire.line_message import LineFormat

__all__ = ["FileSource", "Positions", "new_file_source"]

Positions = Callable[[str], Mapping[str, bytes]]
"""How far a source has read, by name; may be asked when the queue is open."""


class FileSource(SourceService):
    """A source that reads files.

    Args:
        positions: Those of this source.
        new_reader: Makes the reader, given what is stored.
    """

    def __init__(
        self,
        *,
        positions: Callable[[], Mapping[str, bytes]],
        new_reader: Callable[..., FileReader],
        **kwargs: Any,
    ) -> None:
        super().__init__(bind=socket.socket, **kwargs)  # which is never called
        self._reader: FileReader | None = None
        self._positions = positions
        self._new_reader = new_reader

    def privilegedStartService(self) -> None:
        """Nothing: files are opened by the user that the relay runs as, then and later."""

    def startService(self) -> None:
        Service.startService(self)
        reader = self._reader = self._new_reader(stored=self._positions(), say=self._say)
        reader.start()
        self._say(f"reads {self.address}, {counted(reader.report()['files_open'], 'file')} now")

    def stopService(self) -> None:
        Service.stopService(self)
        if self._reader is not None:
            self._reader.stop()

    def report(self) -> dict[str, Any]:
        files = {} if self._reader is None else self._reader.report()
        return {**super().report(), **files}

    def _say(self, text: str) -> None:
        self._log.info("source {id}: {text}", id=self.id, text=text)


def new_file_source(
    configuration: SourceConfiguration,
    *,
    relay_name: str,
    positions: Positions,
    intake: Intake,
    admission: SourceAdmission,
    counters: SourceCounters,
    notices: Notices,
    wall: WallClock,
    reactor: Any,
    quarantine: Callable[[], Ledger | None] = lambda: None,
) -> FileSource:
    """Build the service of one source of files.

    Args:
        relay_name: HOSTNAME of the messages.
    """
    return FileSource(
        source=configuration.id,
        url=configuration.listen,
        counters=counters,
        reactor=reactor,
        quarantine=quarantine,
        positions=partial(positions, configuration.id),
        new_reader=partial(
            FileReader,
            Reception(configuration.id, intake, admission, counters, notices),
            path=configuration.listen.path,
            limits=FileLimits(
                from_end=configuration.read_from == "end",
                files_max=configuration.files_max,
                follow_symlinks=configuration.follow_symlinks,
                drop_long=configuration.oversize == "drop",
                silence_seconds_max=configuration.multi_line_seconds_max,
            ),
            lines=LineHandling(
                new_decoder=_decoding(configuration),
                new_frames=_framing(configuration, relay_name),
            ),
            wall=wall,
            clock=reactor,
        ),
    )


def _decoding(configuration: SourceConfiguration) -> NewDecoder:
    begins = None
    if configuration.multi_line:
        begins = Expression(configuration.multi_line).search
    encoding = configuration.parse.encoding
    common = partial(
        LineDecoder,
        frame_bytes_max=configuration.frame_bytes_max,
        begins=begins,
        charset=None if encoding is None else Charset(encoding),
    )
    return lambda start, head: common(start=start, head=head)


def _framing(configuration: SourceConfiguration, relay_name: str) -> NewFrames:
    if configuration.format == "syslog":
        return _as_they_are
    return LineFormat(
        pri=8 * configuration.facility + configuration.severity,
        hostname=relay_name.encode("ascii", "replace"),
        tag=configuration.tag.encode("ascii", "replace"),
    ).frames


def _as_they_are(lines: list[bytes], *, path: bytes, read_at: float) -> list[bytes]:
    return lines
