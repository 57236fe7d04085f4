"""What the configuration has to know of the kinds of sources and destinations.

Kinds are given to it as values, `Kinds`: nothing in this package knows the name of a scheme.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeAlias, TypeVar

from relay.service.configuration.keys import Key, compose, keys_of
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    TlsConfiguration,
    Url,
    Where,
)
from relay.service.configuration.reading import OneOrMore, Readable, Reading
from relay.service.configuration.table import Text, Whole, join_path
from relay.service.configuration.tables.format import TemplateOnly
from relay.service.configuration.url import Address, Host, Role, url_shown

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

C = TypeVar("C", bound=SourceConfiguration | DestinationConfiguration)
S = TypeVar("S", bound="AnyUrlKind")
D = TypeVar("D", bound="AnyUrlKind")


Complete: TypeAlias = Callable[[dict[str, object], Mapping[str, object], str, Reading], None]
"""Changes the values of a table by their keys; given the table as TOML has it, its path, and where
problems go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlKind(Generic[C]):
    """One kind of source or destination: all whose URLs have the same scheme."""

    scheme: str
    address: Address
    """What comes behind the scheme, and how it is read."""
    configuration: type[C]
    """Its keys and their values."""
    delivered: str
    """Of a source: what it takes, and when it answers.  Of a destination: what has happened when a
    message counts as delivered.  One line for the reference; Markdown."""
    medium: str
    """Two listeners with the same port in one medium are in each other's way, and what is sent
    only arrives at sources of the same medium."""
    shared: bool = False
    """Several sources may read, or destinations write, in the same place."""
    several: bool = False
    """A destination may have several targets."""
    arrives: Callable[[Url, Url], bool] | None = None
    """Whether a source, the first URL, gets what is sent to the second one; None = hosts and ports
    tell."""
    meetings: Callable[[Sequence[Url]], Iterable[tuple[int, int]]] | None = None
    """Which destinations may write in the same place: pairs of indexes, the smaller one first;
    None = those whose paths are the same."""
    foreign_names: tuple[str, ...] = ()
    """What other programs call the scheme."""
    chosen_by: str = ""
    """A key whose value may be the scheme of another kind, which it is of then."""
    complete: Complete | None = None
    """Derives values from several keys of a file, before `configuration` is made of them."""

    @property
    def keys(self) -> dict[str, Key]:
        return keys_of(self.configuration)

    @property
    def members(self) -> tuple[Member, ...]:
        """Of a set of listeners."""
        return ()

    def configured(self, url: Url, values: Mapping[str, object]) -> C:
        """The configuration of one source or destination at `url`.

        Args:
            values: By key, and the id.
        """
        place = "listen" if issubclass(self.configuration, SourceConfiguration) else "connect"
        return compose(self.configuration, {**values, place: url})


AnyUrlKind: TypeAlias = UrlKind[Any]


@dataclass(frozen=True, slots=True)
class Member:
    """One listener of a set: a source like any other."""

    name: str
    kind: AnyUrlKind
    port: int
    """Where it listens if nothing else is said."""

    @property
    def port_key(self) -> str:
        """The key that says otherwise."""
        return f"{self.name.replace('-', '_')}_port"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSet:
    """Sources that listen in several places: what other programs open by one word.

    A member has the id of the set, a dot and its own name: that is how it is counted and named.
    """

    scheme: str
    members: tuple[Member, ...]
    delivered: str
    address: Address = Host()
    foreign_names: tuple[str, ...] = ()
    chosen_by: str = ""

    @property
    def keys(self) -> dict[str, Key]:
        """The ports of its members, and the keys that any of them takes."""
        ports = {
            member.port_key: Key(
                Whole(0, 65535), member.port, f"of the listener `{member.name}`; 0 = do not open it"
            )
            for member in self.members
        }
        of_members = {
            name: key for member in self.members for name, key in member.kind.keys.items()
        }
        return {**of_members, **ports}


AnyKind: TypeAlias = AnyUrlKind | ListenerSet
AnyKinds: TypeAlias = "Kinds[Any, Any]"

