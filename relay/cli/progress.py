"""A line on the terminal that says how far a command is."""

from __future__ import annotations

import sys
import time

import click

_WIDTH = 30
_SECONDS_MIN = 0.1
"""Between two drawings."""


class Progress:
    """Drawn over itself on standard error, if that is a terminal.

    Args:
        total: What there is to do; 0 = not known.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()
        self._began = time.monotonic()
        self._drawn_at = 0.0

    def show(self, done: int) -> None:
        """So much is done."""
        now = time.monotonic()
        if self._is_shown and now - self._drawn_at >= _SECONDS_MIN:
            self._drawn_at = now
            click.echo(f"\r{self.line(done, now - self._began)}\x1b[K", err=True, nl=False)

    def end(self) -> None:
        """Remove the line."""
        if self._is_shown and self._drawn_at:
            click.echo("\r\x1b[K", err=True, nl=False)

    def line(self, done: int, seconds: float) -> str:
        """A bar if the total is known, the number, and the mean rate."""
        rate = f"{done / max(seconds, _SECONDS_MIN):,.0f}/s"
        if not self._total:
            return f"{done:,} messages, {rate}"
        share = min(1.0, done / self._total)
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH)
        return f"[{bar}] {share:4.0%} {done:,} of {self._total:,} messages, {rate}"
