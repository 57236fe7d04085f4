from __future__ import annotations

from relay.model.output import SCOPES, STAMP_FORMATS, TYPES, Selection
from relay.rewrite.batch import MacroContext
from relay.rewrite.json.value_pairs import ValuePairs, cast


def test_every_word_has_a_meaning() -> None:
    for name in STAMP_FORMATS:
        context = MacroContext(b"relay", float, ts_format=name)
        for scope in SCOPES:
            ValuePairs(Selection((scope,)), context)
    assert all(callable(cast(name)) for name in TYPES)
