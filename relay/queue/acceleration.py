"""What is compiled of this layer, where it could be compiled (see `compiled.pyx`)."""

from __future__ import annotations

__all__ = ["IS_COMPILED", "compiled"]

try:
    from relay.queue import compiled
except ImportError:  # no compiler when it was built, another Python now, or not wanted
    compiled = None  # type: ignore[assignment]

IS_COMPILED = compiled is not None
