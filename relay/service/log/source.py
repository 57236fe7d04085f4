"""A source that reads a distributed log, and starts and stops with the relay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.origin import Origin
from relay.model.text import Document
from relay.service.configuration.model import Retry, SourceConfiguration
from relay.service.prerequisite import Prerequisite
from relay.service.sources.kind import Positions, SourceParts
from relay.service.sources.listening import in_utf8
from relay.service.sources.service import Receiving, SourceService
from relay.transport.log.sieve import Sieve
from relay.transport.reception import OversizePolicy, Reception


class LogReader(Protocol):
    """Reads one log, and connects to it again by itself."""

    @property
    def is_reading(self) -> bool: ...

    @property
    def state(self) -> str:
        """One line for people."""

    def report(self) -> Document:
        """Its part of status."""

    def start(self, load: Callable[[], Mapping[str, bytes]], /) -> None:
        """Begin where the positions of the source say, as `load` finds them on disk."""

    def stop(self) -> Deferred[None]:
        """Fires when nothing of it runs any more."""


class LogSource(SourceService):
    """Reads a log.  There is nothing to bind: it connects to brokers or servers.

    Args:
        positions: How far a source has read, by name; the queue knows once it is open.
        files: The files of TLS, which it waits for.
    """

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        reader: LogReader,
        positions: Positions,
        files: Prerequisite,
    ) -> None:
        super().__init__(configuration, receiving)
        self._reader = reader
        self._positions = positions
        self._files = files
        self._is_begun = False
        files.when_fulfilled(self._begin)

    def startService(self) -> None:
        Service.startService(self)
        self._begin()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._reader.stop() if self._is_begun else succeed(None)

    def report(self) -> Document:
        return {
            **super().report(),
            "state": self._files.state or self._reader.state,
            "ready": self._reader.is_reading,
            **self._reader.report(),
        }

    def _begin(self) -> None:
        # New files are for the next connection; a reader goes on.
        if self.running and not self._files.trouble and not self._is_begun:
            self._is_begun = True
            self._reader.start(partial(self._positions, self.id))
            self._log.info("source {id}: reads {address}", id=self.id, address=self.address)


def retry_policy(retry: Retry) -> Callable[[int], float]:
    """Gives the pause after the n-th failure in a row, n from 0 on, in seconds."""
    return backoffPolicy(
        initialDelay=retry.retry_seconds_min, maxDelay=retry.retry_seconds_max, factor=2.0
    )


def new_sieve(
    configuration: SourceConfiguration, receiving: Receiving, parts: SourceParts, origin: Origin
) -> tuple[Reception, Sieve]:
    """Where the records of a source go, and which of them are taken.

    Args:
        origin: Of all records.
    """
    reception, frame_bytes_max = in_utf8(configuration, receiving.reception)
    lineages = ReadLineages(
        configuration.id,
        load=partial(parts.positions, configuration.id),
        now=parts.wall.now,
        lineages_max=parts.lineages_max,
    )
    oversize = OversizePolicy(
        configuration.oversize, frame_bytes_max=frame_bytes_max, counters=reception.counters
    )
    return reception, Sieve(reception, origin=origin, lineages=lineages, oversize=oversize)
