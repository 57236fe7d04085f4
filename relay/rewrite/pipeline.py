"""Steps of a rewrite, in order: messages in, messages out, some of them dropped.

A `Change` is bound once per batch and then called per message; it returns the new
message, or None to drop it.  A `Stage` takes and returns whole lists, which is
what the pipeline runs; most stages are made of a change and a condition.

Whatever drops a message counts it in the pipeline's `Drops`, so that the queue
can keep the account in the transaction that stores the rest of the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.filters import Condition

__all__ = ["Change", "Drops", "Pipeline", "Stage", "each", "only"]

Drops = Counter[str]
"""Messages dropped since the count was last taken, by reason."""
Change = Callable[[Origin], Callable[[SyslogMessage], SyslogMessage | None]]
Stage = Callable[[Sequence[SyslogMessage], Origin], Sequence[SyslogMessage]]
Writer = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]


class Pipeline:
    """The rewrite of one destination: stages, then a form to write messages in.

    Args:
        stages: In the order in which they are applied.
        writer: Makes a payload of each message that is left.
        drops: Where the stages count what they drop.
    """

    def __init__(self, stages: Sequence[Stage], writer: Writer, drops: Drops) -> None:
        self._stages = tuple(stages)
        self._writer = writer
        self._drops = drops

    def __call__(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        """The payloads of what is left of `messages`, in their order."""
        for stage in self._stages:
            messages = stage(messages, origin)
        return self._writer(messages, origin)

    def take_drops(self) -> dict[str, int]:
        """What was dropped since the last call, by reason."""
        if not self._drops:
            return {}
        taken = dict(self._drops)
        self._drops.clear()
        return taken


def each(change: Change) -> Stage:
    """A stage that makes one change in every message."""

    def stage(messages: Sequence[SyslogMessage], origin: Origin) -> Sequence[SyslogMessage]:
        changed = map(change(origin), messages)
        return [message for message in changed if message is not None]

    return stage


def only(condition: Condition, change: Change) -> Change:
    """`change` for messages that fit `condition`; others pass as they are."""

    def bind(origin: Origin) -> Callable[[SyslogMessage], SyslogMessage | None]:
        fits = condition(origin)
        if fits is False:
            return lambda message: message
        apply = change(origin)
        if fits is True:
            return apply
        return lambda message: apply(message) if fits(message) else message

    return bind
