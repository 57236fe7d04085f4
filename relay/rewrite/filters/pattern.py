"""Text tests: equal, glob, substring, regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.model.expression import Expression

__all__ = ["TextTest", "glob", "name_glob", "regex", "substring"]

TextTest = Callable[[bytes], bool]


def glob(pattern: str, *, ignore_case: bool = False) -> TextTest:
    """Test whether the whole text matches `pattern`, where ``*`` is any text and ``?`` one byte."""
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
    translated = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return Expression(rf"(?s)\A{translated}\Z", ignore_case=ignore_case).search


def substring(part: str, *, ignore_case: bool = False) -> TextTest:
    """Test whether the text contains `part`.  Case is ignored for ASCII only."""
    octets = part.encode()
    if not ignore_case:
        return lambda text: octets in text
    search = re.compile(re.escape(octets), re.IGNORECASE).search
    return lambda text: search(text) is not None


def regex(pattern: str, *, ignore_case: bool = False) -> TextTest:
    """Whether `pattern` is found anywhere in the text.

    Raises:
        ValueError: `pattern` is no regular expression of Python's `re`.
    """
    return Expression(pattern, ignore_case=ignore_case).search


def name_glob(pattern: str) -> Callable[[str], bool]:
    """Test whether a name matches `pattern`, case-sensitively."""
    test = glob(pattern)
    return lambda name: test(name.encode("utf-8", "surrogateescape"))
