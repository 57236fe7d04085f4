"""Types of `stamps.pyx`."""

from collections.abc import Callable, Sequence
from datetime import tzinfo

class Stamps:
    def __init__(
        self, zone: tzinfo, references: Sequence[Callable[[bytes | None, float, tzinfo], bytes]]
    ) -> None: ...
    def convert(self, stamp: bytes | None, received_at: float, form: int) -> bytes: ...

def ends_of(line: bytes, at: int) -> tuple[int, int, int, int]: ...
