"""Find what a configuration file says that works, but hardly as meant.

`check` prints these warnings and the start logs them; neither fails because of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.model.expression import Expression
from relay.model.template import macros_of
from relay.rewrite.macros import ALIASES, FIELD_NAMES, HARD_MACROS
from relay.service.checks.conflicts import is_loopback
from relay.service.configuration.keys import entries_of
from relay.service.configuration.kinds import Places
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    FormatConfiguration,
    TlsConfiguration,
)
from relay.service.configuration.reading import TableOf, Template
from relay.service.configuration.table import did_you_mean, join_path, shown
from relay.service.configuration.tables import step as steps
from relay.service.configuration.tables.step import Action
from relay.service.configuration.url import address_of
from relay.service.tls.files import certificates_in

_CAPITALS = re.compile(r"[A-Z][A-Z0-9_]*")
# Pairs that syslog-ng's messages may bring, beside fields and hard macros.
_PAIRS = ("RAWMSG", "LEGACY_MSGHDR", "FILE_NAME", "TRANSPORT", "MSGFORMAT")
_MACROS = frozenset((*HARD_MACROS, *FIELD_NAMES, *ALIASES, *_PAIRS))


def configuration_warnings(configuration: Configuration, places: Places) -> list[str]:
    """One line for each thing, with the dotted path of its key; nothing must be wrong."""
    warnings: list[str] = []
    for source in configuration.sources:
        where = places.source(source.id)
        if source.tls is not None:
            warnings += _certificate_warnings(source.tls, where, "server")
        warnings += source.warnings(partial(join_path, where))
    unreachable = _unreachable(configuration.destinations)
    for destination in configuration.destinations:
        where = join_path("destinations", destination.id)
        if destination.tls is not None:
            warnings += _certificate_warnings(destination.tls, where, "client")
        warnings += destination.warnings(partial(join_path, where))
        warnings += _macro_warnings(destination, where)
        warnings += _ring_warnings(destination, configuration, where)
        warnings += [unreachable[destination.id]] if destination.id in unreachable else []
        warnings += _token_in_clear(destination, where)
    return list(dict.fromkeys(warnings))


def _token_in_clear(destination: DestinationConfiguration, where: str) -> Iterator[str]:
    """A token that everybody on the way to another host can read."""
    url = destination.connect
    is_encrypted = destination.tls is not None or is_loopback(url.host)
    if destination.rewrite.token is None or not url.port or is_encrypted:
        return
    yield (
        f"{where}.connect: {url.scheme} sends the token in clear text to {url.host}, so everybody "
        "on the way can read it; use a kind with TLS, or a central relay on the way"
    )


def directory_warnings(path: str, where: str) -> Iterator[str]:
    """A directory that the relay would make, and another one for it: a typo rather than a wish."""
    directory = os.path.dirname(path)
    above = os.path.dirname(directory)
    if path and not os.path.isdir(directory) and not os.path.isdir(above):
        yield (
            f"{where}: neither {directory} nor {above} exists; a relay makes both when it starts: "
            "is the path right?"
        )


def _ring_warnings(
    destination: DestinationConfiguration, configuration: Configuration, where: str
) -> Iterator[str]:
    """What goes to a host and may come back from it, without a place for the hops of messages."""
    if destination.carries_hops or not configuration.hops_max:
        return
    hosts = [host for url in destination.targets if (host := address_of(url.host)) is not None]
    for source in configuration.sources:
        back = [host for host in hosts if any(host in each for each in source.allowed)]
        if source.id in destination.sources and back:
            yield (
                f"{where}.connect: source {source.id!r} allows {back[0]} to send, and what it "
                "sends back would go round for ever: this format has no place for the relays that "
                'a message has passed; use relp:// or format = "ewmm", or do not send it what came '
                "from there"
            )


def _certificate_warnings(tls: TlsConfiguration, where: str, role: str) -> Iterator[str]:
    """Certificates that peers will refuse, and authorities that are none.

    Args:
        role: What the relay is in these connections: server or client.
    """
    own = _certificates(tls.certificate)[:1]
    wanted = getattr(ExtendedKeyUsageOID, f"{role.upper()}_AUTH")
    for certificate in own:
        allowed = _extension(certificate, x509.ExtendedKeyUsage) or ()
        if allowed and not {wanted, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(allowed):
            names = ", ".join(usage._name for usage in allowed)
            yield (
                f"{where}.certificate: the certificate in {tls.certificate} is not for a TLS "
                f"{role}: its extended key usage is {names}; peers will refuse it, so make one "
                f"with {role}Auth"
            )
    for certificate in _certificates(tls.trusted_ca):
        constraints = _extension(certificate, x509.BasicConstraints)
        if certificate.version is x509.Version.v3 and (constraints is None or not constraints.ca):
            subject = certificate.subject.rfc4514_string()
            yield (
                f"{where}.trusted_ca: {shown(subject)} in {tls.trusted_ca} is the certificate "
                "of a peer and no authority, so it vouches for no other certificate; put the "
                "authority there that signed it, or write peer_fingerprints"
            )


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return certificates_in(path) if path else []
    except ValueError:
        return []  # whoever needs the file says so


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


class _Takers:
    """Which destination takes the last of the messages of a source, of those that were added.

    Attributes:
        of_all: By source, those that take all; with their numbers, since the last one counts.
        of_some: The same for those that have a filter and apps, by these.
    """

    def __init__(self) -> None:
        self.of_all: dict[str, tuple[int, str]] = {}
        self.of_some: dict[object, dict[str, tuple[int, str]]] = {}

    def add(self, number: int, destination: DestinationConfiguration, why: str) -> None:
        if destination.takes_all:
            takers = self.of_all
        else:
            takers = self.of_some.setdefault(_wish(destination), {})
        reason = f"{destination.id!r} is {why}"
        takers.update(dict.fromkeys(destination.sources, (number, reason)))

    def reasons(self, destination: DestinationConfiguration) -> list[str]:
        """Why nothing of its sources is left for `destination`; none if something is."""
        same = self.of_some.get(_wish(destination), {})
        nobody = (-1, "")
        found = [
            max(self.of_all.get(id, nobody), same.get(id, nobody)) for id in destination.sources
        ]
        return [] if nobody in found else list(dict.fromkeys(reason for _, reason in found))


def _wish(destination: DestinationConfiguration) -> object:
    """A value that differs between destinations that want different messages; it can be hashed."""
    return _hashable((destination.match, destination.apps))


def _hashable(value: object) -> object:
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    if is_dataclass(value):
        return (type(value), *(_hashable(getattr(value, each.name)) for each in fields(value)))
    return value


def _unreachable(all: Iterable[DestinationConfiguration]) -> dict[str, str]:
    """Destinations that get nothing, since others take everything from each of their sources.

    Each is looked at once, after all that come before it: fallbacks after all others.

    Returns:
        The warning about each, by its id.
    """
    found: dict[str, str] = {}
    final, superior = _Takers(), _Takers()
    for number, each in enumerate(sorted(all, key=lambda each: each.routing.fallback)):
        is_fallback = each.routing.fallback
        if reasons := (superior if is_fallback else final).reasons(each):
            where = join_path("destinations", each.id)
            found[each.id] = (
                f"{where}.{'fallback' if is_fallback else 'sources'}: no message reaches this "
                f"destination: {', '.join(reasons)} and takes all of its messages; give the "
                "others a narrower match, or write this one before them"
            )
        if not is_fallback:
            superior.add(number, each, "a destination")
        if each.routing.final:
            (superior if is_fallback else final).add(number, each, "final")
    return found


def _macro_warnings(destination: DestinationConfiguration, where: str) -> Iterator[str]:
    """Names in capitals that nothing gives a value."""
    actions = [step.action for step in destination.rewrite.steps]
    made = {name for action in actions for name in _names_made(action)}
    prefixes = [  # names that begin with these come from messages
        action.prefix
        for action in actions
        if isinstance(action, steps.Parse) and action.parser in ("json", "key-value")
    ]
    prefixes += [  # … or from the first line of a table
        action.prefix
        for action in actions
        if isinstance(action, steps.MapValue) and action.prefix and not action.columns
    ]
    read = [
        (f"{where}.rewrite[{index}].{key}", name)
        for index, action in enumerate(actions)
        for key, name in _names_read(action)
    ]
    if (template := destination.record_key) is not None:
        read += [(f"{where}.connect", name) for name in macros_of(template.text)]
    if (form := destination.format) is not None:
        place = where if form.key == "template" else f"{where}.format"
        read += [(f"{place}.{key}", name) for key, name in _names_written(form)]
    for place, name in read:
        if name in _MACROS or name in made or _CAPITALS.fullmatch(name) is None:
            continue
        near = did_you_mean(name, [*_MACROS, *sorted(made)])
        if near or not any(map(name.startswith, prefixes)):
            yield (
                f"{place}: there is no macro {name}{near or ';'} it is empty unless messages bring "
                "a pair of this name"
            )


def _names_made(action: Action) -> Iterable[str]:
    """The names that a step gives a value."""
    match action:
        case steps.SetValues():
            return action.values
        case steps.Rename():
            return action.names.values()
        case steps.MapValue():
            return (action.name, *(action.prefix + column for column in action.columns))
        case steps.Parse(parser="csv"):
            return [action.prefix + column for column in action.columns]
        case steps.Parse(parser="regex"):
            return [action.prefix + name for name in Expression(action.pattern).names]
    return ()


def _names_read(action: Action) -> Iterator[tuple[str, str]]:
    """The names whose values a step uses, each with its key."""
    for name, key, value in entries_of(action):
        match key.kind, value:
            case Template(), str(text):
                yield from ((name, macro) for macro in macros_of(text))
            case TableOf(kind=Template()), dict(texts):
                for made, text in texts.items():
                    yield from ((join_path(name, made), macro) for macro in macros_of(text))
            case _, tuple(names) if name == "in":
                yield from ((name, each) for each in names)
            case _, str(each) if name == "from":
                yield name, each


def _names_written(form: FormatConfiguration) -> Iterator[tuple[str, str]]:
    """The names whose values a format uses, each with its key."""
    yield from (("template", name) for name in macros_of(form.template))
    if form.selection is not None:
        for pair in form.selection.pairs:
            key = join_path("pair", pair.name)
            yield from ((key, name) for name in macros_of(pair.template))
        for pattern in form.selection.patterns:
            yield "key" if pattern.takes else "exclude", pattern.glob
