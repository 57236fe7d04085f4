"""Templates: text with macros in it, as ``<$PRI>$ISODATE $HOST ${PROGRAM:--} $MSG``.

    $NAME              a macro or pair; letters, digits and _
    ${NAME}            the same; any name, such as ${.SDATA.meta.sequenceId}
    ${NAME:-default}   the default where the value is empty
    $$                 a dollar sign

Escapes such as ``\\n`` are not for templates to know: TOML has them.
"""

from __future__ import annotations

import re

_PART = re.compile(
    r"(?P<text>[^$]+)|\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z0-9_]+)"
    r"|\{(?P<name>[^{}]*?)(?::-(?P<default>[^{}]*))?\}|(?P<call>\()|(?P<open>\{)|)",
    re.DOTALL,
)


def constant_of(text: str) -> bytes | None:
    """What a template always writes; None if it has macros.  ValueError as from
    `split_template`."""
    (first, *others) = split_template(text)
    return first if isinstance(first, bytes) and not others else None


def macros_of(text: str) -> list[str]:
    """The names in a template, in order.  ValueError as from `split_template`."""
    return [part[0] for part in split_template(text) if not isinstance(part, bytes)]


def split_template(text: str) -> list[bytes | tuple[str, bytes]]:
    """Texts, and names with their defaults; at least one of them.

    Raises:
        ValueError: Something in `text` is no macro; says what, and at which character.
    """
    parts: list[bytes | tuple[str, bytes]] = []
    literal = b""
    for found in _PART.finditer(text):
        if found["text"] is not None or found["dollar"] is not None:
            literal += (found["text"] or "$").encode("utf-8", "replace")
            continue
        name = found["bare"] or found["name"]
        if not name:
            raise ValueError(f"at character {found.start() + 1}: {_mistake(found)}")
        if literal:
            parts.append(literal)
            literal = b""
        parts.append((name, (found["default"] or "").encode("utf-8", "replace")))
    if literal or not parts:
        parts.append(literal)
    return parts


def _mistake(found: re.Match[str]) -> str:
    if found["call"] is not None:
        return (
            "functions, $(…), are not supported; for JSON use the format json, which selects "
            "with the keys of format-json"
        )
    if found["name"] is not None:
        return "${} has no name; write ${NAME}"
    if found["open"] is not None:
        return "${ is not closed; write ${NAME} or ${NAME:-default}, without braces inside"
    return "$ is followed by no name; write $$ for a dollar sign"
