r"""Regular expressions that cannot stop the relay.

Python's `re` backtracks: ``^(a+)+$`` takes minutes for a line of 40 bytes, and holds the
interpreter for as long.  RE2 takes a time that is linear in the text, so whatever RE2 can
run, it runs.  It has no lookaround, no references to groups and no possessive quantifiers;
an expression with one of those runs in `regex`, which can be given a time limit.

Patterns are written in the syntax of Python's `re`.  In RE2, ``$`` is the end of the text
alone (`re` also takes the place before a line feed at the end), and ``\s`` leaves out the
vertical tab.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import re2

T = TypeVar("T")

SECONDS_MAX = 0.05
"""Time that an expression which backtracks may take for one value, in seconds."""

_SECONDS_MIN = 0.0005
"""What is left of it when value after value reaches the limit: 64 KiB of lines that were
made to slow an expression down must not take minutes."""

_RECOVERY = 1.01
"""Growth of the limit with each search that stays below it."""

TIMEOUTS: Counter[str] = Counter()
"""How often an expression reached its time limit, by its pattern, in this process."""

# An escape; a set, in which there are no quantifiers; or the start of ``{,n}``.
_UNLIKE_RE2 = re.compile(
    rb"\\(?P<escape>.)|\[\^?\]?(?:\\.|[^\]\\])*+\]|(?P<at_most>\{,(?=[0-9]++\}))", re.DOTALL
)


class Expression:
    """A regular expression for bytes.

    Args:
        pattern: In the syntax of Python's `re`.
        ignore_case: Of ASCII letters.

    Raises:
        ValueError: `pattern` is no regular expression; the text says where it goes wrong.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        encoded = pattern.encode()
        flags = re.IGNORECASE if ignore_case else 0
        try:
            self._reference = re.compile(encoded, flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        self.pattern = pattern
        self._seconds_max = SECONDS_MAX
        self._linear = _linear(encoded, ignore_case=ignore_case)
        if self._linear is None:
            # Not at the top: it takes 1 MiB, and hardly any configuration has such an expression.
            import regex

            try:
                self._limited = regex.compile(encoded, flags)
            except regex.error as error:
                raise ValueError(f"not a regular expression: {error}") from None

    @property
    def backtracks(self) -> bool:
        """Whether its time is limited by a clock, because it is not linear in the text."""
        return self._linear is None

    @property
    def names(self) -> tuple[str, ...]:
        """The named groups."""
        return tuple(self._reference.groupindex)

    def check_replacement(self, replacement: bytes) -> None:
        r"""See whether the groups that `replacement` refers to (``\1``, ``\g<name>``) exist.

        Raises:
            ValueError: They do not.
        """
        try:
            # A template is read only when something is found; the empty text always is.
            pattern = re.compile(self._reference.pattern + b"|", self._reference.flags)
            pattern.sub(replacement, b"")
        except (re.error, IndexError) as error:
            raise ValueError(str(error)) from None

    def search(self, text: bytes) -> bool:
        """Whether it is found anywhere in `text`; reaching the time limit is a no."""
        return self._search(text) is not None

    def captures(self, text: bytes) -> dict[str, bytes] | None:
        """What the named groups that took part have captured; None if nothing is found."""
        found = self._search(text)
        if found is None:
            return None
        captured = {name: found[self._reference.groupindex[name]] for name in self.names}
        return {name: part for name, part in captured.items() if part is not None}

    def sub(
        self, replacement: bytes | Callable[[bytes], bytes], text: bytes, count: int = 0
    ) -> bytes:
        """Replace what it finds in `text`.

        Args:
            replacement: A template as for `re.sub`, or a function of what was found.
            count: How many to replace; 0 = all.

        Raises:
            TimeoutError: The time limit was reached; it is counted.
        """
        put = _of_match(replacement) if callable(replacement) else replacement
        if self._linear is not None:
            return _replaced(self._linear, put, text, count)
        return bytes(self._within_time(self._limited.sub, put, text, count))

    def _search(self, text: bytes) -> re.Match[bytes] | None:
        if self._linear is not None:
            return self._linear.search(text)
        try:
            found: re.Match[bytes] | None = self._within_time(self._limited.search, text)
            return found
        except TimeoutError:
            return None

    def _within_time(self, run: Callable[..., T], *args: object) -> T:
        try:
            result = run(*args, timeout=self._seconds_max)
        except TimeoutError:
            TIMEOUTS[self.pattern] += 1
            self._seconds_max = max(_SECONDS_MIN, self._seconds_max / 2)
            raise
        self._seconds_max = min(SECONDS_MAX, self._seconds_max * _RECOVERY)
        return result


def _replaced(
    expression: re.Pattern[bytes],
    put: bytes | Callable[[re.Match[bytes]], bytes],
    text: bytes,
    count: int,
) -> bytes:
    # RE2's own `sub` finds an empty match twice that lies beyond where it looked from.
    pieces: list[bytes] = []
    copied = start = found = 0
    while start <= len(text) and (not count or found < count):
        match = expression.search(text, start)
        if match is None:
            break
        pieces += (text[copied : match.start()], put(match) if callable(put) else match.expand(put))
        copied, found = match.end(), found + 1
        start = copied if copied > match.start() else copied + 1
    return b"".join((*pieces, text[copied:]))


def _of_match(replacement: Callable[[bytes], bytes]) -> Callable[[re.Match[bytes]], bytes]:
    return lambda match: replacement(match[0])


def _linear(pattern: bytes, *, ignore_case: bool) -> re.Pattern[bytes] | None:
    """`pattern` for RE2, whose patterns and matches have the methods of those of `re`; None if RE2
    cannot run it."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # a character is a byte
    options.case_sensitive = not ignore_case
    options.log_errors = False
    try:
        compiled: re.Pattern[bytes] = re2.compile(_UNLIKE_RE2.sub(_for_re2, pattern), options)
        return compiled
    except re2.error:
        return None


def _for_re2(part: re.Match[bytes]) -> bytes:
    if part["at_most"]:
        return b"{0,"  # RE2 takes ``{,n}`` for text
    return rb"\z" if part["escape"] == b"Z" else part[0]
