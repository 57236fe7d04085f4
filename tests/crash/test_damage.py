"""A damaged file: it opens, what can be read is delivered, the rest counted (pains 2, 5, 6, 8)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.damage import make_queue, outcomes, pages_of

COUNT = int(os.environ.get("DAMAGE_COUNT", 400))
"""Random cases beside one for each page of the file."""
SEEDS = int(os.environ.get("DAMAGE_SEEDS", 1))


def test_a_file_with_damage_anywhere_is_opened_and_delivered(tmp_path: Path) -> None:
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        make_queue(folder, seed)
        pages = pages_of(folder)
        counts, failures = outcomes(folder, seed=seed, start=0, stop=pages + COUNT)
        print(f"DAMAGE seed {seed}, {pages} pages: {dict(counts)}")
        assert not failures, "\n".join(failures[:20])
        assert counts["recovered"] and counts["aside"]
        assert not counts["refused"]


def test_a_strict_relay_refuses_with_clear_words_and_never_dies(tmp_path: Path) -> None:
    make_queue(tmp_path, 0)
    counts, failures = outcomes(
        tmp_path, seed=0, start=0, stop=pages_of(tmp_path) + COUNT // 4, strict=True
    )
    assert not failures, "\n".join(failures[:20])
    assert counts["refused"] and not counts["recovered"]
