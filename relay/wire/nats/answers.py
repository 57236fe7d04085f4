"""JetStream's answers: to a message or batch that was published, and to questions of its API.

Numbers of errors are those of nats-server's errors.json.
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum
from typing import NamedTuple, TypeVar

import msgspec

from relay.model.text import printable

S = TypeVar("S", bound=msgspec.Struct)


class Fate(Enum):
    """The fate of the messages that were published, by the error."""

    MISMATCH = "mismatch"
    """Nothing was stored: the last message of a subject is another one than was expected."""
    FULL = "full"
    """Nothing was stored: there is no room at present."""
    TOO_LARGE = "too large"
    """Nothing was stored: one of them is larger than the stream or the server takes."""
    UNKNOWN = "unknown"
    """It may have been stored, or will not be now: ask, and try again."""
    UNUSABLE = "unusable"
    """Nothing was stored, and a repetition does not help: somebody has to change something."""


_FATES = {
    Fate.MISMATCH: (10071, 10164),
    Fate.FULL: (10077, 10047, 10028, 10023, 10002),
    Fate.TOO_LARGE: (10054, 10097),
    Fate.UNUSABLE: (10059, 10039, 10076, 10109, 10174, 10177),
}
_FATE_OF = {code: fate for fate, codes in _FATES.items() for code in codes}
NOT_FOUND = (10037, 10014, 10059)
"""There is no such message, consumer or stream."""
NO_RESPONDERS = 503
"""Status of the answer to what nobody listens to."""


class StreamError(Exception):
    """JetStream has refused something.

    Attributes:
        code: The number of the error (`err_code`); 0 = it has none.
        fate: What it says of messages.
    """

    def __init__(self, code: int, text: str, fate: Fate | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.fate = _FATE_OF.get(code, Fate.UNKNOWN) if fate is None else fate


class Stored(NamedTuple):
    """The answer to messages that are stored."""

    seq: int
    """Number of the last one in the stream; those of a batch are consecutive."""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    error: _Error | None = None
    stream: str = ""
    seq: int = 0


class _StoredMessage(msgspec.Struct):
    seq: int
    hdrs: str = ""
    data: str = ""


class _MessageAnswer(msgspec.Struct):
    error: _Error | None = None
    message: _StoredMessage | None = None


class _ErrorOnly(msgspec.Struct):
    error: _Error | None = None


class LastMessage(NamedTuple):
    """The last message of a subject."""

    seq: int
    """Its number in the stream."""
    headers: bytes
    """As on the wire; empty = none."""


def read_stored(status: int, data: bytes) -> Stored:
    """The answer to what was published.

    Raises:
        StreamError: It is not stored, or nobody knows.
    """
    if status == NO_RESPONDERS:
        raise StreamError(0, "no stream answers for this subject at present")
    if status:
        raise StreamError(0, f"the server answers with status {status}")
    answer = _decoded(data, _PubAck)
    _raise(answer.error)
    if answer.seq < 1:
        raise StreamError(0, f"the answer has no number: {printable(data, length_max=80)}")
    return Stored(answer.seq)


def read_last_message(data: bytes) -> LastMessage | None:
    """The answer to the question for the last message of a subject; None = there is none.

    Raises:
        StreamError: There is no answer that says so.
    """
    answer = _decoded(data, _MessageAnswer)
    if answer.error is not None and answer.error.err_code == 10037:
        return None
    _raise(answer.error)
    if answer.message is None:
        raise StreamError(0, f"not an answer: {printable(data, length_max=80)}")
    try:
        headers = base64.b64decode(answer.message.hdrs)
    except (binascii.Error, ValueError):
        headers = b""
    return LastMessage(answer.message.seq, headers)


def check_answer(data: bytes) -> None:
    """Raise `StreamError` for an answer of the API that is one."""
    _raise(_decoded(data, _ErrorOnly).error)


def _decoded(data: bytes, type: type[S]) -> S:
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise StreamError(0, f"not an answer: {printable(data, length_max=80)}") from None


def _raise(error: _Error | None) -> None:
    if error is not None:
        text = printable(error.description) or f"error {error.code}"
        raise StreamError(error.err_code, text)
