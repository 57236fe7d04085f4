"""Find what does not fit together: apps, sources that authorise, and destinations of apps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations

from relay.service.configuration.kinds import AnyKinds, Places
from relay.service.configuration.model import (
    AppConfiguration,
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    TlsConfiguration,
)
from relay.service.configuration.table import join_path, unknown_name
from relay.service.tls.files import policy_problems
from relay.transport.tls.peer_check import parse_fingerprint

_TLS_KEYS = {"peer_names": "tls_names", "peer_fingerprints": "tls_fingerprints"}


def _place(where: str, key: str) -> str:
    return f"{where}.{_TLS_KEYS.get(key, key)}"


def app_policy_problems(apps: Sequence[AppConfiguration]) -> Iterator[str]:
    """What is wrong with the certificates that authorise messages."""
    for app in apps:
        where = join_path("apps", app.id)
        tls = TlsConfiguration(peer_names=app.tls_names, peer_fingerprints=app.tls_fingerprints)
        yield from policy_problems(tls, partial(_place, where))


def app_problems(configuration: Configuration, places: Places, kinds: AnyKinds) -> list[str]:
    """What does not fit together: apps, the sources that authorise, the destinations of apps."""
    apps, sources = configuration.apps, configuration.sources
    groups: dict[str, list[SourceConfiguration]] = {}  # by the paths of their tables
    for source in sources:
        groups.setdefault(places.source(source.id), []).append(source)
    problems = [*_shared(apps)]
    for where, group in groups.items():
        if apps:
            problems += _source_problems(apps, where, group, kinds)
        elif group[0].authorise:
            problems.append(
                f"{where}.authorise: there is no app to authorise messages for; add at least one "
                "table [apps.ID]"
            )
    if apps and not any(source.authorise for source in sources):
        problems.append(
            "apps: no source asks for them, so every message would be taken; add for example "
            'authorise = ["token"] to a source, or remove the apps'
        )
    for destination in configuration.destinations:
        problems += _destination_problems(apps, sources, destination)
    return problems or [*_lost(apps, groups, configuration.destinations)]


def _shared(apps: Sequence[AppConfiguration]) -> Iterator[str]:
    """What two apps have both, so that nothing says whose a message is."""
    for first, second in combinations(apps, 2):
        where = join_path("apps", second.id)
        for what, ours, theirs in (
            ("the token", first.tokens, second.tokens),
            ("the network", first.networks, second.networks),
            ("the name", first.tls_names, second.tls_names),
            ("the fingerprint", _fingerprints(first), _fingerprints(second)),
        ):
            for each in theirs:
                if each in ours:
                    yield (
                        f"{where}: {what} {each} is that of {join_path('apps', first.id)} as "
                        "well; remove it from one of them"
                    )


def _fingerprints(app: AppConfiguration) -> list[str]:
    """As everything that shows fingerprints writes them."""
    return [str(parse_fingerprint(text)) for text in app.tls_fingerprints]


def _source_problems(
    apps: Sequence[AppConfiguration],
    where: str,
    group: Sequence[SourceConfiguration],
    kinds: AnyKinds,
) -> Iterator[str]:
    """What keeps a source, or each listener of a set, from authorising."""
    first = group[0]
    if not first.authorise:
        for key in ("unauthorised", "keep_tokens"):
            if getattr(first, key) != getattr(SourceConfiguration("", first.listen), key):
                yield f"{where}.{key}: has no meaning without authorise; add that or remove this"
        return
    schemes = ", ".join(dict.fromkeys(source.listen.scheme for source in group))
    encrypted = [source.tls for source in group if source.tls is not None]
    found: list[str] = []
    if "tls-name" in first.authorise and not encrypted:
        having = [kind.scheme for kind in kinds.sources if "peer_names" in kind.keys]
        found.append(
            f"tls-name has no meaning for {schemes}, only for {' and '.join(having)}; remove it "
            "or change the URL"
        )
    elif "tls-name" in first.authorise and all(tls.peer_verify == "none" for tls in encrypted):
        found.append(
            'tls-name has no meaning with peer_verify = "none", which asks no peer for a '
            "certificate; remove one of them"
        )
    if "network" in first.authorise and first.is_local_socket:
        found.append(
            f"network has no meaning for {schemes}, where senders have no address; remove it"
        )
    if not found and not any(_given(apps, source) for source in group):
        found.append(
            f"no app has anything for {', '.join(first.authorise)}, so every message would be "
            "refused; add it to an app or authorise in another way"
        )
    yield from (f"{where}.authorise: {problem}" for problem in found)


def _destination_problems(
    apps: Sequence[AppConfiguration],
    sources: Sequence[SourceConfiguration],
    destination: DestinationConfiguration,
) -> Iterator[str]:
    where = f"{join_path('destinations', destination.id)}.apps"
    known = [app.id for app in apps]
    feeding = [source for source in sources if source.id in destination.sources]
    given = {id for source in feeding for id in _given(apps, source)}
    for id in destination.apps:
        if id not in known:
            yield f"{where}: {unknown_name('app', id, known)}"
        elif id not in given:
            names = ", ".join(destination.sources)
            yield (
                f"{where}: no message of {id!r} can come from {names}; add what authorises it "
                "there, or remove it here"
            )


def _lost(
    apps: Sequence[AppConfiguration],
    groups: Mapping[str, Sequence[SourceConfiguration]],
    destinations: Sequence[DestinationConfiguration],
) -> Iterator[str]:
    """Apps whose messages come in and go nowhere."""
    if not any(destination.apps for destination in destinations):
        return
    for where, group in groups.items():
        missing: dict[str, None] = {}
        for source in group:
            fed = [each for each in destinations if source.id in each.sources]
            for app in _given(apps, source) if source.authorise else ("",):
                if fed and not any(not each.apps or app in each.apps for each in fed):
                    missing[app] = None
        for app in missing:
            if app:
                yield (
                    f"{where}: no destination takes its messages of the app {app!r}, so they would "
                    "be lost; add it to the apps of one"
                )
            else:
                yield (
                    f"{where}: it has no authorise and feeds only destinations with apps, so its "
                    "messages would be lost; add authorise, or feed a destination without apps"
                )


def _given(apps: Sequence[AppConfiguration], source: SourceConfiguration) -> list[str]:
    """The apps that messages of `source` can be authorised for."""
    ways = source.authorise
    return [
        app.id
        for app in apps
        if ("token" in ways and app.tokens)
        or ("network" in ways and app.networks)
        or (
            "tls-name" in ways
            and source.tls is not None
            and (app.tls_names or app.tls_fingerprints)
        )
    ]
