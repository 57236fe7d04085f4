"""Records what the relay counts for the charts of the last day."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.model.clock import Now
from relay.observe.web.history import COUNTS, SAMPLE_SECONDS, History, Sample
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

_SUBJECT = "web server"


@dataclass(eq=False, repr=False, kw_only=True)
class Recorder(PeriodicService):
    """Adds a sample every ten seconds.

    Attributes:
        path: Of the file, in the state directory.
        totals: The counters of now, by the names in `COUNTS`.
        queued: How many messages and bytes are queued.
    """

    name = "history"
    looks_at_once = False

    path: str
    totals: Callable[[], Mapping[str, int]]
    queued: Callable[[], tuple[int, int]]
    notices: Notices
    now: Now
    interval_seconds: float = float(SAMPLE_SECONDS)
    _history: History | None = field(default=None, init=False)

    def startService(self) -> None:
        self._open()
        self._note()
        super().startService()

    def stopService(self) -> None:
        if self.running and self._history is not None:
            self.look()
            self._history.close()
            self._history = None
        super().stopService()

    def look(self) -> None:
        before, looked_at = self._before, self._looked_at
        self._note()
        if self._history is None:
            self._open()
        if self._history is None or self._looked_at <= looked_at:
            return
        # Less than before: a source has left.
        counts = [max(0, self._before[name] - before[name]) for name in COUNTS]
        sample = Sample(self.now(), self._looked_at - looked_at, counts, *self.queued())
        try:
            if not os.path.lexists(self.path):
                self._history.move(self.path)
            self._history.add(sample)
        except OSError as error:
            self._warn(f"{self.path}: {error.strerror}; a restart will lose the charts")

    def samples(self, seconds: float) -> list[Sample]:
        """Those of the last `seconds`, oldest first."""
        return [] if self._history is None else self._history.samples(self.now(), seconds)

    def _note(self) -> None:
        self._before = {**dict.fromkeys(COUNTS, 0), **self.totals()}
        self._looked_at = self.clock.seconds()

    def _open(self) -> None:
        try:
            opened = History.open(self.path)
        except OSError as error:
            self._warn(f"cannot open {self.path}: {error.strerror}; charts begin with the page")
            return
        self._history = opened.history
        if opened.trouble:
            self._warn(f"{self.path}: {opened.trouble}; the charts of the last day begin anew")

    def _warn(self, text: str) -> None:
        self.notices.warn(_SUBJECT, "history", text)
