"""Read the apps that messages can be authorised for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from relay.model.token import Token
from relay.service.configuration.keys import key, keys_of, read_record
from relay.service.configuration.model import ID, AppConfiguration
from relay.service.configuration.reading import Reading, Reported, SecretFile, TokenVariable
from relay.service.configuration.table import Networks, Texts, join_path, shown
from relay.service.configuration.tables.rewrite import token_from_environment, token_from_file


class _TokenFiles:
    """A list of paths."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> tuple[str, ...]:
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
        reading.add("apps", f"expected tables [apps.ID], found {shown(values)}")
        return ()
    apps = []
    for id, content in values.items():
        where = join_path("apps", id)
        app = AppConfiguration(id)
        with suppress(Reported):
            reading.read(ID, id, where)
        with suppress(Reported), reading.whole():
            table = read_record(_App, content, where, reading)
            tokens = _read_tokens(table, where, reading)
            app = AppConfiguration(
                id, tokens, table.networks, table.tls_names, table.tls_fingerprints
            )
            if table == _App():
                problem = "nothing authorises a message for it; add at least one of"
                reading.add(where, f"{problem} {', '.join(keys_of(_App))}")
        apps.append(app)
    return tuple(apps)


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
                reading.add(f"{where}.{name_of_key}", str(error))
    return tuple(tokens)
