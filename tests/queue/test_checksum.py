from __future__ import annotations

import sys
import zlib
from importlib import reload

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.queue import checksum


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_the_checksum_is_that_of_zlib(octets: bytes, before: bytes) -> None:
    assert checksum.crc32(octets) == zlib.crc32(octets)
    assert checksum.crc32(memoryview(octets), checksum.crc32(before)) == zlib.crc32(before + octets)


def test_without_the_quick_library_zlib_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "zlib_ng", None)
        assert reload(checksum).crc32 is zlib.crc32
    reload(checksum)
