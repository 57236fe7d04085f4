"""Read what a destination does to messages, and the token for it.

A token comes from a file or an environment variable, never from the
configuration itself, and is in no message: a name that looks like a pasted token
is masked too.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2s

from relay.model.token import HEADERS, HEADERS_OF, Token, check_place, redacted_secret
from relay.service.configuration.keys import Table, group, key, read_record
from relay.service.configuration.reading import (
    Entries,
    Reading,
    Reported,
    SecretFile,
    TokenVariable,
    content_of,
)
from relay.service.configuration.table import Choice, Flag, shown
from relay.service.configuration.tables.filter import MATCH, Filter
from relay.service.configuration.tables.step import Step, StepTable

TOKEN_MODES = tuple(HEADERS_OF)
REWRITE_MODES = ("none", *TOKEN_MODES, "ewmm")
_OBJECT_MODES = ("cee", "json")
_MODE_IS_NOT_LAST = "the table with a mode must come last; move it to the end of the list"
_TOKEN_FILE_BYTES_MAX = 4096
_LIKE_A_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_+=-]{20,}")


@dataclass(frozen=True, slots=True)
class UnreadToken:
    """Where a token should be that could not be read."""

    problem: str
    """Why, for people."""
    file: str = ""
    """Absolute path; or else there is a variable."""
    variable: str = ""
    """Of the environment."""


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One of several tokens."""

    token: Token | UnreadToken
    match: Filter | None
    """The messages that it is for; None = all others."""
    slot: bytes
    """Stands in queued records for a token that is not known yet."""


@dataclass(frozen=True, slots=True)
class RewriteConfiguration:
    mode: str = "none"
    """One of `REWRITE_MODES`."""
    token: Token | UnreadToken | None = None
    """Set for `TOKEN_MODES`."""
    tokens: tuple[TokenChoice, ...] = ()
    """Other tokens, which go before it."""
    structured_data: bool = False
    """Of cee and json: put STRUCTURED-DATA and MSGID into the object."""
    header: str = ""
    """Of `TOKEN_MODES`: one of `HEADERS_OF`; empty = the first of the mode."""
    steps: tuple[Step, ...] = ()
    """What comes before."""

    @property
    def known_tokens(self) -> list[Token]:
        """Those that could be read."""
        named = [self.token, *(choice.token for choice in self.tokens)]
        return [token for token in named if isinstance(token, Token)]


