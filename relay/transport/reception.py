"""Where one source hands its messages, counts them and warns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relay.model.counters import SourceCounters
from relay.queue.admission.backpressure import SourceAdmission
from relay.transport.notices import Notices

__all__ = ["Reception"]


@dataclass(frozen=True, slots=True)
class Reception:
    """What every reader and listener of a source works with.

    Attributes:
        source: The source's id.
        intake: Stores messages; each kind of source states which of its methods it calls.
    """

    source: str
    intake: Any
    admission: SourceAdmission
    counters: SourceCounters
    notices: Notices

    def warn(self, kind: str, text: str, *, about: str = "") -> None:
        """Log a warning, rate-limited by `kind` and by the path or peer that it is about."""
        subject = f"source {self.source}"
        group = f"{subject}, {about}" if about else None
        self.notices.warn(subject, kind, text, group=group)
