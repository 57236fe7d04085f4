"""Make a configuration from command line flags, for a relay without a file."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from relay.model.errors import ConfigurationError
from relay.model.token import Token
from relay.service.checks.conflicts import control_socket_problems, find_conflicts
from relay.service.configuration.file import (
    DEFAULT_STATE_DIR,
    default_frame_bytes_max,
    default_framing,
)
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    RewriteConfiguration,
    SourceConfiguration,
    TlsConfiguration,
    UnreadToken,
    Url,
)
from relay.service.configuration.reading import Reading
from relay.service.configuration.rewrite_table import REWRITE_MODES, TOKEN_MODES, read_token
from relay.service.configuration.schema import RELAY_NAME
from relay.service.configuration.table import Choice
from relay.service.configuration.url import Role, id_from_url, parse_url, url_shown
from relay.service.sources.listener_set import SET_SCHEMES
from relay.service.tls.files import upstream_problems

__all__ = ["configuration_from_flags"]


def configuration_from_flags(
    listen: Sequence[str],
    forward: Sequence[str],
    *,
    state_dir: str = "",
    rewrite: str = "none",
    token_file: str = "",
    base_dir: str,
    name: str = "",
    trusted_ca: str = "",
) -> Configuration:
    """Make the configuration that flags describe: every source feeds every destination.

    Ids come from the URLs (`id_from_url`), so a destination finds its queue again
    when other flags change.

    Args:
        listen: URLs of the sources.
        forward: URLs of the destinations.
        state_dir: Empty = `DEFAULT_STATE_DIR`.
        rewrite: Mode for every destination.
        token_file: For the modes that need a token.
        base_dir: Directory for relative paths, in URLs too.
        name: Empty = this host's name.
        trusted_ca: For destinations over TLS; empty = the system's.

    Raises:
        ConfigurationError: Every problem, one line each, beginning with its flag.
    """
    problems: list[str] = []
    listening = _urls("--listen", listen, "listen", base_dir, problems)
    forwarding = _urls("--forward", forward, "connect", base_dir, problems)
    sources = _sources(listening, problems)
    tls = _tls(trusted_ca, forwarding, base_dir, problems)
    rewriting = RewriteConfiguration(rewrite, _token(rewrite, token_file, base_dir, problems))
    destinations = tuple(
        DestinationConfiguration(
            id=id,
            connect=url,
            sources=tuple(listening),
            rewrite=rewriting,
            tls=tls if url.is_tls else TlsConfiguration(),
            framing=default_framing(url.scheme),
        )
        for id, url in forwarding.items()
    )
    problems += find_conflicts(
        sources,
        destinations,
        name_source=lambda id: f"--listen {listening[id]}",
        name_destination=lambda id: f"--forward {forwarding[id]}",
    )
    name = _name(name, problems)
    state_dir = _absolute(base_dir, state_dir or DEFAULT_STATE_DIR)
    problems += control_socket_problems("--state-dir", state_dir)
    if problems:
        raise ConfigurationError(problems)
    return Configuration(
        name=name,
        state_dir=state_dir,
        sources=sources,
        destinations=destinations,
        warnings=_warnings(token_file, base_dir),
    )


def _warnings(token_file: str, base_dir: str) -> tuple[str, ...]:
    if not token_file:
        return ()
    reading = Reading()
    reading.note_secret(_absolute(base_dir, token_file), "--token-file", is_token=True)
    return tuple(reading.warnings)


def _sources(listening: Mapping[str, Url], problems: list[str]) -> tuple[SourceConfiguration, ...]:
    problems += [
        f"--listen {url}: a TLS listener needs a certificate, and flags cannot give one; "
        "use a configuration file with --config"
        for url in listening.values()
        if url.is_tls
    ]
    problems += [
        f"--listen {url.scheme}: opens a TLS listener, which needs a certificate, and flags cannot "
        "give one; use a configuration file with --config"
        for url in listening.values()
        if url.scheme in SET_SCHEMES
    ]
    return tuple(
        SourceConfiguration(id=id, listen=url, frame_bytes_max=default_frame_bytes_max(url.scheme))
        for id, url in listening.items()
    )


def _urls(
    flag: str, texts: Sequence[str], role: Role, base_dir: str, problems: list[str]
) -> dict[str, Url]:
    """The URLs of a repeated flag by id, in the order given."""
    if not texts:
        example = "udp://:514" if role == "listen" else "relp://central.example.com:20514"
        problems.append(f"{flag}: there is none; add at least one, such as {flag} {example}")
    urls: dict[str, Url] = {}
    for text in texts:
        try:
            url = parse_url(text, role, base_dir=base_dir)
        except ValueError as error:
            problems.append(f"{flag} {url_shown(text)}: {error}")
            continue
        if urls.setdefault(id_from_url(url), url) is not url:
            problems.append(f"{flag} {url}: is given twice; remove one")
    return urls


def _tls(
    trusted_ca: str, forwarding: dict[str, Url], base_dir: str, problems: list[str]
) -> TlsConfiguration:
    if not trusted_ca:
        return TlsConfiguration()
    if not any(url.is_tls for url in forwarding.values()):
        problems.append(
            "--trusted-ca: has no meaning without a --forward to tls:// or relp+tls://; remove it"
        )
        return TlsConfiguration()
    tls = TlsConfiguration(trusted_ca=_absolute(base_dir, trusted_ca))
    problems += upstream_problems(tls, lambda key: f"--{key.replace('_', '-')}")
    return tls


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
