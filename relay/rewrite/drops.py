"""What a rewrite has dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from relay.model.counters.samples import SAMPLES_MAX, Samples
from relay.model.message import SyslogMessage


class Drops(Counter[str]):
    """Messages dropped since the count was last taken, by reason.

    Attributes:
        samples: Keeps the last ones of each reason; None = nothing does.
    """

    samples: Samples | None = None

    def drop(self, reason: str, messages: Sequence[SyslogMessage], peer: str = "") -> None:
        """Count messages that are given up."""
        if messages:
            self[reason] += len(messages)
            if self.samples is not None:
                last = [message.raw for message in messages[-SAMPLES_MAX:]]
                others = len(messages) - len(last)
                self.samples.note(reason, last, peer=peer, others=others)