Problems: TypeAlias = Callable[[TlsConfiguration, Where], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the file sources and destinations are written, by their ids."""

    members: dict[str, tuple[str, ...]]
    """The ids of the sources that each set of listeners consists of."""
    port_keys: dict[str, str]
    """What decides where a member listens, by its id."""

    def source(self, id: str) -> str:
        """The path of its table."""
        for set_id, members in self.members.items():
            if id in members:
                return join_path("sources", set_id)
        return join_path("sources", id)

    def listen(self, id: str) -> str:
        """The path of what says where a source listens."""
        return self.port_keys.get(id) or f"{join_path('sources', id)}.listen"


@dataclass(frozen=True, slots=True)
class Checks:
    """What finds out what is wrong with values by trying what they are for."""

    listener_tls: Problems
    upstream_tls: Problems
    tls_files: Problems
    """What is wrong with the content of the files, which may change while the relay runs."""
    problems: Callable[[Configuration, Places, AnyKinds, bool], Iterable[str]]
    """What is wrong with the whole.

    Its last argument is false if something is wrong with a part already: then conflicts may be
    seen that are not there.
    """
    warnings: Callable[[Configuration, Places], Iterable[str]]
    """What works, but hardly as meant."""


@dataclass(frozen=True)
class Kinds(Generic[S, D]):
    """All kinds that there are, each once; errors and the reference list them in this order."""

    sources: tuple[S, ...]
    destinations: tuple[D, ...]
    sets: tuple[ListenerSet, ...]
    checks: Checks

    def by_scheme(self, role: Role) -> dict[str, AnyKind]:
        if role == "listen":
            kinds: tuple[AnyKind, ...] = (*self.sources, *self.sets)
        else:
            kinds = self.destinations
        return {kind.scheme: kind for kind in kinds}

    def url(self, text: str, role: Role, *, base_dir: str) -> Url:
        """Read `text` as a place to listen or to connect.

        Args:
            base_dir: Directory for relative paths; the result is absolute.

        Raises:
            ValueError: One line: what was found, what is allowed, what to write.
        """
        other: Role = "connect" if role == "listen" else "listen"
        kinds, others = self.by_scheme(role), self.by_scheme(other)
        *some, last = kinds
        allowed = f"{', '.join(some)} or {last}"
        scheme, colon, rest = text.partition(":")
        scheme, is_known = scheme.lower(), scheme.lower() in {**kinds, **others}
        if not colon or not _SCHEME.fullmatch(scheme) or not (is_known or rest.startswith("/")):
            raise ValueError(
                f"{url_shown(text)} has no scheme; write one of {allowed} and :// before it"
            )
        if not is_known:
            # Before the nearest word: "relps" is nearest to "relp" by letters, and to follow that
            # advice would turn encryption off.
            meant = [name for name, kind in kinds.items() if scheme in kind.foreign_names]
            near = [*meant, *get_close_matches(scheme, kinds, n=1)]
            question = f", did you mean {near[0]!r}?" if near else ";"
            raise ValueError(f"unknown scheme {scheme!r}{question} {role} takes {allowed}")
        if scheme not in kinds:
            only = "connected to" if role == "listen" else "listened on"
            raise ValueError(f"{scheme} can only be {only}; {role} takes one of {allowed}")
        return kinds[scheme].address.read(scheme, rest, role, base_dir)

    def urls(self, texts: Sequence[str], role: Role, *, base_dir: str) -> list[Url]:
        """Read `texts` as the targets of one destination, or as the one place of a source.

        Raises:
            ValueError: As `url`; or they cannot be targets of one destination.
        """
        urls = [self.url(text, role, base_dir=base_dir) for text in texts]
        first, *others = urls
        kinds = [kind.scheme for kind in self.destinations if kind.several]
        if others and first.scheme not in kinds:
            several = ", ".join(kinds)
            raise ValueError(
                f"{first.scheme} has one target only; a list is for {several}: write one URL"
            )
        for number, url in enumerate(others, start=1):
            if url.scheme != first.scheme:
                raise ValueError(
                    f"{url} is not of the same kind as {first}; write {first.scheme}:// for all "
                    "targets, or another destination"
                )
            if url in urls[:number]:
                raise ValueError(f"{url} is in the list twice; remove one of them")
        return urls

    def source(self, scheme: str) -> S:
        return next(kind for kind in self.sources if kind.scheme == scheme)

    def destination(self, scheme: str) -> D:
        return next(kind for kind in self.destinations if kind.scheme == scheme)

    def named_in(self, table: Mapping[str, object], role: Role) -> AnyKind | None:
        """The kind that a table is for; None if its URL has no known scheme."""
        kind = self._named_by_url(table, role)
        if kind and (chosen := str(table.get(kind.chosen_by, ""))):
            return self.by_scheme(role).get(chosen, kind)
        return kind

    def _named_by_url(self, table: Mapping[str, object], role: Role) -> AnyKind | None:
        urls = table.get(role, "")
        url = urls[0] if isinstance(urls, list) and urls else urls
        return self.by_scheme(role).get(str(url).partition(":")[0].lower())

    def schema(self, role: Role, kind: AnyKind | None) -> dict[str, Readable]:
        """What the keys of a table may hold: those of all kinds, as `kind` has them."""
        keys = _NO_SETTINGS[role].copy()
        for each in (*self.by_scheme(role).values(), *([kind] if kind else [])):
            keys |= {name: key.kind for name, key in each.keys.items()}
        return keys

    def fitting_keys(self, role: Role, kind: AnyKind | None) -> list[str]:
        """The keys that have a meaning for `kind`; all of them without one."""
        return [*_NO_SETTINGS[role], *kind.keys] if kind else list(self.schema(role, None))

    def schemes_with(self, key: str, role: Role) -> list[str]:
        """The schemes for which a key has a meaning; sets of listeners only if no other has."""
        having = [each for each in self.by_scheme(role).values() if key in each.keys]
        schemes = [each.scheme for each in having if not each.members]
        return schemes or [each.scheme for each in having]

    def foreign_keys(self, table: Mapping[str, object], role: Role, path: str) -> Iterator[str]:
        """A problem for each key of `table` that has no meaning for its kind."""
        by_url, kind = self._named_by_url(table, role), self.named_in(table, role)
        for key in table:
            if not by_url or not kind or key == by_url.chosen_by:
                continue
            if key in kind.keys or key in _NO_SETTINGS[role]:
                continue
            if schemes := self.schemes_with(key, role):  # or else the key is an unknown one
                yield (
                    f"{join_path(path, key)}: has no meaning for {kind.scheme}, only for "
                    f"{' and '.join(schemes)}; remove it or change the URL"
                )


_NO_SETTINGS: Mapping[Role, dict[str, Readable]] = {
    "listen": {"listen": Text("a URL such as tcp://0.0.0.0:514", r".+")},
    "connect": {
        "connect": OneOrMore("a URL such as relp://central.example.com:20514"),
        "template": TemplateOnly(),
    },
}
"""Keys that are no fields of the configuration of any kind."""
