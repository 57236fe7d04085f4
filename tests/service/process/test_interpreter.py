from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import relay
from relay.codec import IS_COMPILED
from relay.service.process.interpreter import is_pure, set_for_batches

WAS_BUILT = bool(list(Path(relay.__file__).parent.glob("codec/lines.*.so")))
PRINT = "from relay.service.process.interpreter import is_pure; print(is_pure())"


@pytest.mark.slow
@pytest.mark.parametrize("value", ["1", ""])
def test_what_is_compiled_is_used_unless_the_environment_says_otherwise(value: str) -> None:
    environment = {**os.environ, "SYSLOGRELAY_PURE": value}
    done = subprocess.run(
        [sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{bool(value) or not WAS_BUILT}\n"
    assert is_pure() is not IS_COMPILED  # whatever this process was started with


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
