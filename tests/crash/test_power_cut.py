"""A power cut: what was answered is there afterwards, and nothing that was not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.events import Event, Sync, Write
from tests.crash.power_cut import PowerCuts, record

TRANSACTIONS = int(os.environ.get("POWER_CUT_TRANSACTIONS", 12))
SUBSETS = int(os.environ.get("POWER_CUT_SUBSETS", 2))
SEEDS = range(int(os.environ.get("POWER_CUT_SEEDS", 1)))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_stored_survives_a_power_cut_at_any_write(tmp_path: Path, seed: int) -> None:
    events = record(tmp_path, seed=seed, transactions=TRANSACTIONS)
    cuts = PowerCuts(tmp_path, events, seed=seed, subsets=SUBSETS)
    cuts.check()
    print(f"{cuts.states} states of the disk after {len(events)} events")
    assert cuts.states > 10 * TRANSACTIONS


def without_syncs(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Sync)]


def without_synced_writes(events: list[Event]) -> list[Event]:
    return [
        Write(event.path, event.offset, event.data, False) if isinstance(event, Write) else event
        for event in events
    ]


@pytest.mark.parametrize("spoil", [without_syncs, without_synced_writes])
def test_a_queue_that_does_not_sync_would_be_found_out(tmp_path: Path, spoil: object) -> None:
    events = record(tmp_path, seed=0, transactions=3)
    assert callable(spoil)
    with pytest.raises(AssertionError):
        PowerCuts(tmp_path, spoil(events), seed=0, subsets=2).check()
