from __future__ import annotations

import os
import resource
import subprocess
import sys

from relay.transport.descriptors import descriptors_left, descriptors_limit

TO_THE_END = """
import os, resource
from relay.transport.descriptors import descriptors_left
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
opened = []
while True:
    left = descriptors_left()
    try:
        opened.append(os.open("/", os.O_RDONLY))
    except OSError:
        break
    last = left
print(left, last)
os.close(0)
print(descriptors_left())
"""


def test_each_one_that_is_opened_is_one_less() -> None:
    before = descriptors_left()
    with open(os.devnull):
        assert descriptors_left() == before - 1
    assert 0 < before < descriptors_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_none_is_left_at_the_end_and_asking_takes_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TO_THE_END], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["0", "1", "32"]
