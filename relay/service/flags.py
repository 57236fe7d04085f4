"""Make a configuration from command line flags, for a relay without a file."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from relay.model.errors import ConfigurationError
from relay.model.token import Token
from relay.service.checks.conflicts import control_socket_problems, find_conflicts
from relay.service.configuration.kinds import AnyKinds, ListenerSet
from relay.service.configuration.model import (
    DEFAULT_STATE_DIR,
    RELAY_NAME,
    Configuration,
    RewriteConfiguration,
    SourceConfiguration,
    TlsConfiguration,
    UnreadToken,
    Url,
)
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.table import Choice
from relay.service.configuration.tables.rewrite import REWRITE_MODES, TOKEN_MODES, read_token
from relay.service.configuration.url import Role, id_from_url, url_shown


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
    reading = Reading(base_dir)
    listening = _urls("--listen", listen, "listen", kinds, reading)
    forwarding = _urls("--forward", forward, "connect", kinds, reading)
    sources = _sources(listening, kinds, reading)
    values = {
        "sources": tuple(listening),
        "rewrite": RewriteConfiguration(given.rewrite, _token(given, reading)),
        "trusted_ca": reading.absolute(given.trusted_ca) if given.trusted_ca else "",
    }
    destinations = tuple(
        kinds.destination(url.scheme).configured(url, {**values, "id": id})
        for id, url in forwarding.items()
    )
    _check_tls([each.tls for each in destinations if each.tls is not None], given, kinds, reading)
    reading.problems += find_conflicts(
        sources,
        destinations,
        kinds,
        name_source=lambda id: f"--listen {listening[id]}",
        name_destination=lambda id: f"--forward {forwarding[id]}",
    )
    name = ""
    with suppress(Reported):
        name = reading.read(RELAY_NAME, given.name or socket.gethostname(), "--name")
    state_dir = reading.absolute(given.state_dir or DEFAULT_STATE_DIR)
    reading.problems += control_socket_problems("--state-dir", state_dir)
    if reading.problems:
        raise ConfigurationError(reading.problems)
    return Configuration(
        name=name,
        state_dir=state_dir,
        sources=sources,
        destinations=destinations,
        warnings=tuple(reading.warnings),
    )


def _sources(
    listening: Mapping[str, Url], kinds: AnyKinds, reading: Reading
) -> tuple[SourceConfiguration, ...]:
    sources: list[SourceConfiguration] = []
    for id, url in listening.items():
        kind = kinds.by_scheme("listen")[url.scheme]
        if isinstance(kind, ListenerSet):
            what = f"--listen {url.scheme}: opens a TLS listener, which"
        else:
            what = f"--listen {url}: a TLS listener"
            sources.append(kind.configured(url, {"id": id}))
            if sources[-1].tls is None:
                continue
        reading.problems.append(
            f"{what} needs a certificate, and flags cannot give one; use a configuration file with "
            "--config"
        )
    return tuple(sources)


def _check_tls(
    encrypted: Sequence[TlsConfiguration], given: OtherFlags, kinds: AnyKinds, reading: Reading
) -> None:
    if encrypted and given.trusted_ca:
        reading.problems += kinds.checks.upstream_tls(
            encrypted[0], lambda key: f"--{key.replace('_', '-')}"
        )
    elif given.trusted_ca:
        urls = " or ".join(f"{each}://" for each in kinds.schemes_with("trusted_ca", "connect"))
        problem = f"has no meaning without a --forward to {urls}; remove it"
        reading.add("--trusted-ca", problem)


def _urls(
    flag: str, texts: Sequence[str], role: Role, kinds: AnyKinds, reading: Reading
) -> dict[str, Url]:
    """The URLs of a repeated flag by id, in the order given."""
    if not texts:
        example = "udp://:514" if role == "listen" else "relp://central.example.com:20514"
        reading.add(flag, f"there is none; add at least one, such as {flag} {example}")
    urls: dict[str, Url] = {}
    for text in texts:
        try:
            url = kinds.url(text, role, base_dir=reading.base_dir)
        except ValueError as error:
            reading.add(f"{flag} {url_shown(text)}", str(error))
            continue
        if urls.setdefault(id_from_url(url), url) is not url:
            reading.add(f"{flag} {url}", "is given twice; remove one")
    return urls


def _token(given: OtherFlags, reading: Reading) -> Token | UnreadToken | None:
    with suppress(Reported):
        mode = reading.read(Choice(REWRITE_MODES), given.rewrite, "--rewrite")
        if mode in TOKEN_MODES and given.token_file:
            place = UnreadToken("", file=reading.absolute(given.token_file))
            reading.note_secret(place.file, "--token-file", is_token=True)
            try:
                return read_token(mode, place)
            except ValueError as error:
                return replace(place, problem=str(error))
        if mode in TOKEN_MODES:
            reading.add("--rewrite", f"mode {mode!r} needs a token; add --token-file FILE")
        elif given.token_file:
            reading.add(
                "--token-file",
                f"has no meaning for --rewrite {mode}, only for {', '.join(TOKEN_MODES)}; "
                "remove it or change the mode",
            )
    return None
