"""Foreign text made safe for logs and terminals."""

from __future__ import annotations

__all__ = ["PRINTABLE_MAX", "printable"]

PRINTABLE_MAX = 200


def printable(text: str | bytes, *, length_max: int | None = PRINTABLE_MAX) -> str:
    """`text` on one line, in which nothing moves the cursor or turns the direction of writing.

    What is not printable (control characters, line ends, Unicode's bidirectional controls,
    bytes that are not UTF-8) becomes an escape such as ``\\x1b`` or ``\\u202e``.

    Args:
        length_max: Longest result, in characters; what is longer is cut, and ends with ``…``.
            None = any length.
    """
    if isinstance(text, bytes):
        octets = text if length_max is None else text[: 4 * (length_max + 1)]
        text = octets.decode("utf-8", "backslashreplace")
    if length_max is not None:
        text = text[: length_max + 1]
    if not text.isprintable():
        text = "".join(
            character if character.isprintable() else _escaped(character) for character in text
        )
    return text if length_max is None or len(text) <= length_max else text[: length_max - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
