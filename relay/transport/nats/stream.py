"""The promises of a stream, and whether they are enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from relay.model.text import counted, size
from relay.wire.nats.answers import StreamError, check_answer
from relay.wire.nats.subjects import is_covered


class _Config(msgspec.Struct):
    subjects: list[str] = []
    retention: str = "limits"
    discard: str = "old"
    storage: str = "file"
    num_replicas: int = 1
    max_msg_size: int = -1
    max_bytes: int = -1
    max_msgs: int = -1
    max_age: int = 0
    allow_atomic: bool = False


class _State(msgspec.Struct):
    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0


class _StreamAnswer(msgspec.Struct):
    config: _Config
    state: _State = msgspec.field(default_factory=_State)
    created: str = ""


class StreamInfo(NamedTuple):
    """One stream, as its leader describes it."""

    name: str
    subjects: Sequence[str]
    retention: str
    """limits, interest or workqueue."""
    discard: str
    """old or new."""
    storage: str
    """file or memory."""
    replicas: int
    message_octets_max: int
    """-1 = as much as the server takes."""
    is_bounded: bool
    """It has a limit of octets or messages."""
    takes_batches: bool
    first_seq: int
    last_seq: int
    created: str
    """When it was made, as the server says it: another one of its name begins with 1 again."""

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"stream {self.name}: {counted(self.replicas, 'replica')}, {self.storage}, "
            f"{'atomic batches' if self.takes_batches else 'no atomic batches'}, "
            f"discards {self.discard}"
        )


def read_stream(name: str, answer: bytes) -> StreamInfo:
    """The answer of the API to STREAM.INFO.  Raises StreamError."""
    check_answer(answer)
    try:
        found = msgspec.json.decode(answer, type=_StreamAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise StreamError(0, f"the server does not describe stream {name}") from None
    config = found.config
    return StreamInfo(
        name,
        config.subjects,
        config.retention,
        config.discard,
        config.storage,
        config.num_replicas,
        config.max_msg_size,
        config.max_bytes > 0 or config.max_msgs > 0,
        config.allow_atomic,
        found.state.first_seq,
        found.state.last_seq,
        found.created[:64],
    )


@dataclass(frozen=True, slots=True)
class Demands:
    """Properties that a destination demands of its stream."""

    subjects: Sequence[str]
    """Filters of what it publishes."""
    replicas_min: int
    is_atomic: bool
    is_exactly_once: bool

    def problem(self, stream: StreamInfo, server_version: str = "") -> str:
        """Why it cannot be used; empty = it can."""
        if stream.replicas < self.replicas_min:
            return (
                f"stream {stream.name} has {counted(stream.replicas, 'replica')} and replicas_min "
                f"is {self.replicas_min}; give it more, or lower replicas_min"
            )
        for subject in self.subjects:
            if not is_covered(subject, [*stream.subjects]):
                found = ", ".join(stream.subjects) or "none"
                return (
                    f"stream {stream.name} does not take the subject {subject}, its subjects are "
                    f"{found}; change subject, or add it to the stream"
                )
        if self.is_atomic and not stream.takes_batches:
            version = f" (the server is {server_version})" if server_version else ""
            return (
                f"stream {stream.name} takes no atomic batches{version}; set allow_atomic in the "
                "stream (nats-server 2.12 or later), or write pack = true for other relays, or "
                "atomic = false for one message at a time, which is slow"
            )
        return ""

    def warnings(self, stream: StreamInfo) -> list[str]:
        """Properties that work, but hardly as meant."""
        found = []
        if stream.storage != "file":
            found.append(
                f"stream {stream.name} is kept in memory: what it has acknowledged is lost when "
                "its servers stop"
            )
        if stream.is_bounded and stream.discard == "old":
            found.append(
                f"stream {stream.name} discards its oldest messages when it is full, read or not; "
                "with discard new it would hold this relay back instead"
            )
        if stream.message_octets_max > 0:
            found.append(
                f"stream {stream.name} takes messages of {size(stream.message_octets_max)} at "
                "most; longer ones are set aside in the quarantine"
            )
        return found


SYNC_REMARK = (
    "whether its servers sync to disk before they acknowledge cannot be asked: set sync_interval: "
    "always in their configuration, the default is every two minutes"
)
