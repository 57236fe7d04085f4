"""From a source's configuration to what authorises its messages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

from relay.flow.authorisation import UNKNOWN_TOKEN, App, Authorisation
from relay.model.origin import Origin
from relay.model.text import counted
from relay.service.configuration.model import AppConfiguration, SourceConfiguration
from relay.transport.tls.peer_check import name_matches, parse_fingerprint

_KEY_BYTES = 32


class Warns(Protocol):
    """`Notices`, or what stands in for them."""

    def warn(self, subject: str, kind: str, text: str, *, group: str | None = None) -> None: ...


def new_authorise(
    source: SourceConfiguration, apps: Sequence[AppConfiguration], *, notices: Warns
) -> Authorisation | None:
    """What authorises the messages of `source`, or None if every message is taken."""
    if not source.authorise:
        return None
    done = "set aside in the quarantine" if source.unauthorised == "quarantine" else "dropped"

    def refused(origin: Origin, reason: str, count: int, token: str) -> None:
        if reason == UNKNOWN_TOKEN:
            why = f"no app has the token of the last one, {token}"
        else:
            why = f"no app authorises them by {', '.join(source.authorise)}"
        subject = f"source {origin.source}"
        notices.warn(
            f"{subject}, {origin.peer}",
            reason,
            f"{counted(count, 'message')} {done}: {why}; if they are wanted, add the sender to "
            "an app",
            group=f"{subject}, {origin.peer_host}",
        )

    return Authorisation(
        new_apps(apps),
        ways=source.authorise,
        keep_tokens=source.keep_tokens,
        digest_key=secrets.token_bytes(_KEY_BYTES),
        matches=name_matches,
        on_refused=refused,
    )


def new_apps(apps: Sequence[AppConfiguration]) -> list[App]:
    """The apps, in the form in which messages are assigned to them."""
    return [
        App(
            app.id,
            app.tokens,
            app.networks,
            app.tls_names,
            tuple(str(parse_fingerprint(text)) for text in app.tls_fingerprints),
        )
        for app in apps
    ]
