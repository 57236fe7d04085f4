"""Find sources and destinations that are right one by one and wrong together."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from relay.service.configuration.kinds import AnyKinds, AnyUrlKind
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    Url,
)
from relay.service.configuration.url import UNIX_PATH_BYTES_MAX, address_of


def find_conflicts(
    sources: Sequence[SourceConfiguration],
    destinations: Sequence[DestinationConfiguration],
    kinds: AnyKinds,
    *,
    name_source: Callable[[str], str],
    name_destination: Callable[[str], str],
) -> Iterator[str]:
    """Listeners in each other's way, files written twice, lost messages and loops.

    Args:
        name_source: Turns a source's id into what the administrator wrote: the
            dotted path of its URL, or the flag.
        name_destination: The same for a destination.

    Yields:
        One line for each problem.
    """
    for one, other in _neighbours(sources):
        pair = [kinds.source(each.listen.scheme) for each in (one, other)]
        if _same_place(one.listen, other.listen, pair):
            yield (
                f"{name_source(other.id)}: {other.listen} is already taken by "
                f"{name_source(one.id)} ({one.listen}); choose another one"
            )
    for one_at, other_at, is_same in _writers(destinations, kinds):
        first, second = destinations[one_at], destinations[other_at]
        here, there = first.connect, second.connect
        if is_same:
            yield (
                f"{name_destination(second.id)}: {there} is already written by "
                f"{name_destination(first.id)}; choose another file"
            )
        else:
            yield (
                f"{name_destination(second.id)}: {there} may name the same files as {here} of "
                f"{name_destination(first.id)}; put a word into one of them that the other has not"
            )
    fed = {id for destination in destinations for id in destination.sources}
    for source in sources:
        if source.id not in fed and destinations:
            yield (
                f"{name_source(source.id)}: feeds no destination, so its messages would be lost; "
                f"add {source.id!r} to the sources of one"
            )
    yield from _loops(sources, destinations, kinds, name_destination)


def _neighbours(
    sources: Sequence[SourceConfiguration],
) -> Iterator[tuple[SourceConfiguration, SourceConfiguration]]:
    """The pairs that can be at the same place, in their order: of 1,000 sources few of 499,500."""
    by_place = defaultdict[tuple[str, str, int], list[int]](list)
    for at, source in enumerate(sources):
        url = source.listen
        port = 0 if url.inherited or url.local_path else url.port
        by_place[url.inherited, "" if url.inherited else url.local_path, port].append(at)
    for one, other in sorted(pair for at in by_place.values() for pair in combinations(at, 2)):
        yield sources[one], sources[other]


def _writers(
    destinations: Sequence[DestinationConfiguration], kinds: AnyKinds
) -> list[tuple[int, int, bool]]:
    """The pairs of destinations that write in one place, in their order, as indexes.

    The last is whether their paths are the same; otherwise they may name the same files.
    """
    by_path, by_scheme = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for at, destination in enumerate(destinations):
        url = destination.connect
        if url.local_path:
            by_path[url.local_path].append(at)
        by_scheme[url.scheme].append(at)
    found: dict[tuple[int, int], bool] = {}
    for scheme, indexes in by_scheme.items():
        if (meetings := kinds.destination(scheme).meetings) is not None:
            urls = [destinations[at].connect for at in indexes]
            found |= {(indexes[one], indexes[other]): False for one, other in meetings(urls)}
    for indexes in by_path.values():
        for one, other in combinations(indexes, 2):
            if not kinds.destination(destinations[one].connect.scheme).shared:
                found[one, other] = True
    return sorted((*pair, is_same) for pair, is_same in found.items())


def web_conflicts(
    configuration: Configuration, kinds: AnyKinds, name_source: Callable[[str], str]
) -> Iterator[str]:
    """A problem for each source that listens where the web server is to."""
    if configuration.web is None:
        return
    listen = configuration.web.listen
    for source in configuration.sources:
        pair = [kinds.source(url.scheme) for url in (source.listen, listen)]
        if _same_place(source.listen, listen, pair):
            yield (
                f"web.listen: {listen} is already taken by {name_source(source.id)} "
                f"({source.listen}); choose another port"
            )


def control_socket_problems(key: str, state_dir: str) -> list[str]:
    """A problem if the control socket in `state_dir` would have too long a name for a socket.

    Args:
        key: What the administrator wrote it under.
    """
    bytes_max = UNIX_PATH_BYTES_MAX - len("/control.sock")
    size = len(os.fsencode(state_dir))
    if size <= bytes_max:
        return []
    return [
        f"{key}: {state_dir} has {size} bytes; the control socket in it leaves room for "
        f"{bytes_max}: choose a shorter path"
    ]


def _same_place(one: Url, other: Url, kinds: Sequence[AnyUrlKind]) -> bool:
    if any(kind.shared for kind in kinds):
        return False
    if one.inherited or other.inherited:
        return one.inherited == other.inherited
    if one.local_path or other.local_path:
        return one.local_path == other.local_path
    if one.port != other.port or one.port == 0 or kinds[0].medium != kinds[1].medium:
        return False
    return one.host == other.host or _covers(one.host, other.host) or _covers(other.host, one.host)


def _covers(wildcard: str, host: str) -> bool:
    """Whether a socket on `wildcard` leaves no room for one on `host`.

    Names are not looked up, so for them only the start can tell.
    """
    if wildcard == "":
        return True
    address = address_of(host)
    return address is not None and wildcard == ("0.0.0.0" if address.version == 4 else "::")


def _loops(
    sources: Sequence[SourceConfiguration],
    destinations: Sequence[DestinationConfiguration],
    kinds: AnyKinds,
    name: Callable[[str], str],
) -> Iterator[str]:
    """Destinations whose messages come back to them, directly or through others."""
    by_id = {source.id: source for source in sources}
    # From each destination: (own source that it reaches, destination which that one feeds).
    feeds: dict[str, list[tuple[str, str]]] = {}
    fed_by = defaultdict[str, list[str]](list)
    for destination in destinations:
        for id in destination.sources:
            fed_by[id].append(destination.id)
    for destination in destinations:
        reached = [
            id
            for id, source in by_id.items()
            if any(_arrives(url, source.listen, kinds) for url in destination.targets)
        ]
        feeds[destination.id] = [(id, fed) for id in reached for fed in fed_by.get(id, ())]
    reported: set[frozenset[str]] = set()
    for destination in destinations:
        way = _way_back(destination.id, feeds)
        members = frozenset(id for _, id in way)
        if way and members not in reported:
            reported.add(members)
            steps = ", ".join(f"source {source!r} feeds {id!r}" for source, id in way)
            listen = by_id[way[0][0]].listen
            url = next(url for url in destination.targets if _arrives(url, listen, kinds))
            what = f"{url} is {_whose(destination)}"
            yield (
                f"{name(destination.id)}: {what} and messages "
                f"would go round for ever ({steps}); give the sources of {destination.id!r} "
                f"without {way[-1][0]!r}"
            )


def _whose(destination: DestinationConfiguration) -> str:
    return "read by this relay" if destination.connect.local_path else "this relay itself"


def _way_back(start: str, feeds: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """A shortest chain of steps from `start` to itself; empty if there is none."""
    ways: list[list[tuple[str, str]]] = [[step] for step in feeds[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        here = way[-1][1]
        if here == start:
            return way
        if here not in seen:
            seen.add(here)
            ways += [[*way, step] for step in feeds[here]]
    return []


def _arrives(connect: Url, listen: Url, kinds: AnyKinds) -> bool:
    """Whether `connect` surely ends at `listen`: this host, same port, same kind of socket.

    Or the file that is written is one that is read.
    """
    source, destination = kinds.source(listen.scheme), kinds.destination(connect.scheme)
    if source.medium != destination.medium:
        return False
    if source.arrives is not None:
        return bool(source.arrives(listen, connect))
    if connect.local_path or listen.local_path or connect.port != listen.port:
        return False
    if connect.host == listen.host:
        return True
    if not is_loopback(connect.host):
        return False
    if "localhost" in (connect.host, listen.host):
        return listen.host in ("", "0.0.0.0", "::") or is_loopback(listen.host)
    return _covers(listen.host, connect.host)


def is_loopback(host: str) -> bool:
    if (address := address_of(host)) is None:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 §6.3
    # Linux takes a connection to the unspecified address to this host.
    return address.is_loopback or address.is_unspecified
