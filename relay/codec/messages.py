"""Lines whose messages exist already: read by Python, or changed by options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from relay.model.message import SyslogMessage


class Messages:
    """The lines of one batch, as messages; the same as `relay.codec.lines.Lines` otherwise.

    Args:
        messages: One of each line; `raw` is its frame.
    """

    def __init__(self, messages: Sequence[SyslogMessage]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def frames(self) -> Sequence[bytes]:
        """The frames, as they were received."""
        return [message.raw for message in self._messages]

    def message(self, index: int) -> SyslogMessage:
        """The message of one line."""
        return self._messages[index]

    def messages(self, indexes: Sequence[int] | None = None) -> list[SyslogMessage]:
        """The messages of all lines, or of those at `indexes`."""
        if indexes is None:
            return [*self._messages]
        return [self._messages[index] for index in indexes]

    def column(self, name: str, indexes: Sequence[int] | None = None) -> list[Any]:
        """The field `name` of all lines, or of those at `indexes`: any field of `SyslogMessage` but
        timestamp, raw, pairs and is_utf8."""
        return list(map(attrgetter(name), self.messages(indexes)))

    def where(
        self, name: str, values: frozenset[object], indexes: Sequence[int] | None = None
    ) -> list[int]:
        """The indexes of all lines, or those of `indexes`, whose field `name` has one of
        `values`."""
        column = self.column(name, indexes)
        every = range(len(column)) if indexes is None else indexes
        return [index for index, value in zip(every, column, strict=True) if value in values]

    def edited(
        self,
        indexes: Sequence[int] | None,
        values: dict[str, bytes | None],
        tags: tuple[bytes, ...],
        change: Callable[[SyslogMessage], SyslogMessage],
    ) -> Messages:
        """Lines like these, of which those at `indexes` (None = all) have other values and tags.

        Args:
            values: By field, None for no value; of hostname, app_name, procid, msgid and msg.
            tags: To be added, but for those that are there.
            change: Does the same to a message; here nothing else is needed.
        """
        edited = [*self._messages]
        for index in range(len(edited)) if indexes is None else indexes:
            edited[index] = change(edited[index])
        return Messages(edited)

    def odd(self) -> list[int]:
        """The indexes of lines that have tags; of compiled ones also those that may have some."""
        return [index for index, message in enumerate(self._messages) if message.tags]
