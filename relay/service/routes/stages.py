"""From filters of the configuration to conditions, from its steps to stages of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from relay.model.expression import Expression
from relay.rewrite import conditions as filters
from relay.rewrite.conditions import Condition, glob, regex, substring
from relay.rewrite.drops import Drops
from relay.rewrite.macros import check_settable
from relay.rewrite.steps import changes as steps
from relay.rewrite.steps import message_parsers, redaction, sampling
from relay.rewrite.steps.grouping import GroupBy
from relay.rewrite.steps.pipeline import Change, Stage, stage_of
from relay.service.configuration.reading import content_of
from relay.service.configuration.table import shown
from relay.service.configuration.tables import filter as table
from relay.service.configuration.tables import step as asked
from relay.service.configuration.tables.filter import Filter, TextTest
from relay.service.configuration.tables.step import Action, Step

_TESTS = {"glob": glob, "substring": substring, "regex": regex}


OpenLookup = Callable[[str, Sequence[str] | None], steps.Lookup]
"""Opens the table in the file at a path: those of its columns that are named, all if none is, and
without names if there is no list.  ValueError says what is wrong with it."""


@dataclass(eq=False, slots=True, kw_only=True)
class Conditions:
    """Makes conditions."""

    relay_name: bytes
    """Host of local messages that name none."""
    zone: tzinfo
    """The clock that spans of time are about."""

    def of(self, asked: Filter) -> Condition:
        """The condition that a filter describes."""
        match asked:
            case table.AllOf():
                parts = [self.of(part) for part in asked.parts.values()]
                return filters.all_of(parts) if parts else filters.always
            case table.AnyOf():
                return filters.any_of([self.of(part) for part in asked.parts])
            case table.Not():
                return filters.negated(self.of(asked.part))
            case table.NumberIn("facility"):
                return filters.field_in("facility", asked.numbers)
            case table.NumberIn():
                return filters.field_in("severity", asked.numbers)
            case table.FieldFits(tests=None):
                return filters.negated(filters.field_missing(asked.name))
            case table.FieldFits():
                sender = self.relay_name if asked.name == "hostname" else b""
                return filters.field_fits(asked.name, _tests(asked.tests), sender_name=sender)
            case table.TagFits():
                return filters.tag_fits(_tests(asked.tests))
            case table.CameBy():
                return filters.source_in(_tests(asked.tests))
            case table.CameFrom():
                return filters.peer_in(asked.networks)
            case table.OfApp():
                return filters.field_in("app", asked.apps)
            case table.CameWithin():
                return filters.time_within(
                    asked.start, asked.stop, weekdays=asked.weekdays, zone=self.zone
                )


def _tests(tests: tuple[TextTest, ...] | None) -> list[filters.TextTest]:
    return [_TESTS[test.kind](test.pattern, ignore_case=test.ignore_case) for test in tests or ()]


_KEY_BYTES_MAX = 4096


@dataclass(eq=False, slots=True, kw_only=True)
class Stages:
    """Makes stages for one destination."""

    conditions: Conditions
    counter: str
    """Names who numbers messages, as ``relay/destination``."""
    template: Callable[[str], steps.Template]
    """Compiles a template."""
    lookup: OpenLookup
    zone: tzinfo
    """Of dates without an offset."""
    drops: Drops
    """Where stages count what they drop."""
    _groupings: int = field(default=0, init=False)

    def of(self, step: Step) -> Stage:
        """The stage that a step describes.

        Raises:
            ValueError: A name cannot be set, or a file cannot be used.
        """
        condition, action = self.conditions.of(step.match), step.action
        if isinstance(action, asked.SuppressRepeats):
            return sampling.RepeatSuppression(condition, action.seconds, self.drops)
        if isinstance(action, asked.GroupBy):
            self._groupings += 1
            return GroupBy(
                self._groupings,
                condition,
                self.template(action.template),
                end=None if action.end is None else self.conditions.of(action.end),
                seconds_max=action.seconds_max,
                records_max=action.records_max,
                drops=self.drops,
            )
        return stage_of(self._change(action), condition)

    def _change(self, action: Action) -> Change:
        drops, template = self.drops, self.template
        match action:
            case asked.SetValues():
                _check_settable(action.values)
                values = {name: template(text) for name, text in action.values.items()}
                return steps.set_values(values)
            case asked.Unset():
                return steps.unset(_check_settable(action.names))
            case asked.Rename():
                _check_settable((*action.names, *action.names.values()))
                return steps.rename(action.names)
            case asked.Subst():
                return _subst(action)
            case asked.GroupSet():
                return steps.groupset(template(action.template), _check_settable(action.names))
            case asked.MapValue():
                return self._map(action)
            case asked.Mask():
                names, text = _check_settable(action.names), action.replacement.encode()
                return redaction.mask(_finders(action.found), names, replacement=text)
            case asked.Hash():
                return _hash(action)
            case asked.AddTags():
                return steps.add_tags([tag.encode() for tag in action.tags])
            case asked.ClearTags():
                return steps.clear_tags([glob(tag) for tag in action.tags])
            case asked.SetSeverity():
                return steps.set_priority(severity=action.severity)
            case asked.SetFacility():
                return steps.set_priority(facility=action.facility)
            case asked.Drop():
                return sampling.drop(action.reason, drops)
            case asked.Sample():
                return sampling.sample(action.one_of, drops)
            case asked.Rate():
                burst = max(1.0, action.rate) if action.burst is None else action.burst
                per = None if action.per is None else template(action.per)
                return sampling.limit_rate(action.rate, burst, drops, per=per)
            case asked.Number():
                return steps.number(self.counter)
            case asked.Parse():
                return self._parse(action)
            case asked.SuppressRepeats() | asked.GroupBy():
                raise AssertionError(action)

    def _map(self, action: asked.MapValue) -> Change:
        if bool(action.name) == bool(action.columns or action.prefix):
            raise ValueError(
                'expected either into = ".name", for a table of two columns without names, or '
                'prefix = ".map.", columns = ["name", …] or both, for one whose columns have names'
            )
        table = self.lookup(action.file, None if action.name else action.columns)
        names = [action.name or action.prefix + column for column in table.columns]
        default = None if action.default is None else self.template(action.default)
        key = self.template(action.lookup)
        return steps.look_up(table, key, _check_settable(names), default=default)

    def _parse(self, action: asked.Parse) -> Change:
        source, prefix = action.source, action.prefix
        if action.parser == "json":
            return message_parsers.parse_json(source, prefix)
        if action.parser == "key-value":
            return message_parsers.parse_key_values(
                source,
                prefix,
                pair_separator=action.pair_separator,
                value_separator=action.value_separator,
            )
        if action.parser == "csv":
            if not action.columns:
                raise ValueError('columns is missing; write for example columns = ["USER", "HOST"]')
            return message_parsers.parse_csv(
                source, prefix, action.columns, delimiter=action.delimiter, greedy=action.greedy
            )
        if action.parser == "regex":
            pattern = Expression(action.pattern)
            if not pattern.names:
                raise ValueError("pattern: has no named group; write for example (?P<USER>[a-z]+)")
            return message_parsers.parse_regex(source, prefix, pattern)
        message_parsers.check_date_format(action.format)
        return message_parsers.parse_date(source, action.format, self.zone)


def _subst(action: asked.Subst) -> Change:
    pattern = Expression(action.pattern, ignore_case=action.ignore_case)
    replacement = action.replacement.encode()
    try:
        pattern.check_replacement(replacement)
    except ValueError as error:
        raise ValueError(f"cannot put in {shown(action.replacement)}: {error}") from None
    names = _check_settable(action.names)
    return steps.subst(pattern, replacement, names, count=int(action.first_only))


def _hash(action: asked.Hash) -> Change:
    key = _secret(action.key_file)
    names = _check_settable(action.names)
    if action.found:
        return redaction.hash_found(_finders(action.found), names or ("MESSAGE",), key)
    if not names:
        raise ValueError('says not what; write for example in = ["HOST"]')
    return redaction.hash_values(names, key)


def _check_settable(names: Iterable[str]) -> tuple[str, ...]:
    """`names`, if all of them can be set."""
    for name in (checked := tuple(names)):
        check_settable(name)
    return checked


def _finders(found: Iterable[str]) -> list[redaction.Finder]:
    """Kinds of personal data, or a regular expression."""
    return [redaction.KINDS.get(name) or Expression(name) for name in found]


def _secret(path: str) -> bytes:
    try:
        key = content_of(path, bytes_max=_KEY_BYTES_MAX + 1).strip()
    except OSError as error:
        raise ValueError(f"cannot read the key file {path}: {error.strerror}") from None
    if not 16 <= len(key) <= _KEY_BYTES_MAX:
        raise ValueError(
            f"the key file {path} holds {len(key)} bytes; a key has 16 to {_KEY_BYTES_MAX}"
        )
    return key
