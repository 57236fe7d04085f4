from __future__ import annotations

from relay.model.origin import Origin, Transport
from relay.rewrite.fields import getter
from relay.rewrite.steps.changes import COUNTER_NAME, SEQUENCE_NAME, number
from relay.wire.headers.structured_data import is_structured_data
from relay.wire.parse import parse_all

ORIGIN = Origin("in", Transport.TCP)
MESSAGES = parse_all(
    [b"<13>hello", b'<13>1 - h a - - [meta sequenceId="99"][x@1 y="z"] hi', b"<13>again"]
)


def test_messages_are_numbered_over_all_batches() -> None:
    change = number('re"lay/central')
    first = change(MESSAGES, ORIGIN)
    second = change(MESSAGES[:1], ORIGIN)
    numbers = []
    for message in (*first, *second):
        assert message is not None
        assert message.structured_data is not None
        assert is_structured_data(message.structured_data)
        assert getter(COUNTER_NAME)(message) == b're"lay/central'
        numbers.append(getter(SEQUENCE_NAME)(message))
    assert numbers == [b"1", b"2", b"3", b"4"]


def test_what_else_is_there_stays() -> None:
    message = number("relay/central")(MESSAGES[1:2], ORIGIN)[0]
    assert message is not None
    assert message.structured_data == (
        b'[meta sequenceId="1"][x@1 y="z"][syslogrelay@32473 from="relay/central"]'
    )
