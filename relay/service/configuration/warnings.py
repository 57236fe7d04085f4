"""Find what a configuration file says that works, but hardly as meant.

`check` prints these warnings and the start logs them; neither fails because of them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.model.template import macros_of
from relay.rewrite.template.macros import ALIASES, FIELD_NAMES, HARD_MACROS
from relay.service.configuration.model import Configuration, DestinationConfiguration
from relay.service.configuration.table import did_you_mean, join_path, shown

__all__ = ["configuration_warnings", "secret_warnings"]

_TOKEN_KEYS = ("token_file", "token_files")
_SECRET_KEYS = (*_TOKEN_KEYS, "private_key", "private_key_passphrase_file", "key_file")
_PLACEHOLDER = re.compile(rb"(?i)\s*(?:[a-z_]*token_goes_here|<[^>]*>|your[_-][a-z_-]*token)\s*")
_TOKEN_FILE_BYTES_MAX = 4096

_CAPITALS = re.compile(r"[A-Z][A-Z0-9_]*")
# Pairs that syslog-ng's messages may bring, beside fields and hard macros.
_PAIRS = ("RAWMSG", "LEGACY_MSGHDR", "FILE_NAME", "TRANSPORT", "MSGFORMAT")
_MACROS = frozenset((*HARD_MACROS, *FIELD_NAMES, *ALIASES, *_PAIRS))


def configuration_warnings(values: Mapping[str, Any], configuration: Configuration) -> list[str]:
    """One line for each thing, with the dotted path of its key.

    Args:
        values: The whole file as TOML gave it; nothing in it is wrong.
        configuration: What was read from it.
    """
    base_dir = configuration.base_dir
    tables = {
        (role, join_path(key, id)): table
        for role, key in (("server", "sources"), ("client", "destinations"))
        for id, table in values.get(key, {}).items()
    }
    warnings = list(secret_warnings(values, "", base_dir=base_dir))
    for (role, where), table in tables.items():
        warnings += _certificate_warnings(table, where, role, base_dir)
    for source in configuration.sources:
        if source.listen.scheme in ("unix", "unixgram"):
            where = f"{join_path('sources', source.id)}.listen"
            warnings += _directory_warnings(source.listen.path, where)
    for destination in configuration.destinations:
        where = join_path("destinations", destination.id)
        if destination.connect.scheme == "file":
            warnings += _directory_warnings(destination.connect.path, f"{where}.connect")
        warnings += _macro_warnings(destination, where, tables["client", where])
    return list(dict.fromkeys(warnings))


def secret_warnings(value: object, where: str, *, base_dir: str) -> Iterator[str]:
    """Files with secrets that everybody can read, and tokens that are only an example.

    Args:
        value: A table, or a list in it; looked through at any depth.
        where: Its dotted path.
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from secret_warnings(item, f"{where}[{index}]", base_dir=base_dir)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        place = join_path(where, key)
        if key in _SECRET_KEYS:
            for name in [item] if isinstance(item, str) else item:
                yield from _file_warnings(key, os.path.join(base_dir, name), place)
        elif key == "token_env":
            if _PLACEHOLDER.fullmatch(os.fsencode(os.environ.get(item, ""))):
                yield f"{place}: the variable {item} holds an example instead of a token"
        else:
            yield from secret_warnings(item, place, base_dir=base_dir)


def _directory_warnings(path: str, where: str) -> Iterator[str]:
    """A directory that the relay would make, and another one for it: a typo rather than a wish."""
    directory = os.path.dirname(path)
    above = os.path.dirname(directory)
    if path and not os.path.isdir(directory) and not os.path.isdir(above):
        yield (
            f"{where}: neither {directory} nor {above} exists; a relay makes both when it starts: "
            "is the path right?"
        )


