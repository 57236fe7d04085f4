"""The last messages that could not be parsed or were dropped, to be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from relay.model.clock import Now

SAMPLES_MAX = 20
"""Samples of each reason that are kept."""
SAMPLE_BYTES_MAX = 512
"""What is kept of a sample."""
_REASONS_MAX = 32
_PEER_LENGTH_MAX = 256  # characters


class Sample(NamedTuple):
    """One message, as it came."""

    at: float
    """When it came, in seconds since 1970-01-01 UTC."""
    peer: str
    start: bytes
    """The first `SAMPLE_BYTES_MAX` bytes."""
    size: int
    """Bytes of the whole message."""


class Samples:
    """Keeps the last messages of each reason: at most 32 reasons, about 350 KiB in all.

    Args:
        now: The time of day.

    Attributes:
        on_note: Called with the arguments of `note`; None = nobody looks.
    """

    on_note: Callable[[str, Sequence[bytes], str, int], None] | None = None

    def __init__(self, now: Now = float) -> None:
        self._now = now
        self._by_reason: dict[str, deque[Sample]] = {}

    def __iter__(self) -> Iterator[tuple[str, Sequence[Sample]]]:
        return iter(self._by_reason.items())

    def note(
        self, reason: str, frames: Sequence[bytes], *, peer: str = "", others: int = 0
    ) -> None:
        """`frames` share the fate that `reason` names; of reasons above the limit none is kept.

        Args:
            others: How many more do, which came before them.
        """
        if self.on_note is not None:
            self.on_note(reason, frames, peer, others)
        kept = self._by_reason.get(reason)
        if kept is None:
            if len(self._by_reason) >= _REASONS_MAX:
                return
            kept = self._by_reason[reason] = deque(maxlen=SAMPLES_MAX)
        at = self._now()
        for frame in frames[-SAMPLES_MAX:]:
            start = bytes(frame[:SAMPLE_BYTES_MAX])
            kept.append(Sample(at, peer[:_PEER_LENGTH_MAX], start, len(frame)))
