"""Lines read and payloads written, for tests whose messages are all of one origin."""

from __future__ import annotations

from collections.abc import Sequence

from relay.codec.messages import Messages
from relay.flow.routing import Rewrite
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.wire.parse import read_lines
from relay.wire.parse_options import Parser

__all__ = ["read_by", "write", "write_frames"]


def read_by(parser: Parser, frames: Sequence[bytes], origin: Origin) -> list[SyslogMessage]:
    """The messages that `parser` makes of frames."""
    return parser(frames, Arrival.of_one(len(frames), origin)).messages()


def write(rewrite: Rewrite, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    """The payloads of messages as lines of one batch."""
    lines = Messages(list(messages))
    return rewrite.write(lines, None, Arrival.of_one(len(lines), origin))


def write_frames(rewrite: Rewrite, frames: Sequence[bytes], origin: Origin) -> list[bytes]:
    """The payloads of frames that are read as one batch, by compiled code where it is there."""
    return rewrite.write(read_lines(frames), None, Arrival.of_one(len(frames), origin))
