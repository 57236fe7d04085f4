"""Which app a message belongs to, or why it is refused.

Needs: a message is authorised by its token, by the TLS identity or by the network of its
sender, in this order; the secret of an app does not go further than here.  Hazards: many
tokens and networks, comparing secrets byte by byte, a name that looks like a token and
is none.  Approach: tokens are found by a keyed digest, which a sender cannot predict, and
then compared in constant time; what the origin says is looked up once a batch.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.token import Token, redacted_secret
from relay.rewrite.forms.token import find_claim, names_of, parse_rest, without_name

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNAUTHORISED = "unauthorised"
UNKNOWN_TOKEN = "unknown-token"

_DECISIONS_MAX = 4096  # kept, the least recently used go first
_NAMES_MAX = 2  # that a message has where a token may stand


@dataclass(frozen=True, slots=True)
class App:
    """Whose messages these are, and what shows it."""

    id: str
    tokens: tuple[Token, ...] = ()
    networks: tuple[Network, ...] = ()
    tls_names: tuple[str, ...] = ()
    tls_fingerprints: tuple[str, ...] = ()


class Authorised(NamedTuple):
    """A batch after the decision."""

    messages: list[SyslogMessage]
    """Those that belong to an app, in order; `app` says to which."""
    indexes: list[int]
    """Which of the batch they are."""
    refused: Mapping[str, list[bytes]]
    """Frames of the others by reason, without the tokens of apps."""


Authorise = Callable[[Sequence[SyslogMessage], Origin], Authorised]
"""Decides about the messages of one batch."""


class Authorisation:
    """An `Authorise`: the rules of one source.

    Args:
        ways: Those of `relay.model.policy.WAYS` that count here.
        keep_tokens: Leave tokens in the messages.
        digest_key: 16 to 64 bytes that nobody else knows.
        matches: Whether a wanted name is one of a certificate.
        on_refused: Called with the origin, the reason, how many messages of a batch it
            is about, and the last unknown token, masked.
    """

    def __init__(
        self,
        apps: Sequence[App],
        *,
        ways: Collection[str],
        keep_tokens: bool,
        digest_key: bytes,
        matches: Callable[[str, str], bool],
        on_refused: Callable[[Origin, str, int, str], None],
    ) -> None:
        self._takes_tokens = "token" in ways
        self._takes_names = "tls-name" in ways
        self._takes_networks = "network" in ways
        self._keep_tokens = keep_tokens
        self._digest_key = digest_key
        self._matches = matches
        self._on_refused = on_refused
        self.use(apps)

    def use(self, apps: Sequence[App]) -> None:
        """Decide by these apps from now on."""
        self._apps = tuple(apps)
        secrets = [(token.reveal(), app.id) for app in apps for token in app.tokens]
        self._by_digest = {self._digest(secret): (secret, app) for secret, app in secrets}
        self._lengths = {len(secret) for secret, _ in secrets}
        # The longest prefix first.
        self._networks = sorted(
            ((network, app.id) for app in apps for network in app.networks),
            key=lambda entry: -entry[0].prefixlen,
        )
        self._of_host: Callable[[str], str] = lru_cache(_DECISIONS_MAX)(self._app_of_host)
        self._of_identity: Callable[[tuple[str, ...], tuple[str, ...]], str] = lru_cache(
            _DECISIONS_MAX
        )(self._app_of_identity)

    def __call__(self, messages: Sequence[SyslogMessage], origin: Origin) -> Authorised:
        """Decide about each of `messages`, which have come from `origin`."""
        app_of_origin = self._app_of_origin(origin)
        looks = self._takes_tokens or not self._keep_tokens
        taken: list[SyslogMessage] = []
        indexes: list[int] = []
        refused: dict[str, list[bytes]] = {}
        unknown = ""
        for index, message in enumerate(messages):
            app = app_of_origin
            if looks:
                named, message, false_claim = self._by_token(message)
                if self._takes_tokens and false_claim is not None:
                    unknown = redacted_secret(false_claim)
                    refused.setdefault(UNKNOWN_TOKEN, []).append(message.raw)
                    continue
                if self._takes_tokens and named:
                    app = named
            if app:
                taken.append(message._replace(app=app))
                indexes.append(index)
            else:
                refused.setdefault(UNAUTHORISED, []).append(message.raw)
        for reason, frames in refused.items():
            self._on_refused(origin, reason, len(frames), unknown)
        return Authorised(taken, indexes, refused)

    def _by_token(self, message: SyslogMessage) -> tuple[str, SyslogMessage, bytes | None]:
        """The app that a token gives, the message without it, and a claim that is false."""
        app = ""
        false_claim = None
        claim = find_claim(message)
        if claim is not None:
            apps = [self._app_of_secret(secret) for secret in claim.secrets]
            app = apps[-1]
            if "" in apps:
                app, false_claim = "", claim.secrets[apps.index("")]
            if any(apps) and not self._keep_tokens:
                message = parse_rest(message, claim.rest)
        for _ in range(_NAMES_MAX):
            known = next((name for name in names_of(message) if self._app_of_secret(name)), None)
            if known is None:
                break
            app = app or self._app_of_secret(known)
            if self._keep_tokens:
                break
            message = without_name(message, known)
        return app, message, false_claim

    def _app_of_secret(self, candidate: bytes) -> str:
        if len(candidate) not in self._lengths:
            return ""
        secret, app = self._by_digest.get(self._digest(candidate), (b"", ""))
        return app if compare_digest(secret, candidate) else ""

    def _digest(self, secret: bytes) -> bytes:
        return blake2b(secret, digest_size=16, key=self._digest_key).digest()

    def app_of_sender(self, origin: Origin, secrets: Sequence[bytes]) -> str:
        """The app of a sender that gives its token beside its messages; empty = none.

        Args:
            secrets: What may be its token; where tokens count, one of them has to be.
        """
        if self._takes_tokens and secrets:
            return next(filter(None, map(self._app_of_secret, secrets)), "")
        return self._app_of_origin(origin)

    def _app_of_origin(self, origin: Origin) -> str:
        app = origin.app
        if not app and self._takes_names and (origin.tls_names or origin.tls_fingerprints):
            app = self._of_identity(origin.tls_names, origin.tls_fingerprints)
        if not app and self._takes_networks and origin.peer_host:
            app = self._of_host(origin.peer_host)
        return app

    def _app_of_identity(self, names: tuple[str, ...], fingerprints: tuple[str, ...]) -> str:
        for app in self._apps:
            if any(self._matches(wanted, name) for wanted in app.tls_names for name in names):
                return app.id
            if any(fingerprint in app.tls_fingerprints for fingerprint in fingerprints):
                return app.id
        return ""

    def _app_of_host(self, host: str) -> str:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return ""
        return next((app for network, app in self._networks if address in network), "")
