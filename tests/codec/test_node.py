"""`tests/queue/files/test_values.py` checks with a queue that nodes say where values lie."""

from __future__ import annotations

from typing import Any

import pytest

from relay.codec import IS_COMPILED, native
from relay.codec.node import node_of


@pytest.mark.parametrize("node", [node_of, native.blocks.node_of] if IS_COMPILED else [node_of])
def test_what_is_no_key_of_a_node_is_not_believed(node: Any) -> None:
    data = memoryview(b"\0" * 64)
    with pytest.raises(ValueError, match="a key of 8 bytes, its node says 0"):
        node(data[16:24])
