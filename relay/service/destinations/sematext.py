"""Sematext's receivers by the name of their region: host, port, framing and the place of the token.

The sessions are those of the kind that `via` names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from relay.model.output import SizeLimit
from relay.service.configuration.format_table import FormatConfiguration
from relay.service.configuration.keys import group, key, keys_of
from relay.service.configuration.model import (
    DestinationConfiguration,
    RewriteConfiguration,
    TlsConfiguration,
    Url,
    Where,
)
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.rewrite_table import (
    TOKEN_MODES,
    FormKeys,
    Rewrites,
    names_a_form,
)
from relay.service.configuration.table import Choice, Text, Whole
from relay.service.configuration.url import Role, is_host
from relay.service.destinations.datagrams import UDP
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.streams import (
    RELP,
    TCP,
    TLS,
    UPSTREAM_TLS_WITHOUT,
    RelpConfiguration,
    framing_key,
)
from relay.service.probes.probe import Probe

_HOSTS = {
    "us": "logsene-syslog-receiver.sematext.com",
    "eu": "logsene-syslog-receiver.eu.sematext.com",
}
_WAYS: Mapping[str, DestinationKind[Any]] = {"tls": TLS, "relp": RELP, "tcp": TCP, "udp": UDP}
_PORTS = {"tls": 10514, "relp": 20514, "tcp": 514, "udp": 514}
# Sematext says KB and not how many bytes that is; less than 1,000 it is not.
_EVENT_BYTES_MAX = {"basic": 64_000, "standard": 128_000, "pro": 256_000}
_PLACES = (*TOKEN_MODES, "none")
_FORM_KEYS = tuple(keys_of(FormKeys))
_PLAIN = {"rsyslog": FormatConfiguration("rfc3164", ts_format="iso")}


class _Region:
    """The name of a region."""

    form: ClassVar[str] = "://us"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        region = rest.removeprefix("//").removesuffix("/").lower()
        if region not in _HOSTS or not rest.startswith("//"):
            raise ValueError(
                f"expected {scheme}://us or {scheme}://eu, found {f'{scheme}:{rest}'[:80]!r}; for "
                "another host write one of these, and the keys host and port"
            )
        return Url(scheme, host=region, is_bare=True)


class _Host(Text):
    """A host name or an address."""

    __slots__ = ()

    def read(self, value: object) -> str:
        if isinstance(value, str) and is_host(value):
            return value.lower()
        return Text.read(self, value if not isinstance(value, str) else "")


@dataclass(frozen=True, slots=True)
class SematextConfiguration(RelpConfiguration):
    """Keys that only some ways have are there for all; `problems` finds those without effect."""

    via: str = key(
        Choice(tuple(_WAYS)),
        "tls",
        "transport: `tls` encrypts, `relp` is answered by the receiver, `tcp` and `udp` do neither",
    )
    host: str = key(
        _Host("a host name or an address"),
        "",
        "receiver instead of Sematext's, for a private cloud; its certificate must carry this name",
        default_words="that of the region",
    )
    port: int = key(
        Whole(0, 65535),
        0,
        "port of the receiver",
        default_words="`10514` for tls, `20514` for relp, `514` for tcp and udp",
    )
    token_in: str = key(
        Choice(_PLACES),
        "cee",
        "place of the token: the JSON object of a message behind `@cee:` or alone, its tag or "
        "APP-NAME; `none` where Sematext knows the address of this host",
    )
    form: FormKeys = group(FormKeys)
    plan: str = key(
        Choice(tuple(_EVENT_BYTES_MAX)),
        "basic",
        "plan of the app: its events have at most 64, 128 or 256 kB",
    )
    oversize: str = key(
        Choice(("truncate", "drop", "split", "quarantine")),
        "truncate",
        "treatment of longer messages",
    )
    framing: str = framing_key("newline")
    tls: TlsConfiguration | None = group(TlsConfiguration, without=UPSTREAM_TLS_WITHOUT)

    @property
    def target(self) -> Url:
        """Where the sessions connect to."""
        host = self.host or _HOSTS[self.connect.host]
        return Url(self.via, host=host, port=self.port or _PORTS[self.via])

    @property
    def inner(self) -> DestinationConfiguration:
        """The configuration of the kind that makes the sessions."""
        kind = _WAYS[self.via]
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.via != "tls":
            del own["tls"]
        found: DestinationConfiguration = kind.configured(self.target, own)
        return found

    @property
    def size_limit(self) -> SizeLimit:
        return SizeLimit(_EVENT_BYTES_MAX[self.plan], self.oversize, f"Sematext's plan {self.plan}")

    @property
    def in_flight_max(self) -> int:
        return self.inner.in_flight_max

    @property
    def stall_seconds(self) -> float:
        return self.inner.stall_seconds

    @property
    def exposure(self) -> str:
        """A warning if the token leaves this host in clear text; empty = it does not."""
        if self.via == "tls" or self.rewrite.token is None:
            return ""
        return (
            f"the token is sent in clear text to {_place(self.target)}: Sematext offers no "
            f"encryption over {self.via}, so everybody on the way can read it and log in its name"
        )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        own = _WAYS[self.via].keys
        for name in given:
            ways = [way for way, kind in _WAYS.items() if name in kind.keys]
            if ways and name not in own:
                yield (
                    f'{where(name)}: has no meaning with via = "{self.via}", only with '
                    f"{' and '.join(ways)}; remove it or change via"
                )

    def warnings(self, where: Where) -> Iterator[str]:
        if self.exposure:
            yield f'{where("via")}: {self.exposure}; write via = "tls"'


def _complete(
    table: dict[str, object], values: Mapping[str, object], path: str, reading: Reading
) -> None:
    """Make the form of the messages from the keys for the token."""
    rewrite = table.get("rewrite")
    if names_a_form(values.get("rewrite")):
        reading.add(f"{path}.rewrite", "has a mode, which token_in says here; remove the mode")
        return
    mode = table.get("token_in", "cee")
    given = {name: values[name] for name in _FORM_KEYS if name in values}
    if mode == "none":
        name = str(given.pop("header", "rfc5424"))
        table["format"] = table.get("format") or _PLAIN.get(name) or FormatConfiguration(name)
    elif table.get("format") is not None:
        words = f'has no meaning with token_in = "{mode}", only with "none"; remove it'
        reading.add(f"{path}.{'template' if 'template' in values else 'format'}", words)
    elif not given.keys() & {"token_file", "token_env", "tokens"}:
        reading.add(
            f"{path}.token_file",
            'is missing; write token_file = "PATH", or token_in = "none" if the address of this '
            "host is authorised",
        )
        return
    with suppress(Reported):
        form = reading.read(Rewrites(), {"mode": mode, **given}, path)
        steps = rewrite.steps if isinstance(rewrite, RewriteConfiguration) else ()
        table["rewrite"] = replace(form, steps=steps)


def _make(configuration: SematextConfiguration, parts: DestinationParts) -> Delivery:
    delivery: Delivery = _WAYS[configuration.via].make(configuration.inner, parts)
    exposure = configuration.exposure
    return replace(
        delivery,
        target=f"Sematext ({configuration.via}, {_place(configuration.target)})",
        details=lambda: [*delivery.details(), *([f"WARNING: {exposure}"] if exposure else [])],
    )


def _probe(configuration: SematextConfiguration, probe: Probe) -> None:
    if try_inner := _WAYS[configuration.via].probe:
        try_inner(configuration.inner, probe)


def _place(target: Url) -> str:
    return str(target).partition("://")[2]


SEMATEXT = DestinationKind(
    scheme="sematext",
    address=_Region(),
    configuration=SematextConfiguration,
    delivered="as for the transport that `via` names",
    medium="sematext",
    complete=_complete,
    make=_make,
    probe=_probe,
)
