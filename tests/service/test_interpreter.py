from __future__ import annotations

import gc
import sys

from relay.service.interpreter import set_for_batches


def test_garbage_is_not_looked_for_in_each_batch_and_threads_take_turns_quickly() -> None:
    thresholds, seconds = gc.get_threshold(), sys.getswitchinterval()
    try:
        set_for_batches()
        young, middle, old = gc.get_threshold()
        assert young >= 10_000
        assert young * (middle + 1) * (old + 1) <= 1_000_000  # or garbage would pile up
        assert gc.get_freeze_count() > 0
        assert sys.getswitchinterval() < 0.001
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(seconds)
