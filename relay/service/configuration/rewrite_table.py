"""Read what a destination does to messages, and the token for it.

A token comes from a file or an environment variable, never from the
configuration itself, and is in no message: a name that looks like a pasted token
is masked too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any

from relay.model.token import Token, check_place, masked_secret
from relay.rewrite.forms.form import Form, Program, Writer, form_of
from relay.rewrite.forms.programs import app_name_program, cee_program, tag_program
from relay.rewrite.forms.token import app_name, cee, tag
from relay.service.configuration.model import RewriteConfiguration, UnreadToken
from relay.service.configuration.schema import REWRITE, TOKEN, TOKEN_MODES
from relay.service.configuration.table import join_path, read_table, shown

__all__ = [
    "names_a_form",
    "read_rewrite",
    "read_token",
    "token_from_environment",
    "token_form",
    "token_from_file",
]

_FORMS: Mapping[str, tuple[Callable[..., Writer], Callable[..., Program | None]]] = {
    "cee": (cee, cee_program),
    "tag": (tag, tag_program),
    "app-name": (app_name, app_name_program),
}
_WAYS = ("token_file", "token_env", "tokens")
_TOKEN_FILE_BYTES_MAX = 4096
_LIKE_A_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_+=-]{20,}")


def read_rewrite(
    values: object, path: str, *, base_dir: str, problems: list[str], unread: list[str]
) -> RewriteConfiguration:
    """Read a rewrite: a table such as ``{ mode = "cee", token_file = "token" }``, or a list.

    In a list all tables are steps, which are read when they are put to use, but for a
    last one with a mode.

    Args:
        values: The table or the list as TOML gave it.
        path: Its dotted path, for the problems.
        base_dir: Directory for a relative token_file.
        problems: One line is appended for each thing that is wrong.
        unread: One line is appended for each token that cannot be read.
    """
    if not isinstance(values, list):
        return _read_form(values, path, base_dir, problems, unread)
    for index, step in enumerate(values[:-1]):
        if isinstance(step, dict) and "mode" in step:
            problems.append(f"{path}[{index}]: a table with a mode is the last one; move it there")
            return RewriteConfiguration()
    if not values or not isinstance(values[-1], dict) or "mode" not in values[-1]:
        return RewriteConfiguration(steps=tuple(values))
    where = f"{path}[{len(values) - 1}]"
    form = _read_form(values[-1], where, base_dir, problems, unread)
    return replace(form, steps=tuple(values[:-1]))


def names_a_form(values: object) -> bool:
    """Whether a rewrite says in which form messages are sent."""
    last = values[-1] if isinstance(values, list) and values else values
    return isinstance(last, dict) and last.get("mode", "none") != "none"


def _read_form(
    values: object, path: str, base_dir: str, problems: list[str], unread: list[str]
) -> RewriteConfiguration:
    known = len(problems)
    table = read_table(values, REWRITE, path, problems)
    if isinstance(values, dict) and "mode" not in values:
        problems.append(f'{path}.mode: is missing; write for example mode = "cee"')
    if len(problems) > known:
        return RewriteConfiguration()
    mode = table["mode"]
    if "structured_data" in table and mode != "cee":
        problems.append(
            f"{path}.structured_data: has no meaning for mode {mode!r}, only for cee; remove it"
        )
        return RewriteConfiguration(mode)
    form = _read_token_form(mode, table, path, base_dir, problems, unread)
    return replace(form, structured_data=table.get("structured_data", False))


def _read_token_form(
    mode: str,
    table: Mapping[str, Any],
    path: str,
    base_dir: str,
    problems: list[str],
    unread: list[str],
) -> RewriteConfiguration:
    ways = [key for key in _WAYS if key in table]
    if mode not in TOKEN_MODES:
        problems.extend(
            f"{path}.{key}: has no meaning for mode {mode!r}, only for {', '.join(TOKEN_MODES)}; "
            "remove it"
            for key in ways
        )
        return RewriteConfiguration(mode)
    if len(ways) != 1:
        has = f"has both {' and '.join(ways)}" if ways else "has no token"
        problems.append(
            f'{path}: mode {mode!r} {has}; write either token_file = "PATH" or token_env = "NAME"'
        )
        return RewriteConfiguration(mode)
    if "tokens" in table:
        where = join_path(path, "tokens")
        return _read_tokens(mode, table["tokens"], where, base_dir, problems, unread)
    return RewriteConfiguration(mode, _token_of(mode, table, path, base_dir, unread))


def _read_tokens(
    mode: str,
    values: object,
    path: str,
    base_dir: str,
    problems: list[str],
    unread: list[str],
) -> RewriteConfiguration:
    """Several tokens: the first whose match fits; the last is for all other messages."""
    if not isinstance(values, list) or not values:
        problems.append(
            f'{path}: expected a list such as [{{ match = {{ facility = "mail" }}, token_file = '
            f'"mail" }}, {{ token_file = "others" }}], found {shown(values)}'
        )
        return RewriteConfiguration(mode)
    found: list[tuple[object, Token | UnreadToken]] = []
    for index, value in enumerate(values):
        where = f"{path}[{index}]"
        table = read_table(value, TOKEN, where, problems)
        ways = [key for key in _WAYS if key in table]
        is_last = index == len(values) - 1
        if is_last == ("match" in table):
            words = "the last one is for all other messages: remove its match, or add one without"
            problems.append(f"{where}: {words if is_last else 'has no match; only the last may'}")
        elif len(ways) != 1:
            problems.append(
                f'{where}: expected one of token_file = "PATH" and token_env = "NAME", found '
                f"{' and '.join(ways) or 'neither'}"
            )
        else:
            token = _token_of(mode, table, where, base_dir, unread)
            found.append((table.get("match"), token))
    if len(found) < len(values):
        return RewriteConfiguration(mode)
    return RewriteConfiguration(mode, found[-1][1], tokens=tuple(found[:-1]))


def _token_of(
    mode: str, table: Mapping[str, Any], where: str, base_dir: str, unread: list[str]
) -> Token | UnreadToken:
    """The token that `table` names; if it cannot be read, why not."""
    key = "token_file" if "token_file" in table else "token_env"
    if key == "token_file":
        place = UnreadToken("", file=os.path.join(base_dir, table[key]))
    else:
        place = UnreadToken("", variable=table[key])
    try:
        return read_token(mode, place)
    except ValueError as error:
        unread.append(f"{join_path(where, key)}: {error}")
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


def token_form(
    mode: str,
    token: Token,
    *,
    relay_name: bytes,
    zone: tzinfo,
    known: Collection[bytes] = (),
    structured_data: bool = False,
) -> Form:
    """The form for `mode`: cee, tag or app-name.

    Args:
        known: Tokens that messages may carry in their headers, whatever their form.
        structured_data: Of cee: put STRUCTURED-DATA and MSGID into the object.

    Raises:
        ValueError: `token` cannot take the place that the mode gives it.
    """
    write, program = _FORMS[mode]
    options: dict[str, Any] = {"relay_name": relay_name, "known": known}
    if structured_data:
        return form_of(write(token, zone, structured_data=True, **options))
    return form_of(write(token, zone, **options), program(token, zone, **options))


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
    last = masked_secret(last.encode())
    return f"{directory}/{last}" if directory else last
