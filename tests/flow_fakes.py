"""What drains in tests need."""

from __future__ import annotations

from relay.flow.refusals import Refusals

__all__ = ["new_refusals"]


def new_refusals(refusals_max: int) -> Refusals:
    """Those of an upstream that nobody is told of."""
    return Refusals(
        refusals_max, now=lambda: 0.0, on_held=lambda words: None, on_taken=lambda words: None
    )
