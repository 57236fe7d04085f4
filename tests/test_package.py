from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay import SOFTWARE, codec


@pytest.mark.parametrize(
    ("sources", "modules", "is_stale"),
    [
        ({"a.pyx": 1, "b.pxd": 2}, {"lines.x.so": 3, "forms.y.so": 2}, False),
        ({"a.pyx": 1, "b.pxd": 3}, {"lines.x.so": 4, "forms.y.so": 2}, True),
        ({}, {"lines.x.so": 1}, False),  # as in a wheel
        ({"a.pyx": 1}, {}, False),
        ({"a.pyx": 1, "a.pyi": 9, "a.py": 9}, {"lines.x.so": 3}, False),
    ],
)
def test_what_was_compiled_from_something_else_is_not_used(
    tmp_path: Path, sources: dict[str, int], modules: dict[str, int], is_stale: bool
) -> None:
    for name, at in (sources | modules).items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert codec._is_stale(str(tmp_path)) is is_stale


def test_what_we_call_ourselves() -> None:
    assert SOFTWARE.startswith("syslogrelay,")
