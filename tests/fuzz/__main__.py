"""The long profile: ``python -m tests.fuzz``, or ``make fuzz``.

Environment: FUZZ_SEED (default: a new one, printed), FUZZ_COUNT (inputs in all,
default a million), FUZZ_TARGET (one instead of all), FUZZ_NUMBER (one input only).
"""

from __future__ import annotations

import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.fuzz.campaign import run
from tests.fuzz.targets import TARGETS

SLICE = 2000


def slices(names: list[str], count: int) -> list[tuple[str, range]]:
    """The work, target by target in turn, so that all of them get their share early."""
    each = -(-count // len(names))
    return [
        (name, range(start, min(start + SLICE, each)))
        for start in range(0, each, SLICE)
        for name in names
    ]


def main() -> int:
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    count = int(os.environ.get("FUZZ_COUNT") or 1_000_000)
    only = os.environ.get("FUZZ_TARGET")
    names = [only] if only else [*TARGETS]
    number = os.environ.get("FUZZ_NUMBER")
    print(f"FUZZ_SEED={seed} FUZZ_COUNT={count} targets: {', '.join(names)}", flush=True)
    work = slices(names, count)
    if number:
        work = [(name, range(int(number), int(number) + 1)) for name in names]
    done, failed = 0, set()
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        running = {pool.submit(run, seed, name, numbers): name for name, numbers in work}
        for future in as_completed(running):
            name = running[future]
            error = None if future.cancelled() else future.exception()
            if error is not None and name not in failed:
                failed.add(name)  # one failure of a target is enough to read
                print(error, file=sys.stderr, flush=True)
                for other, its_name in running.items():
                    if its_name == name:
                        other.cancel()
            elif error is None and not future.cancelled():
                done += future.result()
    seconds = time.monotonic() - began
    print(f"{done:,} inputs in {seconds:.1f} s, {done / seconds:,.0f}/s, seed {seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
