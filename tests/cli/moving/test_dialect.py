from __future__ import annotations

import pytest

from relay.cli.moving.dialect import Dialect, guess
from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.report import Report


def dialect(name: str, sign: str) -> Dialect:
    def read(files: InputFiles, path: str) -> Imported:
        return Imported(name, Report())

    return Dialect(name, lambda text: text.count(sign), read)


DIALECTS = {name: dialect(name, name) for name in ("a", "b")}


def test_the_dialect_with_most_signs_is_taken() -> None:
    assert guess("x", "a b b", DIALECTS).name == "b"


@pytest.mark.parametrize(
    ("text", "said"), [("", "wrote this; say"), ("a b", r"wrote this \(a or b\); say")]
)
def test_a_text_that_may_be_either_needs_a_word(text: str, said: str) -> None:
    with pytest.raises(ImportRefused, match=f"x: cannot tell what {said} so with --from, one of"):
        guess("x", text, DIALECTS)
