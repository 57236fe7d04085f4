"""The difference between two configurations, and the part of it that a reload can use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Protocol, TypeVar

from relay.service.configuration.keys import groups_of, name_of
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    TlsConfiguration,
)
from relay.service.configuration.table import join_path


class _Named(Protocol):
    """A table with an id."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)

ADDED, REMOVED, CHANGED = "added", "removed", "changed"

RESTART = frozenset(("name", "state_dir", "allow_volatile_state", "strict_queue", "examine_fully"))
"""Keys of [relay] that only a restart can use: they are about how the relay begins."""
_OF_THE_WHOLE = frozenset(("sources", "destinations", "apps", "tests", "watch", "alerts", "web"))
_APART = frozenset(("warnings", "path", "origin"))  # not compared

WAY_IN = frozenset(("sources", "apps", "match", "routing", "rewrite", "format", "limits", "kept"))
"""Fields of a destination that concern messages before they are queued, and the queue."""
_QUEUE_ONLY = frozenset(("sources", "limits", "kept"))
"""The keys that do not affect how a message is written."""


@dataclass(frozen=True, slots=True)
class Change:
    """One table that is not as it was."""

    what: str
    """added, removed or changed."""
    table: str
    """As people write it: ``sources.app``."""
    keys: tuple[str, ...] = ()
    """Changed keys, in the order of the reference; empty unless it is `CHANGED`."""

    @property
    def text(self) -> str:
        """For people: ``sources.app changed: idle_seconds_max``."""
        keys = f": {', '.join(self.keys)}" if self.keys else ""
        return f"{self.table} {self.what}{keys}"

    def report(self) -> dict[str, object]:
        """For JSON."""
        return {"what": self.what, "table": self.table, "keys": list(self.keys)}


