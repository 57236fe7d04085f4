from __future__ import annotations

from relay import SOFTWARE


def test_what_we_call_ourselves() -> None:
    assert SOFTWARE.startswith("syslogrelay,")
