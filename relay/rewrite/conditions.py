"""Conditions on messages, compiled once.

A `Condition` is evaluated once per batch with the batch's origin.  If the origin (source,
peer, time) decides, the result is True or False; otherwise it is a `Predicate`, to be
evaluated on the lines of the batch.  A batch from the wrong source thus costs nothing per message.

A predicate on a field reads its values for all lines at once, as a column, and runs a text
test once for each distinct value of the batch: a regular expression costs more than a look-up
of its earlier result.  Equal predicates compare equal, so that lines of many origins are tested
together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from functools import lru_cache
from typing import Any, Protocol

from relay.codec import Lines
from relay.codec.messages import Messages
from relay.model.expression import Expression
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.rewrite.fields import field_of, getter

TextTest = Callable[[bytes], bool]


def glob(pattern: str, *, ignore_case: bool = False) -> TextTest:
    """Test whether the whole text matches `pattern`, where ``*`` is any text and ``?`` one byte."""
    whole = pattern.encode()
    if not ignore_case and b"?" not in whole:
        fixed, star, rest = whole.partition(b"*")
        if not star:
            return lambda text: text == whole
        if not rest:
            return lambda text: text.startswith(fixed)
        if not fixed and b"*" not in rest:
            return lambda text: text.endswith(rest)
    translated = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return Expression(rf"(?s)\A{translated}\Z", ignore_case=ignore_case).search


def substring(part: str, *, ignore_case: bool = False) -> TextTest:
    """Test whether the text contains `part`.  Case is ignored for ASCII only."""
    sought = part.encode()
    if not ignore_case:
        return lambda text: sought in text
    search = re.compile(re.escape(sought), re.IGNORECASE).search
    return lambda text: search(text) is not None


def regex(pattern: str, *, ignore_case: bool = False) -> TextTest:
    """Whether `pattern` is found anywhere in the text.

    Raises:
        ValueError: `pattern` is no regular expression of Python's `re`.
    """
    return Expression(pattern, ignore_case=ignore_case).search


def name_glob(pattern: str) -> Callable[[str], bool]:
    """Test whether a name matches `pattern`, case-sensitively."""
    test = glob(pattern)
    return lambda name: test(name.encode("utf-8", "surrogateescape"))


class Predicate(Protocol):
    """A test of lines."""

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        """Those of `indexes` whose lines match, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class FieldIn:
    """The value of a field is one of `values`, which may include None for no value.

    Attributes:
        field: Of `SyslogMessage`.
    """

    field: str
    values: frozenset[object]

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        return lines.where(self.field, self.values, indexes)


@dataclass(frozen=True, slots=True)
class FieldFits:
    """The value of a field passes a test.

    Attributes:
        field: Of `SyslogMessage`.
        test: Of values, or of None; deterministic.
        instead: Stands in for values that are missing or empty, if it is not empty.
    """

    field: str
    test: Callable[[Any], bool]
    instead: bytes = b""

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        test, column = self.test, lines.column(self.field, indexes)
        if self.instead:
            column = [value or self.instead for value in column]
        if self.field == "msg":  # nearly all values differ
            return [index for index, value in zip(indexes, column, strict=True) if test(value)]
        passing = {value for value in set(column) if test(value)}
        return [index for index, value in zip(indexes, column, strict=True) if value in passing]


