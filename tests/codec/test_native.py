from __future__ import annotations

from pathlib import Path

import pytest

from relay import codec
from relay.codec import IS_COMPILED


@pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)
def test_all_or_nothing_of_what_can_be_compiled_is_used() -> None:
    sources = Path(codec.__file__).parent.glob("*.pyx")
    assert sorted(codec.native.__all__) == sorted(source.stem for source in sources)
