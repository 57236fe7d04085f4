"""The effective configuration: each key with its value and its origin.

Secrets are masked (`masking`).  Relative paths have become absolute, so that the values mean the
same in another file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from relay.service.configuration.keys import Key, keys_of
from relay.service.configuration.kinds import AnyKinds
from relay.service.configuration.masking import (
    masked,
    masked_arguments,
    masked_named,
    masked_path,
    masked_whole,
)
from relay.service.configuration.model import (
    AlertProgram,
    AlertsConfiguration,
    Configuration,
    WatchConfiguration,
    WebConfiguration,
    WebhookAddress,
)
from relay.service.configuration.origin import Origin
from relay.service.configuration.reading import Nested, Readable, SecretFile, TokenVariable
from relay.service.configuration.table import Named, Permissions, Size, join_path, size_value
from relay.service.configuration.url import Role

_ROLES: Mapping[str, Role] = {"sources": "listen", "destinations": "connect"}
_WITHOUT_DEFAULTS = ("apps", "filters", "tests")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key, its value and where that comes from."""

    key: str
    value: object
    """As in TOML; None = there is none.  Permissions are a number."""
    where: str = ""
    """``FILE:LINE``; empty = it is the default."""
    note: str = ""
    """The meaning of a default that is no value."""
    form: str = ""
    """``permissions`` for an octal number."""
    is_changed: bool = False
    """It was given, and is not the default."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file."""

    path: tuple[str, ...]
    """Its name, such as ``("sources", "network")``."""
    is_entry: bool = False
    """It is one of a list, such as ``[[watch]]``."""
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Effective:
    """A whole configuration."""

    files: tuple[str, ...]
    """Absolute paths of all that were read; empty = there are only flags."""
    sections: list[Section]


def effective(configuration: Configuration, kinds: AnyKinds) -> Effective:
    """All keys of `configuration`, also of one with problems."""
    if configuration.origin is None:
        return Effective((), [])
    reader = _Reader(configuration, configuration.origin, kinds)
    return Effective(configuration.files, list(reader.sections()))


def changed_of(whole: Effective) -> Effective:
    """Only what is not the default, and tables that may mean something without any of it."""
    sections = [
        Section(each.path, each.is_entry, [entry for entry in each.entries if entry.is_changed])
        for each in whole.sections
    ]
    kept = [each for each in sections if each.entries or each.path != ("relay",)]
    return Effective(whole.files, kept)


def default_of(key: Key) -> tuple[object, str]:
    """The default of a key as a TOML value, or None, and what it means where that does not tell."""
    value = _as_written(key, key.default)
    return value, key.default_text.replace("`", "") or ("" if value is not None else "none")


def _as_written(key: Key, value: object) -> object:
    """A value of a key as TOML has it; None = it cannot be written."""
    match key.kind, value:
        case Named(names=names), number if number in names.values():
            return next(name for name, each in names.items() if each == number)
        case Size(), int(size) if size:
            return size_value(size)
        case _, bool() | int() | float():
            return value
        case _, str(text) if text:
            return text
        case _, list() | tuple() as items if items and all(isinstance(each, str) for each in items):
            return list(items)
    return None


