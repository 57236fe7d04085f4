"""Sematext's receivers by the name of their region: host, port, framing and the place of the token.

The sessions are those of the kind that `via` names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from relay.model.errors import UpstreamError
from relay.model.output import SizeLimit
from relay.model.token import Token
from relay.service.configuration.keys import group, key, keys_of
from relay.service.configuration.model import (
    DestinationConfiguration,
    RewriteConfiguration,
    TlsConfiguration,
    Url,
    Where,
)
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.table import Choice, Text, Whole
from relay.service.configuration.tables.format import FormatConfiguration
from relay.service.configuration.tables.rewrite import (
    TOKEN_MODES,
    FormKeys,
    Rewrites,
    UnreadToken,
    names_a_form,
    read_token,
)
from relay.service.configuration.url import Role, is_host
from relay.service.destinations.datagrams import UDP
from relay.service.destinations.http import (
    BULK_REFUSALS_MAX,
    DOCUMENT,
    HTTPS,
    HttpBatches,
    HttpCredentials,
)
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
from relay.transport.http.uploads import Credentials

_HOSTS = {
    "us": "logsene-syslog-receiver.sematext.com",
    "eu": "logsene-syslog-receiver.eu.sematext.com",
}
_BULK_HOSTS = {"us": "logsene-receiver.sematext.com", "eu": "logsene-receiver.eu.sematext.com"}
_PORTS = {"tls": 10514, "relp": 20514, "https": 443, "tcp": 514, "udp": 514}
_ENCRYPTED = ("tls", "https")
# Sematext says KB and not how many bytes that is; less than 1,000 it is not.
_EVENT_BYTES_MAX = {"basic": 64_000, "standard": 128_000, "pro": 256_000}
_PLACES = (*TOKEN_MODES, "none")
_FORM_KEYS = tuple(keys_of(FormKeys))
_NOT_IN_BULK = ("token_in", "header", "structured_data", "tokens")
_PLAIN = {"rsyslog": FormatConfiguration("rfc3164", ts_format="iso")}


@dataclass(frozen=True, slots=True)
class _AppToken(HttpCredentials):
    """The token of an app, which requests bring as the name of the index."""

    app_token: Token | UnreadToken | None = None

    def _reveal(self) -> bytes:
        """The token; UpstreamError says why it cannot be read."""
        token = self.app_token
        assert token is not None
        try:
            return (read_token("json", token) if isinstance(token, UnreadToken) else token).reveal()
        except ValueError as error:
            raise UpstreamError(str(error)) from None

    def read(self, scheme: str) -> Credentials:
        token = self._reveal()
        return Credentials({}, (token,), index=token)


_WAYS: Mapping[str, DestinationKind[Any]] = {
    "tls": TLS,
    "relp": RELP,
    "https": HTTPS,
    "tcp": TCP,
    "udp": UDP,
}


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
        "transport: `tls` and `https` encrypt, `relp` and `https` are answered, `tcp` and `udp` "
        "do neither",
    )
    host: str = key(
        _Host("a host name or an address"),
        "",
        "receiver instead of Sematext's, for a private cloud; its certificate must carry this name",
        default_text="that of the region",
    )
    port: int = key(
        Whole(0, 65535),
        0,
        "port of the receiver",
        default_text="`10514` for tls, `20514` for relp, `443` for https, `514` for tcp and udp",
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
    sizes: HttpBatches = group(HttpBatches)
    bulk_token: Token | UnreadToken | None = None
    """Of https, whose messages are without one."""

    @property
    def target(self) -> Url:
        """Where the sessions connect to."""
        hosts = _BULK_HOSTS if self.via == "https" else _HOSTS
        host = self.host or hosts[self.connect.host]
        return Url(self.via, host=host, port=self.port or _PORTS[self.via])

    @property
    def inner(self) -> DestinationConfiguration:
        """The configuration of the kind that makes the sessions."""
        kind = _WAYS[self.via]
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.via not in _ENCRYPTED:
            del own["tls"]
        if self.via == "https":
            own["credentials"] = _AppToken(app_token=self.bulk_token)
        found: DestinationConfiguration = kind.configured(self.target, own)
        return found

    @property
    def size_limit(self) -> SizeLimit:
        return SizeLimit(_EVENT_BYTES_MAX[self.plan], self.oversize, f"Sematext's plan {self.plan}")

    @property
    def has_hops(self) -> bool:
        return False  # the receivers are no relays of this kind

    @property
    def in_flight_max(self) -> int:
        return self.inner.in_flight_max

    @property
    def stall_seconds(self) -> float:
        return self.inner.stall_seconds

    @property
    def exposure(self) -> str:
        """A warning if the token leaves this host in clear text; empty = it does not."""
        if self.via in _ENCRYPTED or self.rewrite.token is None:
            return ""
        return (
            f"the token is sent in clear text to {_place(self.target)}: Sematext offers no "
            f"encryption over {self.via}, so everybody on the way can read it and log in its name"
        )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        own = _WAYS[self.via].keys
        for name in given:
            if self.via == "https" and name in _NOT_IN_BULK:
                yield (
                    f'{where(name)}: has no meaning with via = "https", whose requests bring the '
                    "token beside the messages; remove it or change via"
                )
            if name in _FORM_KEYS:
                continue
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
    is_bulk = table.get("via") == "https"
    mode = "json" if is_bulk else table.get("token_in", "cee")
    given = {name: values[name] for name in _FORM_KEYS if name in values}
    if mode == "none":
        name = str(given.pop("header", "rfc5424"))
        table["format"] = table.get("format") or _PLAIN.get(name) or FormatConfiguration(name)
    elif table.get("format") is not None:
        other = 'via = "https"' if is_bulk else f'token_in = "{mode}"'
        problem = f'has no meaning with {other}, only with token_in = "none"; remove it'
        reading.add(f"{path}.{'template' if 'template' in values else 'format'}", problem)
    elif not given.keys() & {"token_file", "token_env", "tokens"}:
        other = ', or token_in = "none" if the address of this host is authorised'
        problem = f'is missing; write token_file = "PATH"{"" if is_bulk else other}'
        reading.add(f"{path}.token_file", problem)
        return
    with suppress(Reported):
        form = reading.read(Rewrites(), {"mode": mode, **given}, path)
        steps = rewrite.steps if isinstance(rewrite, RewriteConfiguration) else ()
        if is_bulk:
            table["bulk_token"], table["format"] = form.token, DOCUMENT
            table["refusals_max"] = BULK_REFUSALS_MAX
            form = RewriteConfiguration()
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
