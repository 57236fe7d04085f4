"""Plain syslog over streams: TCP, TLS (RFC 5425) and unix stream sockets."""

from __future__ import annotations

from twisted.python.failure import Failure

from relay.transport.gathered_reads import GatheredProtocol
from relay.wire.framing import AutoDecoder, FrameDecoder

__all__ = ["SyslogStreamProtocol"]


class SyslogStreamProtocol(GatheredProtocol):
    """Feeds a connection's octets to a decoder, and its frames to the intake.

    Plain syslog cannot answer.  Hanging up is the only way to tell a sender that
    what it sent was not taken.
    """

    _decoder: FrameDecoder  # exists from begin on

    def begin(self) -> None:
        self._decoder = AutoDecoder(
            frame_bytes_max=self.factory.limits.frame_bytes_max,
            split=self.factory.oversize.splits,
            keep_empty=self.factory.limits.keep_empty_lines,
        )

    def take(self, chunk: bytes) -> None:
        self._accept(self._decoder.feed(chunk))
        if self._decoder.error is not None:
            self.violated(self._decoder.error)
            self.close()

    def shut_down(self) -> None:
        """Take what the kernel holds, and close: nobody would send it again."""
        self.read_rest()
        self.close()

    def end(self) -> None:
        failed_before = self._decoder.error is not None
        self._accept(self._decoder.finish())
        if self._decoder.error is not None and not failed_before and not self.closing:
            self.violated(self._decoder.error)

    def _accept(self, frames: list[bytes]) -> None:
        if frames:
            stored = self.store(frames, self._decoder.cut, self._decoder.pieces)
            stored.addErrback(self._not_stored)

    def _not_stored(self, failure: Failure) -> None:
        self.warn("not-stored", f"messages were lost: {failure.getErrorMessage()}")
        self.close()
