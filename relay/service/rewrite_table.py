"""Read what a destination does to messages, and the token for it.

A token comes from a file or an environment variable, never from the
configuration itself, and is in no message: a name that looks like a pasted token
is masked too.
"""

from __future__ import annotations

import os
import re
from datetime import UTC

from relay.model.token import Token
from relay.service.configuration import RewriteConfiguration
from relay.service.rewriting import new_rewrite
from relay.service.schema import REWRITE, TOKEN_MODES
from relay.service.table import join_path, masked, read_table, shown

__all__ = ["check_form", "read_rewrite", "token_from_environment", "token_from_file"]

_TOKEN_FILE_BYTES_MAX = 4096
_LIKE_A_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_+=-]{20,}")


def read_rewrite(
    values: object, path: str, *, base_dir: str, problems: list[str]
) -> RewriteConfiguration:
    """Read a rewrite table, such as ``{ mode = "cee", token_file = "token" }``.

    Args:
        values: The table as TOML gave it.
        path: Its dotted path, for the problems.
        base_dir: Directory for a relative token_file.
        problems: One line is appended for each thing that is wrong.
    """
    known = len(problems)
    table = read_table(values, REWRITE, path, problems)
    if isinstance(values, dict) and "mode" not in values:
        problems.append(f'{path}.mode: is missing; write for example mode = "cee"')
    if len(problems) > known:
        return RewriteConfiguration()
    mode = table["mode"]
    ways = [key for key in ("token_file", "token_env") if key in table]
    if mode not in TOKEN_MODES:
        problems.extend(
            f"{path}.{key}: has no meaning for mode {mode!r}, only for {', '.join(TOKEN_MODES)}; "
            "remove it"
            for key in ways
        )
        return RewriteConfiguration(mode)
    if len(ways) != 1:
        has = "has both token_file and token_env" if ways else "has no token"
        problems.append(
            f'{path}: mode {mode!r} {has}; write either token_file = "PATH" or token_env = "NAME"'
        )
        return RewriteConfiguration(mode)
    try:
        if "token_file" in table:
            token = token_from_file(os.path.join(base_dir, table["token_file"]))
        else:
            token = token_from_environment(table["token_env"])
        check_form(mode, token)
    except ValueError as error:
        problems.append(f"{join_path(path, ways[0])}: {error}")
        return RewriteConfiguration(mode)
    return RewriteConfiguration(mode, token)


def check_form(mode: str, token: Token) -> None:
    """Raise ValueError if `token` cannot take the place that `mode` gives it."""
    new_rewrite(RewriteConfiguration(mode, token), relay_name=b"-", zone=UTC)


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
    return f"{directory}/{masked(last)}" if directory else masked(last)
