"""Gap detection in numbered messages (RFC 5424 §7.3.1, `relay/rewrite/steps/changes.py`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from relay.model.counters.source import BELIEVED_RECORDS_MAX
from relay.model.message import SyslogMessage
from relay.model.text import printable
from relay.rewrite.fields import getter
from relay.rewrite.steps.changes import (
    COUNTER_NAME,
    SEQUENCE_MAX,
    SEQUENCE_NAME,
)

_COUNTERS_MAX = 10_000
_COUNTER_BYTES_MAX = 255

_number_of = getter(SEQUENCE_NAME)
_counter_of = getter(COUNTER_NAME)


class SequenceCheck:
    """Follows the numbers of each counter, in memory only.

    A number lower than the last one, other than 1, belongs to a repeated or late message and
    is ignored.  Number 1 is a restart of the sender: a gap before it cannot be detected.  The
    10,000 most recently used counters are followed.

    Args:
        on_gap: Called with the printable name of a counter and the number of missing messages;
            None = an implausibly large gap.
    """

    def __init__(self, on_gap: Callable[[str, int | None], None]) -> None:
        self._on_gap = on_gap
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def look(self, messages: Sequence[SyslogMessage]) -> int:
        """Check a batch.  Returns: the number of messages missing before or in it."""
        missing = 0
        for message in messages:
            if message.structured_data is None or b"sequenceId" not in message.structured_data:
                continue
            counter, number = _counter_of(message), _number(_number_of(message))
            if counter is not None and number is not None and len(counter) <= _COUNTER_BYTES_MAX:
                missing += self._follow(counter, number)
        return missing

    def _follow(self, counter: bytes, number: int) -> int:
        last = self._last.pop(counter, None)
        newest = number if last is None or number == 1 else max(last, number)
        if last == SEQUENCE_MAX:
            newest = number
        self._last[counter] = newest
        if len(self._last) > _COUNTERS_MAX:
            self._last.popitem(last=False)
        gap = 0 if last is None or last == SEQUENCE_MAX else max(0, number - last - 1)
        if gap > BELIEVED_RECORDS_MAX:
            self._on_gap(printable(counter), None)
            return 0
        if gap:
            self._on_gap(printable(counter), gap)
        return gap


def _number(text: bytes | None) -> int | None:
    if text is None or len(text) > 10 or not text.isdigit():
        return None
    number = int(text)
    return number if 1 <= number <= SEQUENCE_MAX else None
