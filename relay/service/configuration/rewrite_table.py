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

from relay.model.token import Token, check_place, redacted_secret
from relay.service.configuration.filter_table import FilterTables
from relay.service.configuration.keys import Table, key, read_record
from relay.service.configuration.model import RewriteConfiguration, TokenChoice, UnreadToken
from relay.service.configuration.reading import Reading, Reported, SecretFile, TokenVariable
from relay.service.configuration.step_table import Steps
from relay.service.configuration.table import Anything, Choice, Flag, join_path, shown

__all__ = [
    "REWRITE_MODES",
    "TOKEN_MODES",
    "Rewrites",
    "names_a_form",
    "read_token",
    "slot_of",
    "token_from_environment",
    "token_from_file",
]

REWRITE_MODES = ("none", "cee", "tag", "app-name", "ewmm")
TOKEN_MODES = ("cee", "tag", "app-name")
_WAYS = ("token_file", "token_env", "tokens")
_TOKEN_FILE_BYTES_MAX = 4096
_LIKE_A_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_+=-]{20,}")


@dataclass(frozen=True, slots=True)
class _Place:
    """One of several tokens."""

    match: object = key(Anything(), default=None)
    token_file: str = key(SecretFile(is_token=True), default="")
    token_env: str = key(TokenVariable(), default="")


@dataclass(frozen=True, slots=True)
class _Form:
    mode: str = key(Choice(REWRITE_MODES), example='"cee"')
    token_file: str = key(SecretFile(is_token=True), default="")
    token_env: str = key(TokenVariable(), default="")
    tokens: object = key(Anything(), default=None)
    structured_data: bool | None = key(Flag(), default=None)


def names_a_form(values: object) -> bool:
    """Whether a rewrite says in which form messages are sent."""
    last = values[-1] if isinstance(values, list) and values else values
    return isinstance(last, dict) and last.get("mode", "none") != "none"


@dataclass(frozen=True, slots=True)
class Rewrites:
    """A form, such as ``{ mode = "cee", token_file = "token" }``, or a list of steps.

    The last table of a list may be a form.
    """

    filters: FilterTables

    def read_at(self, value: object, path: str, reading: Reading) -> RewriteConfiguration:
        """The rewrite that `value` describes, without what is wrong in it."""
        if not isinstance(value, list):
            return self._form(value, path, reading)
        has_mode = [isinstance(table, dict) and "mode" in table for table in value]
        if any(has_mode[:-1]):
            reading.problems.append(
                f"{path}[{has_mode.index(True)}]: the table with a mode must come last; move it to "
                "the end of the list"
            )
            return RewriteConfiguration()
        steps, form = [], RewriteConfiguration()
        for index, table in enumerate(value):
            with suppress(Reported):
                if has_mode[index]:
                    form = self._form(table, f"{path}[{index}]", reading)
                else:
                    steps.append(reading.read(Steps(self.filters), table, f"{path}[{index}]"))
        return replace(form, steps=tuple(steps))

    def _form(self, values: object, path: str, reading: Reading) -> RewriteConfiguration:
        table = read_record(_Form, values, path, reading)
        mode, problems = table.mode, reading.problems
        ways = [key for key in _WAYS if getattr(table, key) not in ("", None)]
        if table.structured_data is not None and mode != "cee":
            problems.append(
                f"{path}.structured_data: has no meaning for mode {mode!r}, only for cee; remove it"
            )
        elif mode not in TOKEN_MODES:
            problems += [
                f"{path}.{key}: has no meaning for mode {mode!r}, only for "
                f"{', '.join(TOKEN_MODES)}; remove it"
                for key in ways
            ]
        elif len(ways) != 1:
            has = f"has both {' and '.join(ways)}" if ways else "has no token"
            raise ValueError(
                f'mode {mode!r} {has}; write either token_file = "PATH" or token_env = "NAME"'
            )
        else:
            form = RewriteConfiguration(mode, structured_data=bool(table.structured_data))
            if table.tokens is None:
                return replace(form, token=_token_of(mode, table, path, reading))
            found = self._tokens(mode, table.tokens, join_path(path, "tokens"), reading)
            return replace(form, token=found[-1].token, tokens=tuple(found[:-1]))
        return RewriteConfiguration(mode)

    def _tokens(self, mode: str, values: object, path: str, reading: Reading) -> list[TokenChoice]:
        """Several tokens: the first whose match fits; the last is for all other messages."""
        if not isinstance(values, list) or not values:
            reading.problems.append(
                f'{path}: expected a list such as [{{ match = {{ facility = "mail" }}, token_file '
                f'= "mail" }}, {{ token_file = "others" }}], found {shown(values)}'
            )
            raise Reported
        known, found = len(reading.problems), []
        for index, value in enumerate(values):
            where = f"{path}[{index}]"
            with suppress(Reported):
                table = reading.read(Table(_Place), value, where)
                ways = [key for key in _WAYS[:2] if getattr(table, key)]
                is_last = index == len(values) - 1
                if is_last == (table.match is not None):
                    words = "the last one is for all other messages: remove its match, or add one "
                    words = f"{words}without" if is_last else "has no match; only the last may"
                    reading.problems.append(f"{where}: {words}")
                elif len(ways) != 1:
                    reading.problems.append(
                        f'{where}: expected one of token_file = "PATH" and token_env = "NAME", '
                        f"found {' and '.join(ways) or 'neither'}"
                    )
                else:
                    match = None
                    if table.match is not None:
                        match = self.filters.filter(table.match, join_path(where, "match"))
                    token = _token_of(mode, table, where, reading)
                    found.append(TokenChoice(token, match, slot_of(table.match)))
        if len(reading.problems) > known:
            raise Reported
        return found


def slot_of(match: object) -> bytes:
    """What a token is for, in a form that does not depend on its place in the list.

    It stands in queued records until the token is known, so it must never change.
    """
    written = json.dumps(match, sort_keys=True, default=str).encode()
    return b"match-" + blake2s(written, digest_size=8).hexdigest().encode()


def _token_of(
    mode: str, table: _Form | _Place, where: str, reading: Reading
) -> Token | UnreadToken:
    """The token that `table` names; if it cannot be read, why not."""
    place = UnreadToken("", file=table.token_file, variable=table.token_env)
    try:
        return read_token(mode, place)
    except ValueError as error:
        key = "token_file" if table.token_file else "token_env"
        reading.unready.append(f"{join_path(where, key)}: {error}")
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
        with open(path, "rb") as file:
            octets = file.read(_TOKEN_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot read the token file {name}: {error.strerror}") from None
    if len(octets) > _TOKEN_FILE_BYTES_MAX:
        raise ValueError(
            f"{name} is larger than {_TOKEN_FILE_BYTES_MAX} bytes; "
            "expected a file with nothing but the token"
        )
    return _token(octets, f"the token file {name}")


def token_from_environment(variable: str) -> Token:
    """The token in an environment variable.

    Raises:
        ValueError: The variable is not set or does not hold a token.
    """
    value = os.environ.get(variable)
    if value is None:
        raise ValueError(f"the environment variable {_name(variable)} is not set; set it")
    return _token(os.fsencode(value), f"the environment variable {_name(variable)}")


def _token(octets: bytes, holder: str) -> Token:
    secret = octets.strip()
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
