"""Plain syslog over streams: TCP, TLS (RFC 5425) and unix stream sockets."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.python.failure import Failure

from relay.transport.stream.connection import InboundProtocol
from relay.wire.framing.decoders import AutoDecoder

_SETTLE_SECONDS = 2.0
"""Longest wait for bytes that settle an undecided frame boundary, in seconds."""


class SyslogStreamProtocol(InboundProtocol):
    """Feeds a connection's bytes to a decoder, and its frames to the intake.

    Plain syslog has no acknowledgements: closing the connection is the only way to tell a
    sender that its messages were not stored.  A wrong octet count is no reason to close:
    the decoder finds the next frame.
    """

    _decoder: AutoDecoder  # exists from begin on
    _framing_errors = 0  # of the decoder, those that were counted

    def begin(self) -> None:
        self._decoder = AutoDecoder(
            frame_bytes_max=self.factory.limits.frame_bytes_max,
            split=self.factory.oversize.splits,
            keep_empty=self.factory.limits.keep_empty_lines,
        )

    @property
    def unfinished_bytes(self) -> int:
        return self._decoder.unfinished_bytes

    def take(self, chunk: bytes) -> None:
        self._accept(self._decoder.feed(chunk))
        self._note_errors()
        error = self._decoder.error
        if error is not None:
            self.factory.counters.connections_closed[f"{error.protocol}-protocol"] += 1
            self.violated(f"refused: {error}", error.protocol)
            self.close()
        elif self._decoder.undecided and "settle" not in self.timers:
            self._expect_more()

    def shut_down(self) -> None:
        """Read what the kernel has buffered, then close: no sender would repeat it."""
        self.read_rest()
        self.close()

    def end(self) -> None:
        self.take_rest()
        self._accept(self._decoder.finish())
        if not self.closing:  # or it is we who ended the stream within a frame
            self._note_errors()

    def _accept(self, frames: Sequence[bytes]) -> None:
        if frames:
            long = self._decoder.long
            self.store(frames, long.cut, long.pieces, failed=self._not_stored)

    def _note_errors(self) -> None:
        more = self._decoder.framing_errors - self._framing_errors
        if more:
            self._framing_errors += more
            self.factory.counters.framing_errors += more
            self.warn("framing", f"wrong framing, bytes kept as they are: {self._decoder.problem}")

    def _expect_more(self) -> None:
        boundary = self._decoder.undecided
        self.timers.set("settle", _SETTLE_SECONDS, self._settle, boundary)

    def _settle(self, boundary: int) -> None:
        if self._decoder.undecided == boundary and not self._pauses:
            self._accept(self._decoder.settle())
            self._note_errors()
        elif self._decoder.undecided:  # at another boundary, or it is we who do not listen
            self._expect_more()

    def _not_stored(self, failure: Failure) -> None:
        self.warn("not-stored", f"messages were lost: {failure.getErrorMessage()}")
        self.close()
