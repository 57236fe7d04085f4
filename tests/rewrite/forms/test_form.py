"""That programs write what their writers do is tried in `tests/codec/test_forms.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.form import Form, form_of, format_program, messages_of_each
from relay.wire.parse import parse_all, read_lines

FRAMES = [b"<34>Oct 11 22:14:15 h su: %d" % number for number in range(6)]
FIRST, SECOND, THIRD = (Origin("in", Transport.UDP, f"192.0.2.{number}") for number in range(3))
ARRIVAL = Arrival(((2, FIRST), (2, SECOND), (6, THIRD)), 5.0, 7.0)


def hosts_and_texts(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    assert (origin.received_at, origin.monotonic_at) == (5.0, 7.0)
    return [b"%b %b" % (origin.peer_host.encode(), message.msg) for message in messages]


def test_messages_come_by_origin() -> None:
    lines = read_lines(FRAMES)
    found = messages_of_each(lines, None, ARRIVAL)
    assert [(len(messages), origin.peer_host) for messages, origin in found] == [
        *((2, "192.0.2.0"), (4, "192.0.2.2"))
    ]
    found = messages_of_each(lines, [1, 2, 5], ARRIVAL)
    assert [[message.msg for message in messages] for messages, _ in found] == [
        [b"1"],
        [b"2", b"5"],
    ]
    assert messages_of_each(lines, [], ARRIVAL) == []


def test_a_writer_writes_lines_and_messages() -> None:
    form: Form = form_of(hosts_and_texts)
    wanted = [b"192.0.2.0 1", b"192.0.2.2 4"]
    assert form.write(read_lines(FRAMES), [1, 4], ARRIVAL) == wanted
    assert form.write(Messages(parse_all(FRAMES)), [1, 4], ARRIVAL) == wanted
    assert form.write_messages(parse_all(FRAMES[:1]), THIRD.received(5.0, 7.0)) == [b"192.0.2.2 0"]


def test_messages_that_are_no_lines_are_written_by_the_writer() -> None:
    form = form_of(hosts_and_texts, format_program("rfc5424", MacroContext(b"relay", float, UTC)))
    assert form.write(Messages(parse_all(FRAMES)), [0], ARRIVAL) == [b"192.0.2.0 0"]
    assert form.write_messages(parse_all(FRAMES[:1]), THIRD.received(5.0, 7.0)) == [b"192.0.2.2 0"]
