"""Messages between two processes of the relay, over a socket pair.

What is sent within one turn of the reactor travels as one frame: its length (four
octets, big endian) and a list.  So the cost is one of turns, not of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from relay.model.clock import Clock

__all__ = ["MessageChannel"]

_FRAME_BYTES_MAX = 2**28  # far above the certificates of all destinations together


class MessageChannel(Int32StringReceiver):
    """One end of the pair.

    Args:
        encode: Makes octets of messages.
        decode: The reverse; raises what it likes, which ends the connection.
        on_messages: Called with what has come, in its order.
        on_lost: Called once, when nothing will come any more.
    """

    MAX_LENGTH = _FRAME_BYTES_MAX
    transport: Any  # exists from connectionMade on

    def __init__(
        self,
        *,
        encode: Callable[[Sequence[Any]], bytes],
        decode: Callable[[bytes], Sequence[Any]],
        clock: Clock,
        on_messages: Callable[[Sequence[Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._encode = encode
        self._decode = decode
        self._clock = clock
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._waiting: list[Any] = []  # it goes at the end of this turn
        self._lost = False

    def send(self, message: Any) -> None:
        """Send `message` after all that was sent before; nothing is sent when it is lost."""
        if self._lost:
            return
        if not self._waiting:
            self._clock.callLater(0, self.flush)
        self._waiting.append(message)

    def flush(self) -> None:
        """Send now what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting and not self._lost:
            self.sendString(self._encode(waiting))  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        self._on_messages(self._decode(string))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._waiting = []
        self._on_lost()
