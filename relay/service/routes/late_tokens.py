"""The tokens of a destination's form, some of which may not be known when the relay starts.

As long as one is missing, its messages are written with a placeholder, and queued with a
slot in its place (`relay.rewrite.forms.token`).  The destination waits; once all tokens are
known, new messages are written with them, and those in the queue get theirs as they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TypeAlias

from twisted.logger import Logger

from relay.codec import Lines
from relay.model.errors import QueueError
from relay.model.origin import Arrival
from relay.model.token import Token
from relay.rewrite.forms.form import Form
from relay.rewrite.forms.token import fill_slots, with_slots
from relay.rewrite.json.text import json_string
from relay.service.configuration.model import RewriteConfiguration, UnreadToken
from relay.service.configuration.tables.rewrite import read_token
from relay.service.periodic import PeriodicService
from relay.service.prerequisite import Prerequisite, Reminder
from relay.transport.notices import Notices

NewForm: TypeAlias = Callable[[RewriteConfiguration], Form]
"""Makes the form of a rewrite whose tokens are all known."""

_DEFAULT_KEY = b"-"  # of the token for all messages that fit no match


class LateTokens(Form):
    """Writes the form of one destination, and fills the slots of its records.

    Args:
        rewrite: Of any mode; one without tokens has no slots of its own.
        new_form: Not called for a mode without tokens.
    """

    def __init__(self, rewrite: RewriteConfiguration, new_form: NewForm) -> None:
        self.needed = Prerequisite("its messages are queued until there is a token")
        self.needed.look = self.look
        self._rewrite = rewrite
        self._new_form = new_form
        self._placeholders: dict[bytes, bytes] = {}
        if rewrite.token is not None:
            self._make_form()

    @property
    def form(self) -> Form:
        """What messages are written with, for good."""
        return self if self._placeholders else self._form

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The payloads of lines, with slots for tokens that are not known."""
        return with_slots(list(self._form.write(lines, indexes, arrival)), self._placeholders)

    @property
    def secrets(self) -> list[bytes]:
        """The tokens that are known by now."""
        return [token.reveal() for token in self._rewrite.known_tokens]

    def look(self) -> None:
        """Try to read the tokens that are missing."""
        if not self._placeholders:
            return
        mode = self._rewrite.mode
        self._rewrite = with_tokens(self._rewrite, lambda key, token: _read(mode, token))
        self._make_form()
        if not self.needed.trouble:
            self.needed.fulfil()

    def fill(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        """`payloads` with tokens in their slots.

        Raises:
            QueueError: There is no such token any more.
        """
        return fill_slots(payloads, self._text_of)

    def _make_form(self) -> None:
        """Write with what is known, and with placeholders for what is not."""
        troubles: list[str] = []
        self._placeholders = {}
        self._texts: dict[bytes, bytes] = {}

        def known(key: bytes, token: Token | UnreadToken) -> Token:
            if isinstance(token, UnreadToken):
                troubles.append(token.problem)
                token = Token(token_hex(16).encode())
                self._placeholders[token.reveal()] = key
            else:
                self._texts[key] = _text(self._rewrite.mode, token)
            return token

        rewrite = with_tokens(self._rewrite, known)
        self.needed.trouble = "; ".join(dict.fromkeys(troubles))
        self._form = self._new_form(rewrite)

    def _text_of(self, key: bytes) -> bytes:
        if self._rewrite.token is None:
            return b""  # its form has no token any more, so there is none to be sent
        if key not in self._texts:
            raise QueueError(
                "messages wait for the token of an entry that rewrite.tokens no longer has; write "
                "an entry with the same match again, or purge them"
            )
        return self._texts[key]


@dataclass(eq=False, repr=False, kw_only=True)
class TokenWatch(PeriodicService):
    """Looks for missing tokens every minute, and on SIGHUP."""

    name = "tokens"
    _log = Logger(namespace="relay")

    tokens: Mapping[str, LateTokens]
    """By destination."""
    notices: Notices
    interval_seconds: float = 60.0

    def __post_init__(self) -> None:
        self._reminders: dict[str, Reminder] = {}
        self.follow()

    def follow(self) -> None:
        """There are other destinations."""
        self._missing = {id: each for id, each in self.tokens.items() if each.needed.trouble}
        self._reminders = {id: self._reminders.get(id) or Reminder() for id in self._missing}

    def look(self) -> None:
        for id, tokens in list(self._missing.items()):
            tokens.look()
            trouble, now = tokens.needed.state, self.clock.seconds()
            if not trouble:
                del self._missing[id]
                self._log.info("destination {id}: its token is in use", id=id)
                continue
            if self._reminders[id].is_due(trouble, now):
                self.notices.warn(f"destination {id}", "token", trouble)


def with_tokens(
    rewrite: RewriteConfiguration, new: Callable[[bytes, Token | UnreadToken], Token | UnreadToken]
) -> RewriteConfiguration:
    """`rewrite` with other tokens; `new` gets the key of the slot of each, and the token."""
    return replace(
        rewrite,
        token=None if rewrite.token is None else new(_DEFAULT_KEY, rewrite.token),
        tokens=tuple(
            replace(choice, token=new(choice.slot, choice.token)) for choice in rewrite.tokens
        ),
    )


def _read(mode: str, token: Token | UnreadToken) -> Token | UnreadToken:
    if isinstance(token, Token):
        return token
    try:
        return read_token(mode, token)
    except ValueError as error:
        return replace(token, problem=str(error))


def _text(mode: str, token: Token) -> bytes:
    """`token` as the form of `mode` writes it."""
    return json_string(token.reveal())[1:-1] if mode in ("cee", "json") else token.reveal()
