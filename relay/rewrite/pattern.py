"""Tests of a text: equal, glob, substring, regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["TextTest", "compiled", "glob", "name_glob", "regex", "substring"]

TextTest = Callable[[bytes], bool]


def glob(pattern: str, *, ignore_case: bool = False) -> TextTest:
    """Whether the whole text fits `pattern`, where ``*`` is any text and ``?`` one octet."""
    octets = pattern.encode()
    if not ignore_case:
        fixed, star, rest = octets.partition(b"*")
        if b"?" not in octets:
            if not star:
                return lambda text: text == octets
            if not rest:
                return lambda text: text.startswith(fixed)
            if not fixed and b"*" not in rest:
                return lambda text: text.endswith(rest)
    translated = re.escape(octets).replace(rb"\*", b".*").replace(rb"\?", b".")
    return _found(re.compile(translated, _flags(ignore_case)).fullmatch)


def substring(part: str, *, ignore_case: bool = False) -> TextTest:
    """Whether the text has `part` in it.  Case is ignored for ASCII only."""
    octets = part.encode()
    if not ignore_case:
        return lambda text: octets in text
    return _found(re.compile(re.escape(octets), _flags(True)).search)


def regex(pattern: str, *, ignore_case: bool = False) -> TextTest:
    """Whether `pattern` is found anywhere in the text.

    Raises:
        ValueError: `pattern` is no regular expression of Python's `re`.
    """
    return _found(compiled(pattern, ignore_case=ignore_case).search)


def compiled(pattern: str, *, ignore_case: bool = False) -> re.Pattern[bytes]:
    """`pattern` for octets.

    Raises:
        ValueError: It is no regular expression; the text says where it goes wrong.
    """
    try:
        return re.compile(pattern.encode(), re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


def name_glob(pattern: str) -> Callable[[str], bool]:
    """Whether a name fits `pattern`, case and all."""
    test = glob(pattern)
    return lambda name: test(name.encode("utf-8", "surrogateescape"))


def _flags(ignore_case: bool) -> re.RegexFlag:
    return re.DOTALL | re.IGNORECASE if ignore_case else re.DOTALL


def _found(search: Callable[[bytes], object]) -> TextTest:
    return lambda text: search(text) is not None
