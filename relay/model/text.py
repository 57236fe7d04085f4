"""Text for people: numbers and lengths of time, foreign text made safe, JSON documents."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd])", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern} ?){{1,4}}", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def counted(number: int, noun: str, plural: str = "") -> str:
    """`number` with its noun: ``1 message``, ``2,500 messages``.

    Args:
        plural: Of a noun that does not just take an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def span(noun: str, first: int, last: int) -> str:
    """Consecutive numbers of things: ``record 1``, ``records 1 to 5``."""
    return f"{noun} {first}" if first == last else f"{noun}s {first} to {last}"


def duration(seconds: float) -> str:
    """A length of time in at most two units, as in ``3 m 20 s``; never a negative one."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def size(number: int) -> str:
    """A number of bytes in the largest binary unit that it fills: ``61.2 KiB``, ``4 MiB``."""
    amount, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:,.1f}".removesuffix(".0") + f" {unit}"


def seconds_in(text: str) -> float:
    """The seconds that `text` stands for: ``90s``, ``30m``, ``6h``, ``7d``, ``1h30m``.

    Raises:
        ValueError: It is no length of time.
    """
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is no length of time such as 90s, 30m, 6h, 7d or 1h30m")
    parts = _PART.findall(text)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


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
        start = text if length_max is None else text[: 4 * (length_max + 1)]
        text = start.decode("utf-8", "backslashreplace")
    if length_max is not None:
        text = text[: length_max + 1]
    if not text.isprintable():
        text = "".join(
            each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
        )
    return text if length_max is None or len(text) <= length_max else text[: length_max - 1] + "…"


Document: TypeAlias = dict[str, Any]
"""A JSON object.  `relay.observe.status` lists the keys of status; values are JSON."""