@dataclass(frozen=True, slots=True)
class Ids:
    """Sources or destinations that differ."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """The work of a reload.

    Args:
        changes: All tables that differ, with the keys that need a restart.
        restart: Keys that a reload leaves as they are: ``relay.name``.
        wanted: The new configuration with the old values of these keys.
    """

    changes: tuple[Change, ...]
    restart: tuple[str, ...]
    wanted: Configuration
    sources: Ids
    destinations: Ids
    rerouted: frozenset[str]
    """Destinations of which the routes are other ones, new ones included."""
    restarted: frozenset[str]
    """Changed destinations whose sessions end, because more than the way into the queue differs."""


def difference(
    old: Configuration, new: Configuration, *, queue_bytes_limit: int | None = None
) -> Difference:
    """The work to get from `old`, which is in use, to `new`.

    Args:
        queue_bytes_limit: The largest `relay.queue_bytes_max` that the queue's file was opened
            for; None = it has no limit.
    """
    keys = _relay_keys(old, new)
    kept = [key for key in keys if _needs_restart(key, old, new, queue_bytes_limit)]
    wanted = replace(new, **{key: getattr(old, key) for key in kept})
    new_sources, old_sources = _by_id(wanted.sources), _by_id(old.sources)
    new_destinations, old_destinations = _by_id(wanted.destinations), _by_id(old.destinations)
    restarted, rerouted = _destinations(old, wanted)
    changes = [Change(CHANGED, "relay", tuple(keys))] if keys else []
    changes += _compare("apps", _by_id(old.apps), _by_id(wanted.apps))
    changes += _compare("sources", old_sources, new_sources)
    changes += _compare("destinations", old_destinations, new_destinations, _Sources(old, wanted))
    changes += _order(old_destinations, new_destinations)
    changes += _compare("watch", _by_id(old.watch), _by_id(wanted.watch))
    for table in ("tests", "alerts", "web"):
        changes += _one(table, getattr(old, table), getattr(wanted, table))
    return Difference(
        tuple(changes),
        tuple(join_path("relay", key) for key in kept),
        wanted,
        _source_ids(old, wanted, restarted),
        _ids(old_destinations, new_destinations),
        frozenset(rerouted),
        frozenset(restarted),
    )


def _relay_keys(old: Configuration, new: Configuration) -> list[str]:
    names = [each.name for each in fields(Configuration) if each.name not in _APART]
    return [
        name
        for name in names
        if name not in _OF_THE_WHOLE and getattr(old, name) != getattr(new, name)
    ]


def _needs_restart(
    key: str, old: Configuration, new: Configuration, queue_bytes_limit: int | None
) -> bool:
    if key == "hops_max":  # whether the relay is known by an id is settled when the queue opens
        return not (old.hops_max and new.hops_max)
    if key == "queue_bytes_max":
        return queue_bytes_limit is not None and new.queue_bytes_max > queue_bytes_limit
    return key in RESTART


def _destinations(old: Configuration, new: Configuration) -> tuple[set[str], set[str]]:
    """Destinations whose sessions end, and those whose routes change."""
    before = _by_id(old.destinations)
    restarted: set[str] = set()
    rerouted: set[str] = set()
    for after in new.destinations:
        known = before.get(after.id)
        if known is None:
            rerouted.add(after.id)
            continue
        has_token = known.rewrite.token is not None or after.rewrite.token is not None
        differing = _differing_fields(known, after)
        # Tokens of apps are taken out of messages by forms that write a token themselves.
        if differing - _QUEUE_ONLY or (has_token and old.apps != new.apps):
            rerouted.add(after.id)
        if differing - WAY_IN or (after.id in rerouted and (has_token or _records(known, after))):
            restarted.add(after.id)
    return restarted, rerouted


def _records(old: DestinationConfiguration, new: DestinationConfiguration) -> bool:
    """Whether records look otherwise to those who send them."""
    return (
        type(old) is not type(new)
        or old.has_hops != new.has_hops
        or (old.record_key is None) != (new.record_key is None)
        or old.size_limit != new.size_limit
    )


def _differing_fields(old: object, new: object) -> set[str]:
    if type(old) is not type(new):
        return {"connect", "rewrite"}  # another kind: all of it is made anew
    assert is_dataclass(new) and not isinstance(new, type)
    names = [each.name for each in fields(new) if each.compare]
    return {name for name in names if getattr(old, name) != getattr(new, name)}


def _source_ids(old: Configuration, new: Configuration, restarted: set[str]) -> Ids:
    """Sources that differ, and those that depend on a key of the relay that does, or are answered
    by a destination that is `restarted`."""
    found = _ids(_by_id(old.sources), _by_id(new.sources))
    known = _by_id(old.sources)
    direct = (e.id for e in new.sources if e.answered_by in restarted and e.id in known)
    found = replace(found, changed=tuple(dict.fromkeys((*found.changed, *direct))))
    if old.local_block_seconds_max == new.local_block_seconds_max:
        return found
    local = (each.id for each in new.sources if each.is_local_socket and each.id in known)
    return replace(found, changed=tuple(dict.fromkeys((*found.changed, *local))))


def _ids(old: Mapping[str, object], new: Mapping[str, object]) -> Ids:
    return Ids(
        added=tuple(id for id in new if id not in old),
        removed=tuple(id for id in old if id not in new),
        changed=tuple(id for id in new if id in old and old[id] != new[id]),
    )


class _Sources:
    """Tells keys `sources` that differ only because sources were added or removed.

    Without the key a destination takes from all sources, whichever these are.
    """

    def __init__(self, old: Configuration, new: Configuration) -> None:
        self._old = {each.id for each in old.sources}
        self._new = {each.id for each in new.sources}

    def follow(self, old: object, new: object) -> bool:
        """Whether a destination has taken from all, and does now."""
        assert isinstance(old, DestinationConfiguration)
        assert isinstance(new, DestinationConfiguration)
        return {*old.sources} == self._old and {*new.sources} == self._new


def _compare(
    table: str,
    old: Mapping[str, object],
    new: Mapping[str, object],
    sources: _Sources | None = None,
) -> Iterator[Change]:
    for id in [*new, *(id for id in old if id not in new)]:
        path = join_path(table, id)
        if id not in old:
            yield Change(ADDED, path)
        elif id not in new:
            yield Change(REMOVED, path)
        elif old[id] != new[id]:
            keys = changed_keys(old[id], new[id])
            if sources is not None and sources.follow(old[id], new[id]):
                keys = tuple(key for key in keys if key != "sources")
            if keys:
                yield Change(CHANGED, path, keys)


def _order(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    """A change of the order, which decides where messages go behind a destination with `final`."""
    if [id for id in old if id in new] != [id for id in new if id in old]:
        yield Change(CHANGED, "destinations", ("order",))


def _one(table: str, old: object, new: object) -> Iterator[Change]:
    if old == new:
        return
    if not old or not new:
        yield Change(ADDED if new else REMOVED, table)
    else:
        yield Change(CHANGED, table, changed_keys(old, new) if is_dataclass(new) else ())


def changed_keys(old: object, new: object) -> tuple[str, ...]:
    """The names of the keys whose values differ, as the file has them."""
    if type(old) is not type(new):
        return ("connect" if isinstance(new, DestinationConfiguration) else "listen",)
    assert is_dataclass(new) and not isinstance(new, type)
    found: list[str] = []
    for each in fields(new):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if not each.compare or before == after:
            continue
        is_group = after in groups_of(new) or isinstance(after, TlsConfiguration)
        if is_group and before is not None and after is not None:
            found += changed_keys(before, after)
        else:
            found.append(name_of(each))
    return tuple(dict.fromkeys(found))


def _by_id(values: Sequence[T]) -> dict[str, T]:
    return {each.id: each for each in values}
