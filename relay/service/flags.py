"""Make a configuration from command line flags, for a relay without a file."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from relay.model.errors import ConfigurationError
from relay.model.token import Token
from relay.service.checks.conflicts import control_socket_problems, find_conflicts
from relay.service.configuration.kinds import AnyKinds, ListenerSet
from relay.service.configuration.model import (
    DEFAULT_STATE_DIR,
    RELAY_NAME,
    Configuration,
    DestinationConfiguration,
    RewriteConfiguration,
    SourceConfiguration,
    UnreadToken,
    Url,
)
from relay.service.configuration.reading import Reading
from relay.service.configuration.rewrite_table import REWRITE_MODES, TOKEN_MODES, read_token
from relay.service.configuration.table import Choice
from relay.service.configuration.url import Role, id_from_url, url_shown

__all__ = ["OtherFlags", "configuration_from_flags"]


@dataclass(frozen=True, slots=True)
class OtherFlags:
    """Flags beside those for URLs."""

    state_dir: str = ""
    """Empty = `DEFAULT_STATE_DIR`."""
    rewrite: str = "none"
    """Mode for every destination."""
    token_file: str = ""
    """For the modes that need a token."""
    name: str = ""
    """Empty = this host's name."""
    trusted_ca: str = ""
    """For destinations over TLS; empty = the system's."""


def configuration_from_flags(
    listen: Sequence[str],
    forward: Sequence[str],
    kinds: AnyKinds,
    given: OtherFlags,
    *,
    base_dir: str,
) -> Configuration:
    """Make the configuration that flags describe: every source feeds every destination.

    Ids come from the URLs (`id_from_url`), so a destination finds its queue again
    when other flags change.

    Args:
        listen: URLs of the sources.
        forward: URLs of the destinations.
        base_dir: Directory for relative paths, in URLs too.

    Raises:
        ConfigurationError: Every problem, one line each, beginning with its flag.
    """
    problems: list[str] = []
    listening = _urls("--listen", listen, "listen", kinds, base_dir, problems)
    forwarding = _urls("--forward", forward, "connect", kinds, base_dir, problems)
    sources = _sources(listening, kinds, problems)
    token = _token(given.rewrite, given.token_file, base_dir, problems)
    destinations = _destinations(
        forwarding,
        kinds,
        {
            "sources": tuple(listening),
            "rewrite": RewriteConfiguration(given.rewrite, token),
            "trusted_ca": _absolute(base_dir, given.trusted_ca) if given.trusted_ca else "",
        },
        problems,
    )
    problems += find_conflicts(
        sources,
        destinations,
        kinds,
        name_source=lambda id: f"--listen {listening[id]}",
        name_destination=lambda id: f"--forward {forwarding[id]}",
    )
    name = _name(given.name, problems)
    state_dir = _absolute(base_dir, given.state_dir or DEFAULT_STATE_DIR)
    problems += control_socket_problems("--state-dir", state_dir)
    if problems:
        raise ConfigurationError(problems)
    return Configuration(
        name=name,
        state_dir=state_dir,
        sources=sources,
        destinations=destinations,
        warnings=_warnings(given.token_file, base_dir),
    )


def _warnings(token_file: str, base_dir: str) -> tuple[str, ...]:
    if not token_file:
        return ()
    reading = Reading()
    reading.note_secret(_absolute(base_dir, token_file), "--token-file", is_token=True)
    return tuple(reading.warnings)


def _sources(
    listening: Mapping[str, Url], kinds: AnyKinds, problems: list[str]
) -> tuple[SourceConfiguration, ...]:
    sources: list[SourceConfiguration] = []
    known = kinds.by_scheme("listen")
    for id, url in listening.items():
        kind = known[url.scheme]
        if isinstance(kind, ListenerSet):
            problems.append(
                f"--listen {url.scheme}: opens a TLS listener, which needs a certificate, and "
                "flags cannot give one; use a configuration file with --config"
            )
            continue
        source = kind.configured(url, {"id": id})
        if source.tls is not None:
            problems.append(
                f"--listen {url}: a TLS listener needs a certificate, and flags cannot give one; "
                "use a configuration file with --config"
            )
        sources.append(source)
    return tuple(sources)


def _destinations(
    forwarding: Mapping[str, Url],
    kinds: AnyKinds,
    values: Mapping[str, object],
    problems: list[str],
) -> tuple[DestinationConfiguration, ...]:
    destinations: list[DestinationConfiguration] = [
        kinds.destination(url.scheme).configured(url, {**values, "id": id})
        for id, url in forwarding.items()
    ]
    encrypted = [each.tls for each in destinations if each.tls is not None]
    if encrypted and encrypted[0].trusted_ca:
        problems += kinds.checks.upstream_tls(
            encrypted[0], lambda key: f"--{key.replace('_', '-')}"
        )
    elif values["trusted_ca"]:
        having = [kind.scheme for kind in kinds.destinations if "trusted_ca" in kind.keys]
        problems.append(
            "--trusted-ca: has no meaning without a --forward to "
            f"{' or '.join(f'{scheme}://' for scheme in having)}; remove it"
        )
    return tuple(destinations)


def _urls(
    flag: str,
    texts: Sequence[str],
    role: Role,
    kinds: AnyKinds,
    base_dir: str,
    problems: list[str],
) -> dict[str, Url]:
    """The URLs of a repeated flag by id, in the order given."""
    if not texts:
        example = "udp://:514" if role == "listen" else "relp://central.example.com:20514"
        problems.append(f"{flag}: there is none; add at least one, such as {flag} {example}")
    urls: dict[str, Url] = {}
    for text in texts:
        try:
            url = kinds.url(text, role, base_dir=base_dir)
        except ValueError as error:
            problems.append(f"{flag} {url_shown(text)}: {error}")
            continue
        if urls.setdefault(id_from_url(url), url) is not url:
            problems.append(f"{flag} {url}: is given twice; remove one")
    return urls


def _token(
    mode: str, token_file: str, base_dir: str, problems: list[str]
) -> Token | UnreadToken | None:
    try:
        Choice(REWRITE_MODES).read(mode)
    except ValueError as error:
        problems.append(f"--rewrite: {error}")
        return None
    if mode not in TOKEN_MODES:
        if token_file:
            problems.append(
                f"--token-file: has no meaning for --rewrite {mode}, only for "
                f"{', '.join(TOKEN_MODES)}; remove it or change the mode"
            )
        return None
    if not token_file:
        problems.append(f"--rewrite: mode {mode!r} needs a token; add --token-file FILE")
        return None
    place = UnreadToken("", file=_absolute(base_dir, token_file))
    try:
        return read_token(mode, place)
    except ValueError as error:
        return replace(place, problem=str(error))


def _name(name: str, problems: list[str]) -> str:
    try:
        return str(RELAY_NAME.read(name or socket.gethostname()))
    except ValueError as error:
        problems.append(f"--name: {error}")
        return ""


def _absolute(base_dir: str, path: str) -> str:
    return os.path.normpath(os.path.join(base_dir, path))