class _Reader:
    def __init__(self, configuration: Configuration, origin: Origin, kinds: AnyKinds) -> None:
        self._configuration, self._origin, self._kinds = configuration, origin, kinds
        self._secrets = [secret.decode("latin-1") for secret in configuration.secrets]
        self._sources_of = {each.id: [*each.sources] for each in configuration.destinations}

    def sections(self) -> Iterator[Section]:
        values = self._origin.values
        relay = keys_of(Configuration)
        yield self._section(("relay",), values.get("relay", {}), relay, self._of_relay())
        for name in ("filters", "apps"):
            yield from self._named(name, values.get(name))
        for name in _ROLES:
            yield from self._named(name, values.get(name))
        if "alerts" in values:
            yield self._section(("alerts",), values["alerts"], keys_of(AlertsConfiguration), {})
        if "web" in values:
            yield self._section(("web",), values["web"], keys_of(WebConfiguration), {})
        yield from self._listed("watch", values.get("watch"), keys_of(WatchConfiguration))
        yield from self._listed("tests", values.get("tests"), {})
        known = (*_ROLES, *_WITHOUT_DEFAULTS, "relay", "alerts", "web", "watch")
        for name, value in values.items():
            if name not in known:  # its value may be a secret
                entry = Entry(name, masked_whole(value), self._origin.where(join_path("", name)))
                yield Section((), entries=[entry])

    def _of_relay(self) -> dict[str, object]:
        """Defaults that depend on other keys, or on the host."""
        whole = self._configuration
        return {
            "name": whole.name,
            "reserve_bytes": whole.reserve,
            "pending_bytes_max": whole.pending_max,
        }

    def _named(self, name: str, tables: object) -> Iterator[Section]:
        for id, table in tables.items() if isinstance(tables, Mapping) else ():
            keys: Mapping[str, Key] = {}
            found: dict[str, object] = {}
            known: Mapping[str, Readable] = {}
            if name in _ROLES and isinstance(table, Mapping):
                kind = self._kinds.named_in(table, _ROLES[name])
                keys = {} if kind is None else kind.keys
                known = self._kinds.schema(_ROLES[name], kind)
                if name == "destinations" and id in self._sources_of:
                    found = {"sources": self._sources_of[id]}
            yield self._section((name, id), table, keys, found, known)

    def _listed(self, name: str, tables: object, keys: Mapping[str, Key]) -> Iterator[Section]:
        for number, table in enumerate(tables if isinstance(tables, list) else ()):
            yield self._section((name, str(number)), table, keys, {}, is_entry=True)

    def _section(
        self,
        path: tuple[str, ...],
        table: object,
        keys: Mapping[str, Key],
        found: Mapping[str, object],
        known: Mapping[str, Readable] | None = None,
        *,
        is_entry: bool = False,
    ) -> Section:
        """All of a table.

        Args:
            keys: Those that mean something in it.
            found: Values of defaults that `keys` does not tell.
            known: What keys may hold that are no unknown ones; None = only `keys` are known.
        """
        if known is None:
            known = {name: key.kind for name, key in keys.items()}
        where = f"{path[0]}[{path[1]}]" if is_entry else _joined(path)
        section = Section((path[0],) if is_entry else path, is_entry)
        given = table if isinstance(table, Mapping) else {}
        section.entries.extend(
            Entry(
                name,
                self._shown(value, join_path(where, name), name, known),
                self._origin.where(join_path(where, name)),
                form=_form_of(keys.get(name)),
                is_changed=not _is_default(keys.get(name), value),
            )
            for name, value in given.items()
        )
        for name, key in keys.items():
            if name not in given and not key.required:
                value, note = default_of(key)
                value = _as_written(key, found[name]) if name in found else value
                section.entries.append(Entry(name, value, note=note, form=_form_of(key)))
        return section

    def _shown(self, value: object, where: str, name: str, known: Mapping[str, Readable]) -> object:
        """A given value: masked, with absolute paths."""
        value = self._absolute(value, where)
        top = where.partition(".")[0].partition("[")[0]
        if top not in _WITHOUT_DEFAULTS and name not in known:  # it may be a secret
            return masked_whole(value)
        kind = known.get(name)
        if isinstance(kind, SecretFile | TokenVariable):
            return masked_named(value, name, self._secrets)
        if isinstance(kind, WebhookAddress):
            return masked_path(masked(value, self._secrets))
        if name == "headers":
            return masked_whole(value)
        if (isinstance(kind, AlertProgram) or name == "arguments") and isinstance(value, list):
            return masked_arguments(value, self._secrets)
        return masked(value, self._secrets)

    def _absolute(self, value: object, where: str) -> object:
        """`value` with absolute paths in place of those that were read as relative ones."""
        if isinstance(value, str):
            return self._origin.absolute.get((where, value), value)
        if isinstance(value, Mapping):
            return {
                name: self._absolute(item, join_path(where, name)) for name, item in value.items()
            }
        if isinstance(value, Sequence):
            return [
                self._origin.absolute.get((where, item), item)
                if isinstance(item, str)
                else self._absolute(item, f"{where}[{number}]")
                for number, item in enumerate(value)
            ]
        return value


def _form_of(key: Key | None) -> str:
    return "permissions" if key is not None and isinstance(key.kind, Permissions) else ""


def _is_default(key: Key | None, value: object) -> bool:
    """Whether a given value says what holds anyway, as far as that can be told."""
    if key is None or isinstance(key.kind, Nested):
        return False
    try:
        return bool(key.kind.read(value) == key.default)
    except ValueError:
        return False


def _joined(path: Sequence[str]) -> str:
    joined = ""
    for part in path:
        joined = join_path(joined, part)
    return joined
