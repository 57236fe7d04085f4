"""Plain syslog over streams: TCP, TLS (RFC 5425) and unix stream sockets."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from relay.transport.connections import end_writing
from relay.transport.held_sockets import LinesState, StreamState
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

    resumes = True
    _decoder: AutoDecoder  # exists from begin on
    _framing_errors = 0  # of the decoder, those that were counted

    def begin(self) -> None:
        self._decoder = AutoDecoder(
            frame_bytes_max=self.factory.limits.frame_bytes_max,
            split=self.factory.oversize.splits,
            keep_empty=self.factory.limits.keep_empty_lines,
        )
        if self.resumed is not None and self.resumed.decoder is not None:
            self._decoder.resume(self.resumed.decoder)

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

    def state(self) -> StreamState | None:
        if self._decoder.error is not None:
            return None
        host, port = self.origin.peer_host, self.origin.peer_port
        behind_proxy = isinstance(self.transport, ProtocolWrapper)
        peer = (host, port or 0) if behind_proxy and host else None
        return StreamState(self._decoder.state(), peer=peer)

    def go_on_from(self, state: StreamState) -> None:
        if state.lines is not None:
            self._go_on_with(state.lines)
        if self._decoder.undecided:
            self._expect_more()
        self.factory.unfinished.note(self, self._decoder.unfinished_bytes)

    def _go_on_with(self, lines: LinesState) -> None:
        joining = self.factory.reception.joining
        if joining is not None:
            joining.resume(self.origin, lines)
            return
        # Lines are no longer joined: what came as one message stays one.
        text = b"\n".join(lines.lines)
        cut = {0: lines.whole_bytes} if lines.whole_bytes > len(text) else {}
        self.store([text], cut, {}, failed=self._not_stored)

    def shut_down(self) -> None:
        """Read what the kernel has buffered, then close: no sender would repeat it."""
        self.read_rest()
        self.close()

    def close_old(self) -> None:
        """End our side, and take what comes until the peer closes its own.

        Plain syslog has no other way to ask for a new connection.  A peer that does not notice
        keeps this one, because what it sends while the relay closes would be lost.
        """
        if self.factory.secure:
            self.transport.unregisterProducer()  # or the connection would stay open
            self.transport.loseConnection()  # close_notify; the end comes with the peer's own
        else:
            end_writing(self.transport)

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
