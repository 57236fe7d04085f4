"""Steps of a rewrite, in order: messages in, messages out, some of them dropped.

A `Change` makes of each message of a batch a new one, or None to drop it.  A `Stage`
returns only what is left, which may be more than came; most stages are made of a
change and a condition.

Whatever drops a message counts it in the pipeline's `Drops`, so that the queue
can keep the account in the transaction that stores the rest of the batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.filters import Condition

__all__ = [
    "Change",
    "Drops",
    "Pipeline",
    "Stage",
    "Writer",
    "each",
    "first_fitting",
    "only",
    "per_message",
]

Drops = Counter[str]
"""Messages dropped since the count was last taken, by reason."""
Change = Callable[[Sequence[SyslogMessage], Origin], Sequence[SyslogMessage | None]]
Stage = Callable[[Sequence[SyslogMessage], Origin], Sequence[SyslogMessage]]
Writer = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]
"""Makes one payload of each message, in the same order."""


@runtime_checkable
class Holds(Protocol):
    """A stage that holds messages back for a while."""

    def flush(self, now: float) -> list[SyslogMessage]:
        """What is due at `now`, in the unit of `Origin.monotonic_at`."""
        ...


class Pipeline:
    """The rewrite of one destination: stages, then a form to write messages in.

    Args:
        stages: In the order in which they are applied.
        writer: Makes a payload of each message that is left.
        drops: Where the stages count what they drop.
    """

    def __init__(self, stages: Sequence[Stage], writer: Writer, drops: Drops) -> None:
        self._stages = tuple(stages)
        self.writer = writer
        self._drops = drops

    def __call__(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        """The payloads of what is left of `messages`, in their order."""
        return self.writer(self.changed(messages, origin), origin)

    def changed(self, messages: Sequence[SyslogMessage], origin: Origin) -> Sequence[SyslogMessage]:
        """What is left of `messages` before it is written."""
        for stage in self._stages:
            messages = stage(messages, origin)
        return messages

    def flush(self, origin: Origin, *, everything: bool = False) -> list[SyslogMessage]:
        """Messages that the stages held back and that are due.

        They went through the stages before the one that held them, and go through
        those after it.

        Args:
            origin: Says when now is.
            everything: What is not due as well.
        """
        due: list[SyslogMessage] = []
        for stage in self._stages:
            due = [*stage(due, origin)] if due else due
            if isinstance(stage, Holds):
                due += stage.flush(math.inf if everything else origin.monotonic_at)
        return due

    @property
    def holds(self) -> bool:
        """Whether `flush` is to be called from time to time."""
        return any(isinstance(stage, Holds) for stage in self._stages)

    def take_drops(self) -> dict[str, int]:
        """What was dropped since the last call, by reason."""
        if not self._drops:
            return {}
        taken = dict(self._drops)
        self._drops.clear()
        return taken


def per_message(change: Callable[[SyslogMessage], SyslogMessage | None]) -> Change:
    """A change that looks at one message at a time."""
    return lambda messages, origin: list(map(change, messages))


def each(change: Change) -> Stage:
    """A stage that makes one change in every message."""

    def stage(messages: Sequence[SyslogMessage], origin: Origin) -> Sequence[SyslogMessage]:
        return [message for message in change(messages, origin) if message is not None]

    return stage


def only(condition: Condition, change: Change) -> Change:
    """`change` for messages that fit `condition`; others pass as they are."""

    def changed(
        messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage | None]:
        fits = condition(origin)
        if fits is False:
            return messages
        if fits is True:
            return change(messages, origin)
        fitting = [index for index, message in enumerate(messages) if fits(message)]
        if not fitting:
            return messages
        result: list[SyslogMessage | None] = list(messages)
        new = change([messages[index] for index in fitting], origin)
        for index, message in zip(fitting, new, strict=True):
            result[index] = message
        return result

    return changed


def first_fitting(choices: Sequence[tuple[Condition, Writer]]) -> Writer:
    """Write each message in the form of the first of `choices` whose condition it fits.

    The last condition has to fit every message.
    """

    def write(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        payloads: list[bytes] = [b""] * len(messages)
        left = list(range(len(messages)))
        for condition, writer in choices:
            bound = condition(origin)
            if bound is False:
                continue
            fitting = left if bound is True else [i for i in left if bound(messages[i])]
            written = writer([messages[i] for i in fitting], origin)
            for index, payload in zip(fitting, written, strict=True):
                payloads[index] = payload
            if len(fitting) == len(left):
                return payloads
            taken = set(fitting)
            left = [i for i in left if i not in taken]
        raise AssertionError("no form for some messages")

    return write


def without_empty(writer: Writer, reason: str, drops: Drops) -> Writer:
    """Like `writer`; an empty payload means that the message is dropped, under `reason`."""

    def write(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        payloads = writer(messages, origin)
        if b"" not in payloads:
            return payloads
        taken = [payload for payload in payloads if payload]
        drops[reason] += len(payloads) - len(taken)
        return taken

    return write
