"""Steps of a rewrite, in order: messages in, messages out, some of them dropped.

An `Edit` sets header fields, MSG or tags to the same in all messages.  Lines take it without being
made messages: compiled code writes the new values behind the bytes of a line.  Messages are made
for the first step that is something else.

A `Change` makes of each message of a batch a new one, or None to drop it.  A `Stage`
returns only what is left, which may be more than came; most stages are made of a
change and a condition.

Whatever drops a message counts it in the pipeline's `Drops`, so that the queue
can keep the account in the transaction that stores the rest of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, runtime_checkable

from relay.codec import Lines
from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.rewrite.conditions import Condition, always, chosen, fitting
from relay.rewrite.drops import Drops
from relay.rewrite.forms.form import Form, messages_of_each
from relay.rewrite.forms.token import Writer
from relay.wire.ewmm import APP_NAME as EWMM_APP_NAME
from relay.wire.headers.hostname import HOSTNAME_BYTES_MAX
from relay.wire.hops import HOPS_NAME, hops_of

_DELIMITERS = (b"\n", b"\r", b"\0")  # no line ends with one


@dataclass(frozen=True, slots=True)
class Constant:
    """A template without macros."""

    text: bytes

    def __call__(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [self.text] * len(messages)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that lines can take.

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


def takes_value(field: str, value: bytes) -> bool:
    """Whether lines can have this value: compiled code then writes it as Python writes messages."""
    if field == "hostname":
        return len(value) <= HOSTNAME_BYTES_MAX
    if field == "app_name":
        return value != EWMM_APP_NAME
    return field != "msg" or not value.endswith(_DELIMITERS)


class EditStage:
    """A stage that makes an edit where `condition` fits."""

    def __init__(self, condition: Condition, edit: Edit) -> None:
        self._condition = condition
        self._edit = edit

    def __call__(
        self, messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage]:
        arrival = Arrival.of_one(len(messages), origin)
        return self.edited(Messages(messages), None, arrival).messages()

    def edited(self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival) -> Lines:
        """The same lines; those of them, or of those at `indexes`, that fit are changed."""
        edit = self._edit
        fits = chosen(self._condition, lines, indexes, arrival)
        if not fits:
            return lines
        return lines.edited(fits, dict(edit.values), tuple(edit.tags), edit.change)


Change = Callable[[Sequence[SyslogMessage], Origin], Sequence[SyslogMessage | None]]
Stage = Callable[[Sequence[SyslogMessage], Origin], Sequence[SyslogMessage]]


@runtime_checkable
class Holds(Protocol):
    """A stage that holds messages back for a while."""

    def flush(self, now: float) -> list[SyslogMessage]:
        """What is due at `now`, in the unit of `Origin.monotonic_at`."""
        ...


@runtime_checkable
class Keeps(Holds, Protocol):
    """A stage that holds messages back, and has them on disk meanwhile: see `GroupBy`."""

    @property
    def waiting(self) -> int: ...

    def take_positions(self) -> dict[str, bytes]: ...

    def restore(self, positions: Mapping[str, bytes], origin: Origin) -> list[str]: ...


class Pipeline:
    """The rewrite of one destination: stages, then a form to write messages in.

    Args:
        stages: In the order in which they are applied.
        form: Makes a payload of each message that is left.
        drops: Where the stages count what they drop.

    Attributes:
        write: Returns the payloads of what is left of lines, or of those at `indexes`, in their
            order.  Without stages it is that of the form.
    """

    def __init__(self, stages: Sequence[Stage], form: Form, drops: Drops) -> None:
        self.write = self._write if stages else form.write
        self._stages = tuple(stages)
        self._edits: list[EditStage] = []  # the first stages, as far as lines can take them
        for stage in self._stages:
            if not isinstance(stage, EditStage):
                break
            self._edits.append(stage)
        self._others = self._stages[len(self._edits) :]
        every: Sequence[object] = self._stages
        self._keeping = [stage for stage in every if isinstance(stage, Keeps)]
        self._form = form
        self._drops = drops

    def _write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        for stage in self._edits:
            lines = stage.edited(lines, indexes, arrival)
        if not self._others:
            return self._form.write(lines, indexes, arrival)
        payloads: list[bytes] = []
        for messages, origin in messages_of_each(lines, indexes, arrival):
            for change in self._others:
                messages = change(messages, origin)
            payloads += self.write_messages(messages, origin)
        return payloads

    def write_messages(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        """The payloads of messages that have been through the stages."""
        if not self._keeping:
            return self._form.write_messages(messages, origin) if messages else []
        payloads: list[bytes] = []
        for hops, run in groupby(messages, lambda message: hops_of(message, origin)):
            own = origin if hops == origin.hops else origin._replace(hops=hops)
            payloads += self._form.write_messages([*map(_without_hops, run)], own)
        return payloads

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

    def left_over(
        self, messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage]:
        """What is left of messages that a stage held back which is gone now.

        Nobody knows which of the others came after it: they go through all that hold nothing, so
        that what these mask or drop is not written as it was.
        """
        for stage in self._stages:
            if not isinstance(stage, Holds):
                messages = stage(messages, origin)
        return messages

    @property
    def holds(self) -> bool:
        """Whether `flush` is to be called from time to time."""
        return any(isinstance(stage, Holds) for stage in self._stages)

    @property
    def keeps(self) -> bool:
        """Whether `take_positions` has to be called after each use."""
        return bool(self._keeping)

    @property
    def waiting(self) -> int:
        """Messages that stages hold back and have on disk."""
        return sum(stage.waiting for stage in self._keeping)

    def take_positions(self) -> dict[str, bytes]:
        """What is to be stored with the payloads, by name: messages that stages hold back."""
        positions: dict[str, bytes] = {}
        for stage in self._keeping:
            positions |= stage.take_positions()
        return positions

    def restore(self, positions: Mapping[str, bytes], origin: Origin) -> list[str]:
        """Hold back what was stored so; return the names of what no stage takes."""
        taken = {name for stage in self._keeping for name in stage.restore(positions, origin)}
        return [name for name in positions if name not in taken]

    def take_drops(self) -> dict[str, int]:
        """What was dropped since the last call, by reason."""
        taken = dict(self._drops)
        self._drops.clear()
        return taken


def _without_hops(message: SyslogMessage) -> SyslogMessage:
    if not message.pairs or HOPS_NAME not in message.pairs:
        return message
    pairs = {name: value for name, value in message.pairs.items() if name != HOPS_NAME}
    return message._replace(pairs=pairs or None)


def per_message(change: Callable[[SyslogMessage], SyslogMessage | None]) -> Change:
    """A change that looks at one message at a time."""
    return lambda messages, origin: list(map(change, messages))


def stage_of(change: Change, condition: Condition = always) -> Stage:
    """A stage that makes one change in every message that fits `condition`; others pass as they
    are."""
    if isinstance(change, Edit):
        return EditStage(condition, change)

    def stage(messages: Sequence[SyslogMessage], origin: Origin) -> Sequence[SyslogMessage]:
        fits = fitting(condition(origin), Messages(messages))
        if not fits:
            return messages
        if len(fits) == len(messages):
            return [message for message in change(messages, origin) if message is not None]
        result: list[SyslogMessage | None] = list(messages)
        new = change([messages[index] for index in fits], origin)
        for index, message in zip(fits, new, strict=True):
            result[index] = message
        return [message for message in result if message is not None]

    return stage


class FirstFitting(Form):
    """Writes each message in the form of the first of several whose condition it fits.

    Args:
        choices: The last condition has to fit every message.
    """

    def __init__(self, choices: Sequence[tuple[Condition, Form]]) -> None:
        self._choices = tuple(choices)

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The payloads of lines, or of those at `indexes`, in their order."""
        left: Sequence[int] = range(len(lines)) if indexes is None else indexes
        payloads: dict[int, bytes] = {}
        order = left
        for condition, form in self._choices:
            fits = chosen(condition, lines, left, arrival)
            written = form.write(lines, fits, arrival)
            payloads.update(zip(fits, written, strict=True))
            if len(fits) == len(left):
                return [payloads[index] for index in order]
            left = [index for index in left if index not in payloads]
        raise AssertionError("no form for some messages")


def without_empty(writer: Writer, reason: str, drops: Drops) -> Writer:
    """Like `writer`; an empty payload means that the message is dropped, under `reason`."""

    def write(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        payloads = writer(messages, origin)
        if b"" not in payloads:
            return payloads
        taken = [payload for payload in payloads if payload]
        each = zip(messages, payloads, strict=True)
        drops.drop(reason, [message for message, payload in each if not payload], origin.peer)
        return taken

    return write
