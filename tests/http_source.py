"""An HTTP source under test without a network, and requests to it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.model.origin import Transport
from relay.transport.http.inbound import AppOf, HttpLimits, HttpServerProtocol
from relay.transport.stream.connection import InboundFactory, InboundLimits
from tests.connections import (
    EachChunkATurn,
    RecordingIntake,
    RecordingNotices,
    Wire,
    open_reception,
)

__all__ = ["BODY_BYTES_MAX", "Connection", "request"]

BODY_BYTES_MAX = 1000


def request(
    body: bytes = b"", target: str = "/ingest", method: str = "POST", **headers: str
) -> bytes:
    """A request with `headers`, in whose names an underscore is a hyphen."""
    lines = [f"{method} {target} HTTP/1.1", "Host: relay", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """A protocol under test with everything it talks to."""

    def __init__(
        self,
        *,
        app_of: AppOf | None = None,
        rate_per_peer_max: int = 0,
        oversize: str = "truncate",
        unfinished_bytes_max: int = 0,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self.clock = Clock()
        self.intake: Any = RecordingIntake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.wire = Wire()
        self.reception = open_reception(self.intake, self.counters, self.notices)
        self.factory = InboundFactory(
            self.reception,
            transport=Transport.TCP,
            new_protocol=lambda: HttpServerProtocol(
                HttpLimits(body_bytes_max, 60.0), app_of=app_of, wants_token=True
            ),
            limits=InboundLimits(
                frame_bytes_max=200,
                connections_max=1,
                idle_seconds_max=300,
                handshake_seconds_max=5,
                rate_per_peer_max=rate_per_peer_max,
                oversize=oversize,
                unfinished_bytes_max=unfinished_bytes_max,
            ),
            clock=self.clock,
            secure=False,
        )
        self.factory.turn_batch = EachChunkATurn(self.intake, clock=self.clock)
        self.protocol: Any = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def stored(self, batch: int = 0) -> None:
        self.intake.stored[batch].callback(None)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The one answer that was written, and forget it."""
        head, _, body = self.wire.value().partition(b"\r\n\r\n")
        self.wire.clear()
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, body

    def refused(self) -> dict[str, int]:
        return dict(self.counters.requests_refused)
