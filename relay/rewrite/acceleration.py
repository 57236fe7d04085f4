"""What is compiled of the rewrites, where it could be compiled (see `compiled.pyx`)."""

from __future__ import annotations

__all__ = ["IS_COMPILED", "write_cee", "write_ewmm"]

try:
    from relay.rewrite.compiled import write_cee, write_ewmm
except ImportError:  # no compiler when the package was built, or another Python than now
    IS_COMPILED = False
else:
    IS_COMPILED = True
