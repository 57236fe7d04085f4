from __future__ import annotations

import os
from pathlib import Path

import pytest

import relay


@pytest.mark.parametrize(
    ("sources", "modules", "is_stale"),
    [
        ({"a.pyx": 1, "b.pxd": 2}, {"compiled.x.so": 3, "compiled.y.so": 2}, False),
        ({"a.pyx": 1, "b.pxd": 3}, {"compiled.x.so": 4, "compiled.y.so": 2}, True),
        ({}, {"compiled.x.so": 1}, False),  # as in a wheel
        ({"a.pyx": 1}, {}, False),
        ({"a.pyx": 1, "a.pyi": 9, "a.py": 9}, {"compiled.x.so": 3, "other.so": 0}, False),
    ],
)
def test_what_was_compiled_from_something_else_is_not_used(
    tmp_path: Path, sources: dict[str, int], modules: dict[str, int], is_stale: bool
) -> None:
    (tmp_path / "wire").mkdir()
    for name, at in (sources | modules).items():
        (tmp_path / "wire" / name).touch()
        os.utime(tmp_path / "wire" / name, (at, at))
    assert relay._is_stale(str(tmp_path)) is is_stale