class _SlottedMatch:
    """A filter, and the slot for the token that it chooses."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> tuple[Filter, bytes]:
        return MATCH.read_at(value, path, reading), slot_of(value)


@dataclass(frozen=True, slots=True)
class _Place:
    """One of several tokens."""

    match: tuple[Filter, bytes] | None = key(_SlottedMatch(), default=None)
    token_file: str = key(SecretFile(is_token=True), default="")
    token_env: str = key(TokenVariable(), default="")

    @property
    def ways(self) -> list[str]:
        return [name for name in ("token_file", "token_env") if getattr(self, name)]


class _Tokens:
    """Several tokens: the first whose match fits; the last is for all other messages."""

    allowed = "a list of tables"

    def read_at(self, value: object, path: str, reading: Reading, /) -> tuple[_Place, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError(
                'expected a list such as [{ match = { facility = "mail" }, token_file = "mail" }, '
                f'{{ token_file = "others" }}], found {shown(value)}'
            )
        with reading.whole():
            places = Entries(Table(_Place)).read_at(value, path, reading)
            for index, place in enumerate(places):
                is_last = index == len(value) - 1
                if is_last == (place.match is not None):
                    problem = "has no match; only the last may"
                    if is_last:
                        problem = (
                            "the last one is for all other messages: remove its match, or add one "
                            "without"
                        )
                    reading.add(f"{path}[{index}]", problem)
                elif len(place.ways) != 1:
                    reading.add(
                        f"{path}[{index}]",
                        'expected one of token_file = "PATH" and token_env = "NAME", found '
                        f"{' and '.join(place.ways) or 'neither'}",
                    )
        return places


@dataclass(frozen=True, slots=True)
class FormKeys:
    """What a form with a token is made of, beside its mode."""

    token_file: str = key(SecretFile(is_token=True), "", "file that holds nothing but the token")
    token_env: str = key(TokenVariable(), "", "environment variable with the token")
    tokens: tuple[_Place, ...] = key(
        _Tokens(), (), "list of tokens for messages that fit a `match`, and one for all others"
    )
    structured_data: bool | None = key(
        Flag(), None, "put STRUCTURED-DATA and MSGID into the JSON object"
    )
    header: str = key(
        Choice(HEADERS),
        "",
        "header of messages: that of rsyslog's template for Sematext, or of a standard",
        default_text="`rsyslog` for cee and tag, `rfc5424` for json, app-name and none",
    )


@dataclass(frozen=True, slots=True)
class _Form:
    mode: str = key(Choice(REWRITE_MODES), example='"cee"')
    keys: FormKeys = group(FormKeys)


def names_a_form(values: object) -> bool:
    """Whether a rewrite says in which form messages are sent."""
    last = values[-1] if isinstance(values, list) and values else values
    return isinstance(last, dict) and last.get("mode", "none") != "none"


class Rewrites:
    """A form, such as ``{ mode = "cee", token_file = "token" }``, or a list of steps.

    The last table of a list may be a form.
    """

    allowed = "table or list"

    def read_at(self, value: object, path: str, reading: Reading, /) -> RewriteConfiguration:
        """The rewrite that `value` describes, without what is wrong in it."""
        if not isinstance(value, list):
            return _form(value, path, reading)
        has_mode = [isinstance(table, dict) and "mode" in table for table in value]
        if any(has_mode[:-1]):
            where = f"{path}[{has_mode.index(True)}]"
            reading.add(where, _MODE_IS_NOT_LAST)
            return RewriteConfiguration()
        steps, form = [], RewriteConfiguration()
        for index, table in enumerate(value):
            with suppress(Reported):
                where = f"{path}[{index}]"
                if has_mode[index]:
                    form = _form(table, where, reading)
                else:
                    steps.append(reading.read(StepTable(), table, where))
        return replace(form, steps=tuple(steps))


def _form(values: object, path: str, reading: Reading) -> RewriteConfiguration:
    found = read_record(_Form, values, path, reading)
    mode, table = found.mode, found.keys
    ways = [name for name in ("token_file", "token_env", "tokens") if getattr(table, name)]
    if table.structured_data is not None and mode not in _OBJECT_MODES:
        problem = f"has no meaning for mode {mode!r}, only for cee and json; remove it"
        reading.add(f"{path}.structured_data", problem)
        return RewriteConfiguration(mode)
    if table.header and table.header not in (headers := HEADERS_OF.get(mode, ())):
        problem = f"allowed for mode {mode!r}: {' and '.join(headers) or 'none'}"
        reading.add(f"{path}.header", f"found {table.header!r}; {problem}")
        return RewriteConfiguration(mode)
    if mode not in TOKEN_MODES:
        problem = f"has no meaning for mode {mode!r}, only for {', '.join(TOKEN_MODES)}; remove it"
        for way in ways:
            reading.add(f"{path}.{way}", problem)
        return RewriteConfiguration(mode)
    if len(ways) != 1:
        has = f"has both {' and '.join(ways)}" if ways else "has no token"
        raise ValueError(
            f'mode {mode!r} {has}; write either token_file = "PATH" or token_env = "NAME"'
        )
    form = RewriteConfiguration(
        mode, structured_data=bool(table.structured_data), header=table.header
    )
    if not table.tokens:
        return replace(form, token=_token_of(mode, table, path, reading))
    read = [
        (place, _token_of(mode, place, f"{path}.tokens[{index}]", reading))
        for index, place in enumerate(table.tokens)
    ]
    choices = [TokenChoice(token, *place.match) for place, token in read if place.match]
    return replace(form, token=read[-1][1], tokens=tuple(choices))


def slot_of(match: object) -> bytes:
    """What a token is for, in a form that does not depend on its place in the list.

    It stands in queued records until the token is known, so it must never change.
    """
    written = json.dumps(match, sort_keys=True, default=str).encode()
    return b"match-" + blake2s(written, digest_size=8).hexdigest().encode()


def _token_of(
    mode: str, table: FormKeys | _Place, where: str, reading: Reading
) -> Token | UnreadToken:
    """The token that `table` names; if it cannot be read, why not."""
    place = UnreadToken("", file=table.token_file, variable=table.token_env)
    try:
        return read_token(mode, place)
    except ValueError as error:
        key = "token_file" if table.token_file else "token_env"
        reading.unready.append(f"{where}.{key}: {error}")
        return replace(place, problem=str(error))


def read_token(mode: str, place: UnreadToken) -> Token:
    """The token in `place`, for the form of `mode`.

    Raises:
        ValueError: There is none, or `mode` has no room for it.
    """
    if place.variable:
        token = token_from_environment(place.variable)
    else:
        token = token_from_file(place.file)
    check_place(mode, token)
    return token


def token_from_file(path: str) -> Token:
    """The token that is the whole content of a file, without white space around it.

    Raises:
        ValueError: The file cannot be read, or does not hold exactly one token.
    """
    name = _name(path)
    try:
        data = content_of(path, bytes_max=_TOKEN_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot read the token file {name}: {error.strerror}") from None
    if len(data) > _TOKEN_FILE_BYTES_MAX:
        raise ValueError(
            f"{name} is larger than {_TOKEN_FILE_BYTES_MAX} bytes; "
            "expected a file with nothing but the token"
        )
    return _token(data, f"the token file {name}")


def token_from_environment(variable: str) -> Token:
    """The token in an environment variable.

    Raises:
        ValueError: The variable is not set or does not hold a token.
    """
    value = os.environ.get(variable)
    if value is None:
        raise ValueError(f"the environment variable {_name(variable)} is not set; set it")
    return _token(os.fsencode(value), f"the environment variable {_name(variable)}")


def _token(data: bytes, holder: str) -> Token:
    secret = data.strip()
    if not secret:
        raise ValueError(f"{holder} is empty; put the token into it")
    try:
        return Token(secret)
    except ValueError as error:
        raise ValueError(f"{holder} holds no token: {error}") from None


def _name(text: str) -> str:
    """`text`, or a masked form if its last part looks like a token pasted in the wrong place."""
    directory, _, last = text.rpartition("/")
    if not _LIKE_A_TOKEN.fullmatch(last):
        return text if len(text) <= 200 else shown(text)
    last = redacted_secret(last.encode())
    return f"{directory}/{last}" if directory else last