@dataclass(frozen=True, slots=True)
class MessageFits:
    """A test of whole messages, which makes them from lines."""

    test: Callable[[SyslogMessage], bool]

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        test = self.test
        messages = lines.messages(indexes)
        return [index for index, each in zip(indexes, messages, strict=True) if test(each)]


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Conjunction of `parts`, evaluated in order until one is false."""

    parts: tuple[Predicate, ...]

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        for part in self.parts:
            if indexes:
                indexes = part.select(lines, indexes)
        return indexes


@dataclass(frozen=True, slots=True)
class Negation:
    """Negation of `part`."""

    part: Predicate

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        fitting = frozenset(self.part.select(lines, indexes))
        return [index for index in indexes if index not in fitting]


Condition = Callable[[Origin], bool | Predicate]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PEERS_MAX = 4096  # decisions in the LRU cache


def always(origin: Origin) -> bool:
    """The condition of a table without keys."""
    return True


def holds(condition: Condition, message: SyslogMessage, origin: Origin) -> bool:
    """Whether one message fits."""
    return bool(fitting(condition(origin), Messages([message])))


def chosen(
    condition: Condition, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
) -> Sequence[int]:
    """The indexes of matching lines: of all, or of those at `indexes`, which ascend."""
    if len(arrival.runs) == 1 and indexes is None:  # the common case
        _, origin = arrival.runs[0]
        bound = condition(origin.received(arrival.received_at, arrival.monotonic_at))
        return fitting(bound, lines)
    found: list[int] = []
    pending: list[int] = []  # lines of consecutive origins with the same predicate
    predicate: bool | Predicate = False
    for run, origin in arrival.chosen(indexes):
        bound = condition(origin)
        if pending and bound != predicate:
            found += fitting(predicate, lines, pending)
            pending = []
        predicate = bound
        pending += run
    found += fitting(predicate, lines, pending)
    return found


def fitting(
    bound: bool | Predicate, lines: Lines, indexes: Sequence[int] | None = None
) -> Sequence[int]:
    """The indexes of lines that match: of all, or of those at `indexes`."""
    if indexes is None:
        indexes = range(len(lines))
    if isinstance(bound, bool):
        return indexes if bound else []
    return bound.select(lines, indexes)


def all_of(conditions: Sequence[Condition]) -> Condition:
    """True if all conditions match; an empty sequence always matches."""

    def bind(origin: Origin) -> bool | Predicate:
        predicates: list[Predicate] = []
        for condition in conditions:
            bound = condition(origin)
            if bound is False:
                return False
            if bound is not True:
                predicates.append(bound)
        if len(predicates) > 1:
            return Conjunction(tuple(predicates))
        return predicates[0] if predicates else True

    return conditions[0] if len(conditions) == 1 else bind


def any_of(conditions: Sequence[Condition]) -> Condition:
    """True if any condition matches; an empty sequence never matches."""
    if len(conditions) == 1:
        return conditions[0]
    return negated(all_of([negated(condition) for condition in conditions]))


def negated(condition: Condition) -> Condition:
    """True if `condition` does not match."""

    def bind(origin: Origin) -> bool | Predicate:
        bound = condition(origin)
        if isinstance(bound, bool):
            return not bound
        return bound.part if isinstance(bound, Negation) else Negation(bound)

    return bind


def field_in(field: str, values: Collection[object]) -> Condition:
    """Match if the field of `SyslogMessage` has one of `values`; None among them is no value."""
    return _each(FieldIn(field, frozenset(values)))


def field_fits(name: str, tests: Sequence[TextTest], *, sender_name: bytes = b"") -> Condition:
    """Match if `name` has a value that passes one of `tests`.

    Args:
        sender_name: For host names: the value for local messages without one, as in
            output; network messages have their peer's address.
    """
    passes = tests[0] if len(tests) == 1 else _one_of(tests)

    def fits(value: bytes | None) -> bool:
        return value is not None and passes(value)

    field = field_of(name)
    if field is None:
        value_of = getter(name)
        return _each(MessageFits(lambda message: fits(value_of(message))))
    if not sender_name:
        return _each(FieldFits(field, fits))

    def bind(origin: Origin) -> Predicate:
        sender = origin.peer_host.encode("ascii", "replace") or sender_name
        return FieldFits(field, fits, sender)

    return bind


def field_missing(name: str) -> Condition:
    """Match if `name` has no value."""
    field = field_of(name)
    if field is not None:
        return field_in(field, [None])
    value_of = getter(name)
    return _each(MessageFits(lambda message: value_of(message) is None))


def tag_fits(tests: Sequence[TextTest]) -> Condition:
    """Match if one of the tags passes one of `tests`."""
    passes = _one_of(tests)
    return _each(FieldFits("tags", lambda tags: any(map(passes, tags))))


def source_in(tests: Sequence[TextTest]) -> Condition:
    """Match sources by id."""
    return lambda origin: any(test(origin.source.encode()) for test in tests)


def peer_in(networks: Sequence[Network]) -> Condition:
    """Networks of the peer; local senders have no address and are in none."""

    @lru_cache(_PEERS_MAX)
    def decide(host: str) -> bool:
        address = ipaddress.ip_address(host)
        return any(address in network for network in networks)

    return lambda origin: bool(origin.peer_host) and decide(origin.peer_host)


def time_within(
    start: time, stop: time, *, weekdays: Collection[int] = range(7), zone: tzinfo = UTC
) -> Condition:
    """Time of receipt: from `start` up to `stop`, past midnight if `stop` is earlier.

    Args:
        weekdays: Of the day on which the span begins; 0 is Monday.
        zone: The time zone of `start` and `stop`.
    """

    def bind(origin: Origin) -> bool:
        moment = datetime.fromtimestamp(origin.received_at, zone)
        clock, weekday = moment.time(), moment.weekday()
        if start < stop:
            return weekday in weekdays and start <= clock < stop
        yesterday = (weekday - 1) % 7
        return (weekday in weekdays and clock >= start) or (yesterday in weekdays and clock < stop)

    return bind


def _each(predicate: Predicate) -> Condition:
    return lambda origin: predicate


def _one_of(tests: Sequence[TextTest]) -> TextTest:
    return lambda text: any(test(text) for test in tests)
