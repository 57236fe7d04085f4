"""Templates: text with macros in it, as ``<$PRI>$ISODATE $HOST ${PROGRAM:--} $MSG``.

    $NAME              a macro or pair; letters, digits and _
    ${NAME}            the same; any name, such as ${.SDATA.meta.sequenceId}
    ${NAME:-default}   the default where the value is empty
    $$                 a dollar sign

Escapes such as ``\\n`` are not for templates to know: TOML has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.rewrite.batch import Batch, Column, MacroContext
from relay.rewrite.macros import compile_macro

__all__ = ["Escape", "compile_template", "constant_of", "macros_of"]

Escape = Callable[[bytes], bytes]
"""Makes a value fit for its place, such as a path."""

_PART = re.compile(
    r"(?P<text>[^$]+)|\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z0-9_]+)"
    r"|\{(?P<name>[^{}]*?)(?::-(?P<default>[^{}]*))?\}|(?P<call>\()|(?P<open>\{)|)",
    re.DOTALL,
)


def compile_template(text: str, context: MacroContext, *, escape: Escape | None = None) -> Column:
    """The function that writes `text` for each message of a batch.

    Args:
        escape: Applied to values and defaults, not to the text around them.

    Raises:
        ValueError: Something in `text` is no macro; says what, and at which character.
    """
    parts = [
        _constant(part) if isinstance(part, bytes) else _value(*part, context, escape)
        for part in _split(text)
    ]
    if len(parts) == 1:
        return parts[0]

    def render(batch: Batch) -> list[bytes]:
        return [b"".join(row) for row in zip(*[part(batch) for part in parts], strict=True)]

    return render


def constant_of(text: str) -> bytes | None:
    """What a template always writes; None if it has macros.  ValueError as from
    `compile_template`."""
    (first, *others) = _split(text)
    return first if isinstance(first, bytes) and not others else None


def macros_of(text: str) -> list[str]:
    """The names in a template, in order.  ValueError as from `compile_template`."""
    return [part[0] for part in _split(text) if not isinstance(part, bytes)]


def _split(text: str) -> list[bytes | tuple[str, bytes]]:
    """Texts, and names with their defaults; at least one of them."""
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


def _constant(text: bytes) -> Column:
    return lambda batch: [text] * len(batch.messages)


def _value(name: str, default: bytes, context: MacroContext, escape: Escape | None) -> Column:
    macro = compile_macro(name, context)
    if escape is None:
        if not default:
            return macro
        return lambda batch: [value or default for value in macro(batch)]
    return lambda batch: [escape(value or default) for value in macro(batch)]
