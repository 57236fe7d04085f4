"""Numbers in messages, by which a receiver sees whether any are missing (RFC 5424 §7.3.1).

    [meta sequenceId="17"][syslogrelay@32473 from="web-1/central"]

The number begins with 1 at each start, as the RFC wants it, and after 2147483647.  It
says nothing without who counts, so an element of our own has the relay and the destination.
32473 is the enterprise number for documentation (RFC 5612).
"""

from __future__ import annotations

from itertools import chain, repeat

from relay.model.message import SyslogMessage
from relay.rewrite.fields import setter
from relay.rewrite.steps.pipeline import Change, per_message

__all__ = ["COUNTER_NAME", "SEQUENCE_MAX", "SEQUENCE_NAME", "number"]

SEQUENCE_NAME = ".SDATA.meta.sequenceId"
COUNTER_NAME = ".SDATA.syslogrelay@32473.from"
SEQUENCE_MAX = 2147483647

_put_number = setter(SEQUENCE_NAME)
_put_counter = setter(COUNTER_NAME)


def number(counter: str) -> Change:
    """Number all messages, in the place of whatever number they had.

    Args:
        counter: Who counts, as ``relay/destination``.
    """
    name = counter.encode()
    numbers = chain.from_iterable(repeat(range(1, SEQUENCE_MAX + 1)))

    def change(message: SyslogMessage) -> SyslogMessage:
        return _put_counter(_put_number(message, b"%d" % next(numbers)), name)

    return per_message(change)
