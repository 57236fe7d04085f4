from __future__ import annotations

from pathlib import Path

import pytest

from relay.wire.framing.decoders import AutoDecoder
from tests.bench.traffic import FRAMINGS, KINDS, main, messages


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_file_has_the_messages_in_either_framing(
    tmp_path: Path, kind: str, framing: str
) -> None:
    main([kind, str(tmp_path / "corpus"), "-n", "300", "--seed", "3", "--framing", framing])
    decoder = AutoDecoder(frame_bytes_max=65536)
    found = decoder.feed((tmp_path / "corpus").read_bytes())
    assert list(found) == messages(kind, 300, seed=3)
