"""Changes of one message: values, names, tags, priority.

Each function makes a `Change` (`relay/rewrite/steps/pipeline.py`).  Values are given as
templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Protocol

from relay.model.expression import Expression
from relay.model.hops import OwnHop
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.conditions import TextTest, name_glob
from relay.rewrite.fields import field_of, getter, names_of, setter
from relay.rewrite.steps.pipeline import Change, Constant, Edit, per_message, takes_value
from relay.wire.hops import HOPS_PARAMETER, hops_of

Template = Callable[[Sequence[SyslogMessage], Origin], Sequence[bytes]]
"""Text with values of a message in it, for each message of a batch."""


Row = Sequence[bytes | None]
"""A value for each column of a table; None = it has none."""


class Lookup(Protocol):
    """A table of texts, whose rows may change while the relay runs."""

    @property
    def columns(self) -> Sequence[str]: ...

    def get(self, key: bytes) -> Row | None: ...


def set_values(values: Mapping[str, Template]) -> Change:
    """Give names new values; all templates see the message as it was."""
    edit = _edit_of(values)
    if edit is not None:
        return edit
    places = [(setter(name), template) for name, template in values.items()]

    def change(messages: Sequence[SyslogMessage], origin: Origin) -> list[SyslogMessage]:
        columns = [(put, template(messages, origin)) for put, template in places]
        changed = list(messages)
        for put, column in columns:
            changed = list(map(put, changed, column))
        return changed

    return change


def _edit_of(values: Mapping[str, Template]) -> Edit | None:
    """What gives header fields and MSG the same values in all messages; None if others do."""
    fields: dict[str, bytes | None] = {}
    for name, template in values.items():
        field = field_of(name)
        if field is None or not isinstance(template, Constant):
            return None
        if not takes_value(field, template.text):
            return None
        fields[field] = template.text

    def change(message: SyslogMessage) -> SyslogMessage:
        for field, text in fields.items():
            message = setter(field)(message, text)
        return message

    return Edit(change, fields)


def unset(globs: Sequence[str]) -> Change:
    """Take away the values of all names that fit one of `globs`."""
    fixed = [(getter(name), setter(name)) for name in globs if not _is_glob(name)]
    tests = [name_glob(name) for name in globs if _is_glob(name)]

    def change(message: SyslogMessage) -> SyslogMessage:
        for value_of, put in fixed:
            if value_of(message) is not None:
                message = put(message, None)
        if tests:
            for name in names_of(message):
                if any(test(name) for test in tests):
                    message = setter(name)(message, None)
        return message

    fields = [field for field in map(field_of, globs) if field is not None]
    return Edit(change, dict.fromkeys(fields)) if len(fields) == len(globs) else per_message(change)


def rename(names: Mapping[str, str]) -> Change:
    """Move values from old to new names, in order; what is not there stays so."""
    moves = [(getter(old), setter(old), setter(new)) for old, new in names.items()]

    def change(message: SyslogMessage) -> SyslogMessage:
        for value_of, put_old, put_new in moves:
            value = value_of(message)
            if value is not None:
                message = put_new(put_old(message, None), value)
        return message

    return per_message(change)


def each_value(names: Sequence[str], new: Callable[[bytes], bytes]) -> Change:
    """Replace the values of `names`, each by what `new` makes of it; no value and an empty one
    stay."""
    places = [(getter(name), setter(name)) for name in names]

    def change(message: SyslogMessage) -> SyslogMessage:
        for value_of, put in places:
            value = value_of(message)
            if value and (replaced := new(value)) != value:
                message = put(message, replaced)
        return message

    return per_message(change)


def subst(
    pattern: Expression, replacement: bytes, names: Sequence[str], *, count: int = 0
) -> Change:
    r"""Replace what `pattern` finds in the values of `names`.

    A value for which `pattern` reaches its time limit stays as it is.

    Args:
        replacement: May refer to groups, as in ``\1`` or ``\g<name>``.
        count: How many to replace in each value; 0 = all.
    """

    def new(value: bytes) -> bytes:
        try:
            return pattern.sub(replacement, value, count)
        except TimeoutError:
            return value

    return each_value(names, new)


def groupset(template: Template, globs: Sequence[str]) -> Change:
    """Give all names that exist and fit one of `globs` the same value."""
    tests = [name_glob(name) for name in globs]

    def put(message: SyslogMessage, value: bytes) -> SyslogMessage:
        for name in names_of(message):
            if any(test(name) for test in tests):
                message = setter(name)(message, value)
        return message

    return lambda messages, origin: list(map(put, messages, template(messages, origin)))


def look_up(
    table: Lookup, key: Template, names: Sequence[str], *, default: Template | None = None
) -> Change:
    """Set each of `names` to what a column of `table` has for `key`, or to `default`, or leave it.

    Args:
        names: One for each column of `table`.
    """
    places = [setter(name) for name in names]
    missing: Row = [None] * len(names)

    def change(messages: Sequence[SyslogMessage], origin: Origin) -> list[SyslogMessage]:
        rows = [table.get(text) or missing for text in key(messages, origin)]
        others: Row = [None] * len(rows)
        if default is not None and any(None in row for row in rows):
            others = default(messages, origin)
        changed = []
        for message, row, other in zip(messages, rows, others, strict=True):
            for put, value in zip(places, row, strict=True):
                value = other if value is None else value
                message = message if value is None else put(message, value)
            changed.append(message)
        return changed

    return change


def add_tags(tags: Sequence[bytes]) -> Change:
    """Add those of `tags` that a message does not have."""

    def change(message: SyslogMessage) -> SyslogMessage:
        new = tuple(tag for tag in tags if tag not in message.tags)
        return message._replace(tags=message.tags + new) if new else message

    return Edit(change, tags=tuple(tags))


def clear_tags(tests: Sequence[TextTest]) -> Change:
    """Take away tags that pass one of `tests`."""

    def change(message: SyslogMessage) -> SyslogMessage:
        left = tuple(tag for tag in message.tags if not any(test(tag) for test in tests))
        return message if len(left) == len(message.tags) else message._replace(tags=left)

    return per_message(change)


def set_priority(*, facility: int | None = None, severity: int | None = None) -> Change:
    """Set the facility (0 to 23), the severity (0 to 7) or both."""

    def change(message: SyslogMessage) -> SyslogMessage:
        return message._replace(
            facility=message.facility if facility is None else facility,
            severity=message.severity if severity is None else severity,
        )

    return per_message(change)


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


SEQUENCE_NAME = ".SDATA.meta.sequenceId"
COUNTER_NAME = ".SDATA.syslogrelay@32473.from"
SEQUENCE_MAX = 2147483647

_put_number = setter(SEQUENCE_NAME)
_put_counter = setter(COUNTER_NAME)


def number(counter: str) -> Change:
    """Number all messages, in the place of whatever number they had.

    Args:
        counter: Who counts, as ``relay/destination``.
    """
    name = counter.encode()
    numbers = chain.from_iterable(repeat(range(1, SEQUENCE_MAX + 1)))

    def change(message: SyslogMessage) -> SyslogMessage:
        return _put_counter(_put_number(message, b"%d" % next(numbers)), name)

    return per_message(change)


def put_hops(own: OwnHop) -> Change:
    """Put the hops of each message, this relay included, into its structured data."""
    put = setter(HOPS_PARAMETER)

    def change(messages: Sequence[SyslogMessage], origin: Origin) -> Sequence[SyslogMessage | None]:
        if not own.text:
            return messages
        return [put(message, own.after(hops_of(message, origin))) for message in messages]

    return change
