"""The messages that travel between the programs, and how to feed them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.processes import wait_until
from tests.relay_process import received

__all__ = [
    "assert_exactly",
    "in_bursts",
    "legacy_messages",
    "messages",
    "wait_for",
]

BURST = 50

_TEXTS = (
    "plain words",
    "árvíztűrő tükörfúrógép 日本語 🐘",
    'quotes " and \' and backslashes \\ \\n \\" and a slash /',
    '{"json": "inside", "list": [1, 2.5, null]}',
    "percent %s %d %% $PATH ${HOME} $(true) `true`",
    'brackets [not="structured data"] <34>1 - : ;',
    "long " + "0123456789abcdef" * 500,
)

_STRUCTURED = (
    "-",
    r'[exampleSDID@32473 iut="3" eventSource="App\"l\]i\\cation" eventID="1011"]',
    '[meta@32473 sequenceId="29"][other@32473 name="ünïcode"]',
)


def messages(count: int, *, tag: str = "app") -> list[bytes]:
    """`count` different RFC 5424 messages with odd content, in the order to arrive."""
    return [
        (
            f"<{8 * (number % 24) + number % 8}>1 2026-10-11T22:14:15.{number:06d}+00:00"
            f" web-1.example.com {tag} {1000 + number} ID{number % 10}"
            f" {_STRUCTURED[number % len(_STRUCTURED)]}"
            f" number={number} {_TEXTS[number % len(_TEXTS)]} end={number}"
        ).encode()
        for number in range(count)
    ]


def legacy_messages(count: int) -> list[bytes]:
    """The same in the form of RFC 3164."""
    return [
        (
            f"<{8 * (number % 24) + number % 8}>Oct 11 22:14:15 mymachine su[{1000 + number}]:"
            f" number={number} {_TEXTS[number % len(_TEXTS)]} end={number}"
        ).encode()
        for number in range(count)
    ]


def in_bursts(
    feed: Callable[[int, Sequence[bytes]], None],
    port: int,
    frames: Sequence[bytes],
    arrived: Path,
) -> None:
    """Feed so little at once that UDP loses nothing: the next burst when the last is there."""
    for start in range(0, len(frames), BURST):
        burst = frames[start : start + BURST]
        feed(port, burst)
        wait_for(arrived, start + len(burst))


def wait_for(arrived: Path, count: int, seconds_max: float = 30.0) -> list[bytes]:
    """Wait until `arrived` holds `count` lines; return what it holds then."""
    wait_until(lambda: len(received(arrived)) >= count, f"{count} lines in {arrived}", seconds_max)
    return received(arrived)


def assert_exactly(arrived: Path, expected: Sequence[bytes], seconds_max: float = 30.0) -> None:
    """Every message of `expected` arrives once, in order and unchanged; nothing else does."""
    try:
        lines = wait_for(arrived, len(expected), seconds_max)
    except AssertionError:
        lines = received(arrived)
    wrong = next(
        (
            index
            for index, pair in enumerate(zip(lines, expected, strict=False))
            if pair[0] != pair[1]
        ),
        min(len(lines), len(expected)),
    )
    twice = [line[:120] for line, count in Counter(lines).items() if count > 1]
    same = lines == list(expected)  # apart, so that no failure prints all the lines
    assert same, (
        f"{len(lines)} of {len(expected)} arrived; first difference at {wrong}:\n"
        f"  arrived:  {_excerpt(lines, wrong)}\n  expected: {_excerpt(expected, wrong)}\n"
        f"  more than once: {twice[:3]}"
    )


def _excerpt(lines: Sequence[bytes], index: int) -> str:
    line = lines[index] if index < len(lines) else b"(nothing)"
    return repr(line if len(line) <= 400 else line[:300] + b" ... " + line[-100:])
