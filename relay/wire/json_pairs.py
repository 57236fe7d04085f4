"""Values of pairs as text (placeholder of the merge)."""

from __future__ import annotations

__all__ = ["text_of"]


def text_of(value: bytes) -> bytes:
    return value


def flatten_json(text: bytes) -> dict[str, bytes] | None:
    return None
