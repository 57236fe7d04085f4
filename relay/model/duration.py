"""Lengths of time as people write them: ``90s``, ``30m``, ``6h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re

__all__ = ["seconds_in"]

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd])", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern} ?){{1,4}}", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_in(text: str) -> float:
    """The seconds that `text` stands for.

    Raises:
        ValueError: It is no length of time.
    """
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is no length of time such as 90s, 30m, 6h, 7d or 1h30m")
    parts = _PART.findall(text)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
