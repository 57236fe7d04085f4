"""Templates: from their text (`relay.model.template`) to the function that writes them."""

from __future__ import annotations

from collections.abc import Callable

from relay.model.template import split_template
from relay.rewrite.batch import Batch, Column, MacroContext
from relay.rewrite.template.macros import compile_macro

__all__ = ["Escape", "compile_template"]

Escape = Callable[[bytes], bytes]
"""Escapes a value for its context, such as a path."""


def compile_template(text: str, context: MacroContext, *, escape: Escape | None = None) -> Column:
    """The function that writes `text` for each message of a batch.

    Args:
        escape: Applied to values and defaults, not to the text around them.

    Raises:
        ValueError: Something in `text` is no macro; says what, and at which character.
    """
    parts = [
        _constant(part) if isinstance(part, bytes) else _value(*part, context, escape)
        for part in split_template(text)
    ]
    if len(parts) == 1:
        return parts[0]

    def render(batch: Batch) -> list[bytes]:
        return [b"".join(row) for row in zip(*[part(batch) for part in parts], strict=True)]

    return render


def _constant(text: bytes) -> Column:
    return lambda batch: [text] * len(batch.messages)


def _value(name: str, default: bytes, context: MacroContext, escape: Escape | None) -> Column:
    macro = compile_macro(name, context)
    if escape is None:
        if not default:
            return macro
        return lambda batch: [value or default for value in macro(batch)]
    return lambda batch: [escape(value or default) for value in macro(batch)]
