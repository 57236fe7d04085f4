from __future__ import annotations

import re

from relay.cli.traffic import generator, texts

KNOWN = {*generator._FIELDS, *generator._STAMP_FIELDS, "host"}


def strings(value: object) -> list[str]:
    """All texts in `value`, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        return [text for each in value for text in strings(each)]
    return []


def test_every_field_of_every_text_is_known() -> None:
    found = [
        text for name in vars(texts) if name.isupper() for text in strings(getattr(texts, name))
    ]
    assert len(found) > 100
    fields = {field for text in found for field in re.findall(r"\{([a-z0-9]+)\}", text)}
    assert fields <= KNOWN
