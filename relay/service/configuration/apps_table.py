"""Read the apps that messages can be authorised for, and find what does not fit together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from relay.model.token import Token
from relay.service.configuration.model import (
    AppConfiguration,
    DestinationConfiguration,
    SourceConfiguration,
    TlsConfiguration,
)
from relay.service.configuration.rewrite_table import token_from_environment, token_from_file
from relay.service.configuration.schema import APP, ID
from relay.service.configuration.table import did_you_mean, join_path, read_table, shown
from relay.service.tls.files import policy_problems
from relay.transport.tls.peer_check import parse_fingerprint

__all__ = ["app_problems", "read_apps"]

_TOKEN_KEYS = ("token_file", "token_files", "token_env")
_TLS_KEYS = {"peer_names": "tls_names", "peer_fingerprints": "tls_fingerprints"}


def read_apps(
    values: object, *, base_dir: str, problems: list[str]
) -> tuple[AppConfiguration, ...]:
    """Read the tables below ``apps``.

    Args:
        values: What TOML gave for ``apps``.
        base_dir: Directory for relative token files.
        problems: One line is appended for each thing that is wrong.

    Returns:
        An app for each table, even if its content is bad.
    """
    if not isinstance(values, dict):
        problems.append(f"apps: expected tables [apps.ID], found {shown(values)}")
        return ()
    apps = []
    for id, content in values.items():
        where = join_path("apps", id)
        try:
            ID.read(id)
        except ValueError as error:
            problems.append(f"{where}: {error}")
        apps.append(_read_app(id, content, where, base_dir, problems))
    return tuple(apps)


def app_problems(
    apps: Sequence[AppConfiguration],
    sources: Sequence[SourceConfiguration],
    destinations: Sequence[DestinationConfiguration],
    *,
    members: Mapping[str, tuple[str, ...]],
) -> list[str]:
    """What does not fit together: apps, the sources that authorise, the destinations of apps.

    Args:
        members: The ids of the sources that each set of listeners consists of.
    """
    written = {member: id for id, ids in members.items() for member in ids}
    groups: dict[str, list[SourceConfiguration]] = {}
    for source in sources:
        groups.setdefault(written.get(source.id, source.id), []).append(source)
    if not apps:
        problems = [
            f"{join_path('sources', id)}.authorise: there is no app to authorise messages for; "
            "add at least one table [apps.ID]"
            for id, group in groups.items()
            if group[0].authorise
        ]
    else:
        problems = [*_shared(apps)]
        for id, group in groups.items():
            problems += _source_problems(apps, join_path("sources", id), group)
        if not any(source.authorise for source in sources):
            problems.append(
                "apps: no source asks for them, so every message would be taken; add for example "
                'authorise = ["token"] to a source, or remove the apps'
            )
    for destination in destinations:
        problems += _destination_problems(apps, sources, destination)
    return problems or [*_lost(apps, groups, destinations)]


def _read_app(
    id: str, content: object, where: str, base_dir: str, problems: list[str]
) -> AppConfiguration:
    known = len(problems)
    table = read_table(content, APP, where, problems)
    tls = TlsConfiguration(
        peer_names=table.get("tls_names", ()),
        peer_fingerprints=table.get("tls_fingerprints", ()),
    )
    problems += policy_problems(tls, lambda key: f"{where}.{_TLS_KEYS.get(key, key)}")
    tokens = _read_tokens(table, where, base_dir, problems)
    if len(problems) > known:
        return AppConfiguration(id)
    app = AppConfiguration(
        id,
        tokens=tokens,
        networks=table.get("networks", ()),
        tls_names=tls.peer_names,
        tls_fingerprints=tuple(str(parse_fingerprint(text)) for text in tls.peer_fingerprints),
    )
    if app == AppConfiguration(id):
        problems.append(
            f"{where}: nothing authorises a message for it; add at least one of {', '.join(APP)}"
        )
    return app


def _read_tokens(
    table: Mapping[str, Any], where: str, base_dir: str, problems: list[str]
) -> tuple[Token, ...]:
    """The tokens that the keys of an app name, none twice."""
    tokens: dict[Token, None] = {}
    for key in _TOKEN_KEYS:
        named = table.get(key, ())
        for name in (named,) if isinstance(named, str) else named:
            try:
                if key == "token_env":
                    token = token_from_environment(name)
                else:
                    token = token_from_file(os.path.join(base_dir, name))
            except ValueError as error:
                problems.append(f"{where}.{key}: {error}")
            else:
                tokens[token] = None
    return tuple(tokens)


def _shared(apps: Sequence[AppConfiguration]) -> Iterator[str]:
    """What two apps have both, so that nothing says whose a message is."""
    for first, second in combinations(apps, 2):
        where = join_path("apps", second.id)
        for what, ours, theirs in (
            ("the token", first.tokens, second.tokens),
            ("the network", first.networks, second.networks),
            ("the name", first.tls_names, second.tls_names),
            ("the fingerprint", first.tls_fingerprints, second.tls_fingerprints),
        ):
            for each in theirs:
                if each in ours:
                    yield (
                        f"{where}: {what} {each} is that of {join_path('apps', first.id)} as "
                        "well; remove it from one of them"
                    )


def _source_problems(
    apps: Sequence[AppConfiguration], where: str, group: Sequence[SourceConfiguration]
) -> Iterator[str]:
    """What keeps a source, or each listener of a set, from authorising."""
    first = group[0]
    if not first.authorise:
        for key in ("unauthorised", "keep_tokens"):
            if getattr(first, key) != getattr(SourceConfiguration("", first.listen), key):
                yield f"{where}.{key}: has no meaning without authorise; add that or remove this"
        return
    schemes = ", ".join(dict.fromkeys(source.listen.scheme for source in group))
    found = False
    if "tls-name" in first.authorise and not any(source.listen.is_tls for source in group):
        found = True
        yield (
            f"{where}.authorise: tls-name has no meaning for {schemes}, only for tls and relp+tls; "
            "remove it or change the URL"
        )
    elif "tls-name" in first.authorise and all(
        source.tls.peer_verify == "none" for source in group if source.listen.is_tls
    ):
        found = True
        yield (
            f'{where}.authorise: tls-name has no meaning with peer_verify = "none", which asks no '
            "peer for a certificate; remove one of them"
        )
    if "network" in first.authorise and first.listen.scheme in ("unix", "unixgram"):
        found = True
        yield (
            f"{where}.authorise: network has no meaning for {schemes}, where senders have no "
            "address; remove it"
        )
    if not found and not any(_given(apps, source) for source in group):
        yield (
            f"{where}.authorise: no app has anything for {', '.join(first.authorise)}, so every "
            "message would be refused; add it to an app or authorise in another way"
        )


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
            near = did_you_mean(id, known) or ";"
            yield (
                f"{where}: there is no app {shown(id)}{near} the apps are: "
                f"{', '.join(known) or 'none'}"
            )
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
    for id, group in groups.items():
        where = join_path("sources", id)
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
        or ("tls-name" in ways and source.listen.is_tls and (app.tls_names or app.tls_fingerprints))
    ]
