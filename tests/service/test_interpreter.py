from __future__ import annotations

import gc
import sys

import pytest

from relay.rewrite.acceleration import IS_COMPILED
from relay.service.interpreter import is_pure, set_for_batches


def test_what_is_compiled_is_used_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SYSLOGRELAY_PURE", raising=False)
    assert is_pure() is not IS_COMPILED
    monkeypatch.setenv("SYSLOGRELAY_PURE", "1")
    assert is_pure()


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
