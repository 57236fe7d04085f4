"""A long queue is looked at as it is read: LMDB never comes to the damage first."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.late_damage import late_outcomes, make_long_queue

COUNT = int(os.environ.get("LATE_DAMAGE_COUNT", 40))
SEEDS = int(os.environ.get("DAMAGE_SEEDS", 1))


def test_damage_anywhere_in_a_long_queue_ends_no_process_and_loses_nothing(tmp_path: Path) -> None:
    pages = make_long_queue(tmp_path)
    for seed in range(SEEDS):
        counts, failures = late_outcomes(tmp_path, seed=seed, count=COUNT)
        print(f"LATE DAMAGE seed {seed}, {pages} pages: {dict(counts)}")
        assert not failures, "\n".join(failures[:20])
        assert counts["late"] and counts["at start"] and counts["untouched"]
