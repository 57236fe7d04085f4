"""Messages as NATS clients publish them, and JetStream's atomic batches of them.

    HPUB <subject> [<inbox>] <octets of headers> <octets in all>
    NATS/1.0
    Name: value

    data

An atomic batch (ADR-50, nats-server 2.12) is stored as a whole or not at all.  All its messages
carry its id and their number in it, the last one the wish to commit; the answer to that one is the
answer to the batch.  The messages may go to several subjects of one stream, and the first message
of each may say which message it expects as the last one there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BATCH_MESSAGES_MAX = 1000
"""Of one atomic batch; the limit of nats-server."""
COMMAND_OCTETS_MAX = 400
"""Octets of a message beside its subject, its own headers and its data."""

_VERSION = b"NATS/1.0\r\n"
_STATUS_OCTETS = 3


class Message(NamedTuple):
    """One message to publish."""

    subject: bytes
    headers: bytes
    """Lines that end with CR LF, as `header_line` makes them."""
    data: bytes
    expected: int | None = None
    """The number in the stream of the last message with this subject; 0 = there is none, None = it
    does not matter."""

    @property
    def size(self) -> int:
        """Octets of headers and data, as `max_payload` counts them, at most."""
        return len(self.headers) + len(self.data) + COMMAND_OCTETS_MAX


def header_line(name: str, value: bytes) -> bytes:
    """One header; `value` has neither CR nor LF."""
    return b"%s: %s\r\n" % (name.encode("ascii"), value)


def encode_batch(messages: Sequence[Message], *, batch_id: str, inbox: str) -> bytes:
    """Commands that store `messages` together; a single one is no batch.

    Args:
        batch_id: At most 64 characters, of no other batch.
        inbox: Where the answer goes.  Before that of the last message, the server answers the
            first one of a batch: with nothing, or with an error.
    """
    reply, last = inbox.encode("ascii"), len(messages)
    if last == 1:
        return _encode(messages[0], b"", reply)
    written = [
        _encode(
            message,
            b"Nats-Batch-Id: %s\r\nNats-Batch-Sequence: %d\r\n" % (batch_id.encode("ascii"), number)
            + (b"Nats-Batch-Commit: 1\r\n" if number == last else b""),
            reply if number in (1, last) else b"",
        )
        for number, message in enumerate(messages, 1)
    ]
    return b"".join(written)


def _encode(message: Message, more: bytes, reply: bytes) -> bytes:
    subject, headers, data, expected = message
    if expected is not None:
        more += b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expected
    size = len(_VERSION) + len(headers) + len(more) + 2
    inbox = reply + b" " if reply else b""
    command = b"HPUB %s %s%d %d\r\n" % (subject, inbox, size, size + len(data))
    return b"".join((command, _VERSION, headers, more, b"\r\n", data, b"\r\n"))


def split_headers(block: bytes) -> tuple[int, dict[bytes, bytes]]:
    """The status of a message and its headers; of several with one name, the last.

    Args:
        block: From ``NATS/1.0`` to the empty line; anything else has no headers.

    Returns:
        The status is 0 for messages that somebody has published.  Names are in lower case.
    """
    first, *lines = block.split(b"\r\n")
    if not first.startswith(_VERSION.rstrip()):
        return 0, {}
    text = first[len(_VERSION) - 2 :].strip()
    digits = text[:_STATUS_OCTETS]
    status = int(digits) if len(digits) == _STATUS_OCTETS and digits.isdigit() else 0
    headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.lower()] = value.strip(b" \t")
    if status:
        headers[b"description"] = text[_STATUS_OCTETS:].strip()
    return status, headers


def header_value(block: bytes, name: bytes) -> bytes | None:
    """The value of one header, found without taking the others apart; None = there is none.

    Args:
        name: As it is written: CR LF, the name, a colon and a space.
    """
    start = block.find(name)
    if start < 0:
        return None
    start += len(name)
    end = block.find(b"\r\n", start)
    return block[start:end] if end >= 0 else None