def _file_warnings(key: str, path: str, where: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            octets = file.read(_TOKEN_FILE_BYTES_MAX)
    except OSError:
        return  # whoever needs the file says so
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield (
            f"{where}: every user can read or write {path} (mode {mode:04o}), which holds a "
            f"secret; chmod o= {path}"
        )
    if key in _TOKEN_KEYS and _PLACEHOLDER.fullmatch(octets):
        yield f"{where}: {path} holds an example instead of a token; put the token of the app there"


def _certificate_warnings(
    table: Mapping[str, Any], where: str, role: str, base_dir: str
) -> Iterator[str]:
    """Certificates that peers will refuse, and authorities that are none.

    Args:
        role: What the relay is in these connections: server or client.
    """
    own = _certificates(table.get("certificate"), base_dir)[:1]
    wanted = getattr(ExtendedKeyUsageOID, f"{role.upper()}_AUTH")
    for certificate in own:
        allowed = _extension(certificate, x509.ExtendedKeyUsage) or ()
        if allowed and not {wanted, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(allowed):
            names = ", ".join(usage._name for usage in allowed)
            yield (
                f"{where}.certificate: the certificate in {table['certificate']} is not for a TLS "
                f"{role}: its extended key usage is {names}; peers will refuse it, so make one "
                f"with {role}Auth"
            )
    for certificate in _certificates(table.get("trusted_ca"), base_dir):
        constraints = _extension(certificate, x509.BasicConstraints)
        if certificate.version is x509.Version.v3 and (constraints is None or not constraints.ca):
            subject = certificate.subject.rfc4514_string()
            yield (
                f"{where}.trusted_ca: {shown(subject)} in {table['trusted_ca']} is the certificate "
                "of a peer and no authority, so it vouches for no other certificate; put the "
                "authority there that signed it, or write peer_fingerprints"
            )


def _certificates(name: str | None, base_dir: str) -> list[x509.Certificate]:
    if name is None:
        return []
    try:
        with open(os.path.join(base_dir, name), "rb") as file:
            return x509.load_pem_x509_certificates(file.read())
    except (OSError, ValueError):
        return []  # whoever needs the file says so


def _extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _macro_warnings(
    destination: DestinationConfiguration, where: str, table: Mapping[str, Any]
) -> Iterator[str]:
    """Names in capitals that nothing gives a value."""
    made: set[str] = set()
    prefixes: list[str] = []  # names that begin with these come from messages
    for step in destination.rewrite.steps:
        made |= _names_made(step)
        if isinstance(step, dict) and step.get("parse") in ("json", "key-value"):
            prefixes.append(step.get("prefix", ""))
    for place, name in _names_read(destination, where, table):
        if name in _MACROS or name in made or _CAPITALS.fullmatch(name) is None:
            continue
        near = did_you_mean(name, [*_MACROS, *sorted(made)])
        if near or not any(map(name.startswith, prefixes)):
            yield (
                f"{place}: there is no macro {name}{near or ';'} it is empty unless messages bring "
                "a pair of this name"
            )


def _names_made(step: object) -> set[str]:
    """The names that a step gives a value."""
    match step:
        case {"set": dict(values)}:
            return set(values)
        case {"rename": dict(names)}:
            return set(names.values())
        case {"map": _, "into": str(name)}:
            return {name}
        case {"parse": "csv", "columns": list(columns), **others}:
            return {f"{others.get('prefix', '')}{column}" for column in columns}
        case {"parse": "regex", "pattern": str(pattern), **others}:
            return {f"{others.get('prefix', '')}{name}" for name in re.compile(pattern).groupindex}
    return set()


def _names_read(
    destination: DestinationConfiguration, where: str, table: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """The names whose values are used, each with the dotted path of its key."""
    for index, step in enumerate(destination.rewrite.steps):
        place = f"{join_path(where, 'rewrite')}[{index}]"
        for key, text in _templates_of(step):
            yield from ((f"{place}.{key}", name) for name in macros_of(text))
        for key in ("from", "in"):
            names = step.get(key, []) if isinstance(step, dict) else []
            yield from ((f"{place}.{key}", name) for name in _listed(names))
    form = destination.format
    if form is None:
        return
    written = where if "template" in table else join_path(where, "format")
    yield from ((f"{written}.template", name) for name in macros_of(form.template))
    if form.selection is not None:
        for pair in form.selection.pairs:
            place = join_path(f"{written}.pair", pair.name)
            yield from ((place, name) for name in macros_of(pair.template))
        for pattern in form.selection.patterns:
            yield f"{written}.{'key' if pattern.takes else 'exclude'}", pattern.glob


def _templates_of(step: object) -> Iterator[tuple[str, str]]:
    match step:
        case {"set": dict(values)}:
            yield from ((join_path("set", name), text) for name, text in values.items())
        case {"groupset": str(text)}:
            yield "groupset", text
        case {"map": _, "key": str(key), **others}:
            yield "key", key
            if isinstance(default := others.get("default"), str):
                yield "default", default
        case {"rate": _, "per": str(text)}:
            yield "per", text


def _listed(names: object) -> list[str]:
    return [names] if isinstance(names, str) else names if isinstance(names, list) else []
