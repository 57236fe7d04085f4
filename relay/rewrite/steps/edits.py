"""Changes of header fields, MSG and tags that are the same for all messages.

Lines take them without being made messages: compiled code writes the new values behind the bytes
of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.codec import Lines
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.rewrite.filters.conditions import Condition, chosen
from relay.wire.ewmm import APP_NAME as EWMM_APP_NAME
from relay.wire.headers.hostname import HOSTNAME_BYTES_MAX

_DELIMITERS = (b"\n", b"\r", b"\0")  # no line ends with one

__all__ = ["Constant", "Edit", "EditStage", "is_usual"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A template without macros."""

    text: bytes

    def __call__(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [self.text] * len(messages)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change (`relay/rewrite/steps/pipeline.py`) that lines can take.

    Attributes:
        change: What it does to one message.
        values: By field of `SyslogMessage`: hostname, app_name, procid, msgid, msg; None =
            the value goes.
        tags: To be added where they are not there.
    """

    change: Callable[[SyslogMessage], SyslogMessage]
    values: Mapping[str, bytes | None] = field(default_factory=dict)
    tags: Sequence[bytes] = ()

    def __call__(
        self, messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage]:
        return list(map(self.change, messages))


def is_usual(field: str, value: bytes) -> bool:
    """Whether compiled code writes lines with this value of a field as Python writes messages."""
    if field == "hostname":
        return len(value) <= HOSTNAME_BYTES_MAX
    if field == "app_name":
        return value != EWMM_APP_NAME
    return field != "msg" or not value.endswith(_DELIMITERS)


class EditStage:
    """A stage (`relay/rewrite/steps/pipeline.py`) that makes an edit where `condition` fits."""

    def __init__(self, condition: Condition, edit: Edit) -> None:
        self._condition = condition
        self._edit = edit

    def __call__(
        self, messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage]:
        fits = self._condition(origin)
        if isinstance(fits, bool):
            return self._edit(messages, origin) if fits else messages
        change = self._edit.change
        return [change(message) if fits(message) else message for message in messages]

    def edited(self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival) -> Lines:
        """The same lines; those of them, or of those at `indexes`, that fit are changed."""
        edit = self._edit
        fitting = chosen(self._condition, lines, indexes, arrival)
        if not fitting:
            return lines
        return lines.edited(fitting, dict(edit.values), tuple(edit.tags), edit.change)
