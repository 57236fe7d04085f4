"""Paths with wildcards, as in ``/var/log/*/app-[0-9].log``.

In each component ``*`` stands for any text, ``?`` for one character and ``[…]`` for
one of those; ``**`` as a whole component stands for any directories, none included.
As in a shell, a wildcard does not match a dot at the beginning of a name.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import partial

Step = str | Callable[[str], bool]
"""One component: a name, or a test of names."""

ANY_DEPTH = "**"
_MAGIC = re.compile(r"[*?\[]")


def parse_wildcard(path: str) -> tuple[Step, ...]:
    """Take an absolute `path` with wildcards apart.  ``**`` at the end means all files below."""
    names = [name for name in path.split("/") if name]
    if names and names[-1] == ANY_DEPTH:
        names.append("*")
    return tuple(_step(name) for name in names)


def matches(steps: Sequence[Step], path: str) -> bool:
    """Whether the absolute `path` is one that `steps` stand for."""
    return _matches(steps, [name for name in path.split("/") if name])


def _matches(steps: Sequence[Step], names: Sequence[str]) -> bool:
    if not steps:
        return not names
    step, rest = steps[0], steps[1:]
    if step == ANY_DEPTH:
        return _matches(rest, names) or (
            bool(names) and not names[0].startswith(".") and _matches(steps, names[1:])
        )
    if not names:
        return False
    fits = step == names[0] if isinstance(step, str) else step(names[0])
    return fits and _matches(rest, names[1:])


def _step(name: str) -> Step:
    if name == ANY_DEPTH or not _MAGIC.search(name):
        return name
    pattern = re.compile(fnmatch.translate(name))
    return partial(_fits, pattern, name.startswith("."))


def _fits(pattern: re.Pattern[str], hidden: bool, name: str) -> bool:
    return (hidden or not name.startswith(".")) and pattern.match(name) is not None
