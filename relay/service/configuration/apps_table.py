"""Read the apps that messages can be authorised for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from relay.model.token import Token
from relay.service.configuration.keys import Table, key, keys_of
from relay.service.configuration.model import (
    ID,
    AppConfiguration,
)
from relay.service.configuration.reading import Reading, Reported, SecretFile, TokenVariable
from relay.service.configuration.rewrite_table import token_from_environment, token_from_file
from relay.service.configuration.table import Networks, Texts, join_path, shown

__all__ = ["read_apps"]


class _TokenFiles:
    """A list of paths."""

    def read_at(self, value: object, path: str, reading: Reading) -> tuple[str, ...]:
        names = Texts("a list of paths").read(value)
        return tuple(reading.read(SecretFile(is_token=True), name, path) for name in names)


@dataclass(frozen=True, slots=True)
class _App:
    token_file: str = key(SecretFile(is_token=True), default="")
    token_files: tuple[str, ...] = key(_TokenFiles(), default=())
    token_env: str = key(TokenVariable(), default="")
    networks: tuple[IPv4Network | IPv6Network, ...] = key(Networks(), default=())
    tls_names: tuple[str, ...] = key(Texts("a list of names"), default=())
    tls_fingerprints: tuple[str, ...] = key(Texts("a list of fingerprints"), default=())


def read_apps(values: object, reading: Reading) -> tuple[AppConfiguration, ...]:
    """Read the tables below ``apps``.

    Args:
        values: What TOML gave for ``apps``.

    Returns:
        An app for each table, even if its content is bad.
    """
    if not isinstance(values, dict):
        reading.problems.append(f"apps: expected tables [apps.ID], found {shown(values)}")
        return ()
    apps = []
    for id, content in values.items():
        where = join_path("apps", id)
        app = AppConfiguration(id)
        with suppress(Reported):
            reading.read(ID, id, where)
        with suppress(Reported):
            table = reading.read(Table(_App), content, where)
            app = _app(id, table, where, reading)
        apps.append(app)
    return tuple(apps)


def _app(id: str, table: _App, where: str, reading: Reading) -> AppConfiguration:
    known = len(reading.problems)
    tokens = _read_tokens(table, where, reading)
    if len(reading.problems) > known:
        raise Reported
    app = AppConfiguration(
        id,
        tokens=tokens,
        networks=table.networks,
        tls_names=table.tls_names,
        tls_fingerprints=table.tls_fingerprints,
    )
    if app == AppConfiguration(id):
        reading.problems.append(
            f"{where}: nothing authorises a message for it; add at least one of "
            f"{', '.join(keys_of(_App))}"
        )
    return app


def _read_tokens(table: _App, where: str, reading: Reading) -> tuple[Token, ...]:
    """The tokens that the keys of an app name, none twice."""
    tokens: dict[Token, None] = {}
    for name_of_key, names, read in (
        ("token_file", [table.token_file], token_from_file),
        ("token_files", table.token_files, token_from_file),
        ("token_env", [table.token_env], token_from_environment),
    ):
        for name in filter(None, names):
            try:
                tokens[read(name)] = None
            except ValueError as error:
                reading.problems.append(f"{where}.{name_of_key}: {error}")
    return tuple(tokens)
