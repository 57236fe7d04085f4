from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.transport.message_channel import MessageChannel
from tests.connections import lose


class End:
    """One end, whose messages are numbers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.heard: list[Sequence[Any]] = []
        self.lost = 0
        self.channel = MessageChannel(
            encode=lambda messages: json.dumps(messages).encode(),
            decode=json.loads,
            clock=self.clock,
            on_messages=self.heard.append,
            on_lost=self._lose,
        )
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)  # type: ignore[arg-type]

    def _lose(self) -> None:
        self.lost += 1


def test_one_frame_a_turn() -> None:
    one, other = End(), End()
    one.channel.send(1)
    one.channel.send(2)
    assert one.transport.value() == b""
    one.clock.advance(0)
    one.channel.send(3)
    one.channel.flush()
    one.clock.advance(0)
    assert one.transport.value() == b"\0\0\0\x06[1, 2]\0\0\0\x03[3]"
    for octet in one.transport.value():
        other.channel.dataReceived(bytes([octet]))
    assert other.heard == [[1, 2], [3]]


def test_the_end() -> None:
    end = End()
    end.channel.send(1)
    lose(end.channel)
    end.channel.send(2)
    end.clock.advance(1)
    assert end.transport.value() == b""
    assert end.lost == 1
