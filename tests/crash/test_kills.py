"""`kill -9` of sender, relay and receiver in every combination."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from tests.crash.audit import assert_drained
from tests.crash.chain import Chain
from tests.crash.kill import seed_from
from tests.processes import Programs
from tests.relay_process import RelayProcess

CYCLES = int(os.environ.get("KILL_CYCLES", 14))
NAMES = ("sender one", "relay", "receiver")
COMBINATIONS = [names for count in range(1, 4) for names in itertools.combinations(NAMES, count)]


def test_what_was_answered_is_delivered_in_order_whoever_is_killed(
    programs: Programs, tmp_path: Path
) -> None:
    chain = Chain(programs, tmp_path, seed=seed_from("KILL_SEED"))
    chain.start()
    for victims in itertools.islice(itertools.cycle(COMBINATIONS), CYCLES):
        chain.kills.round(victims)
    tally = chain.finish(seconds_max=120)
    print(f"{CYCLES} kills: {tally}")
    assert tally.answered > 100 * CYCLES / 10, "hardly any traffic"
    assert (tally.lost, tally.out_of_order) == (0, 0)
    for relay in (chain.relay, chain.receiver):
        assert isinstance(relay, RelayProcess)
        assert_drained(relay)
        assert "Traceback" not in relay.log()
