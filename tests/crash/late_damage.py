"""Damage a long queue's file, which is looked at as it is read, and say what came of it.

    untouched   nothing noticed, and everything delivered: the place meant nothing
    aside       a damaged block was set aside and counted, the rest delivered
    at start    the damage was found before anything was opened
    late        it was found on the way; the next start saved what could be read

Anything else is a failure, above all a process that dies: LMDB came to the damage first.
Cases run as those of `damage.py` do.

python -m tests.crash.late_damage FOLDER SEED START STOP runs cases and prints a line each.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import lmdb
import msgspec

from relay.model.errors import DamagedRange
from relay.queue.block import KEY, encode_block
from relay.queue.inspect.queries import Read, read
from relay.queue.ledger import Ledger
from relay.queue.repair import guarded
from relay.queue.repair.verify import verify
from relay.queue.repair.verify_lazily import FileDamaged
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, SetAside, Transaction
from tests.crash.damage import damage_of
from tests.crash.workload import MAP_BYTES, open_queue, payload
from tests.queue_files import is_unverified

__all__ = ["late_outcomes", "make_long_queue"]

RECORDS = 8000
REMOVED = 700
CASE_SECONDS_MAX = 60.0
_PAGE = 4096


def make_long_queue(folder: Path) -> int:
    """A closed queue of records that came one by one; returns the number of its pages."""
    sound = folder / "sound"
    open_queue(str(sound)).close()
    environment = lmdb.open(str(sound), map_size=MAP_BYTES, max_dbs=16)
    blocks = environment.open_db(b"blocks/b")
    for first in range(1, RECORDS, 1000):
        with environment.begin(write=True) as txn:
            for seq in range(first, first + 1000):
                block = encode_block([payload("b", seq)], received_at=1.7e9)
                txn.put(KEY.pack(seq), block, db=blocks, append=True)
    size = sum(len(payload("b", seq)) for seq in range(1, RECORDS + 1))
    ledger = msgspec.json.encode(Ledger(next_seq=RECORDS + 1, queued_bytes=size))
    with environment.begin(write=True) as txn:
        txn.put(b"ledger/b", ledger, db=environment.open_db(b"meta", txn=txn))
    environment.close()
    store = open_queue(str(sound))
    for upto in range(2, REMOVED, 7):
        store.commit(Transaction(1.7e9, {}, {"b": Removal(upto)}))
    store.close()
    return (sound / "data.mdb").stat().st_size // _PAGE


def late_outcomes(folder: Path, *, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Run cases in child processes; how many ended in what way, and what failed."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    number = 0
    while number < count:
        command = [sys.executable, "-m", "tests.crash.late_damage", str(folder), str(seed)]
        done = subprocess.run(
            [*command, str(number), str(count)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 + (count - number) * CASE_SECONDS_MAX,
        )
        lines = done.stdout.splitlines()
        for line in lines:
            case, _, outcome = line.partition(": ")
            kind = outcome.partition(":")[0]
            counts[kind] += 1
            if kind == "FAILED":
                failures.append(f"case {case} of seed {seed}: {outcome}")
        number += len(lines)
        if number < count:
            failures.append(f"case {number} of seed {seed}: it died; {done.stderr[-300:]}")
            counts["DIED"] += 1
            number += 1
    return counts, failures


def _open(path: str) -> QueueStore:
    return open_queue(path, strict=False, fully=False)


def _drain(
    store: QueueStore, found: dict[int, bytes], aside: set[int], dice: random.Random
) -> None:
    """Deliver everything, with new records in between, and some looks at the middle."""
    while (ledger := store.ledgers["b"]).queued:
        start = ledger.acknowledged_seq
        asides: list[SetAside] = []
        try:
            records = store.read("b", start=start, records_max=200, bytes_max=2**20)
            assert records, f"record {start} is missing"
            for seq, data in enumerate(records, start):
                assert data in (payload("b", seq), b"new"), f"record {seq} was made up"
                found[seq] = data
            upto = start + len(records)
        except DamagedRange as damage:
            asides = [SetAside(damage.seqs, damage.reason)]
            aside |= set(range(damage.seqs.start, damage.seqs.stop))
            upto = damage.seqs.stop
        if dice.random() < 0.2:
            somewhere = Read("b", start=dice.randrange(1, RECORDS), records_max=3)
            store.look(partial(read, wanted=somewhere))
        appends = {"b": [b"new"]} if start < RECORDS - 500 else {}
        upto = min(upto, start + dice.choice((1, 50, 200))) if not asides else upto
        store.commit(Transaction(1.7e9, appends, {"b": Removal(upto, asides)}))


def _outcome(queue: str, dice: random.Random) -> str:
    found: dict[int, bytes] = {}
    aside: set[int] = set()
    text = ""
    store = _open(queue)
    if store.recovery is not None:
        text = f"at start: {store.recovery.problems[0]}"
    assert text or is_unverified(store)
    try:
        _drain(store, found, aside, dice)
    except FileDamaged as error:
        assert not text, "what was saved is damaged again"
        text = f"late: {error}"
        store.close()
        store = _open(queue)
        assert store.recovery is not None, "the next start found nothing"
        _drain(store, found, aside, dice)
    ledger = store.ledgers["b"]
    salvaged = store.recovery.salvaged if store.recovery else None
    store.close()
    assert ledger.gap == 0
    missing = set(range(REMOVED, RECORDS + 1)) - set(found) - aside
    if salvaged is None or not (salvaged.lost_ledgers or salvaged.may_lack_more):
        assert not missing, f"{sorted(missing)[:9]} are nowhere"
    open_queue(queue).close()  # it is a sound file now
    return text or (f"aside: {len(aside)}" if aside else "untouched:")


def main(folder: str, seed: str, start: str, stop: str) -> None:
    guarded.verify = partial(verify, reads_max=100, lazy_reads_min=100)
    root = Path(folder)
    sound = (root / "sound" / "data.mdb").read_bytes()
    pages = len(sound) // _PAGE
    queue = root / f"case-{os.getpid()}"
    for number in range(int(start), int(stop)):
        image = bytearray(sound)
        if number:
            dice = random.Random(f"late {seed} {number}")
            zeros = dice.randrange(2, pages) if dice.random() < 0.3 else pages + number
            damage_of(zeros, int(seed), pages).apply(image)
        shutil.rmtree(queue, ignore_errors=True)
        queue.mkdir()
        (queue / "data.mdb").write_bytes(image)
        try:
            text = _outcome(str(queue), random.Random(number))
        except Exception as error:
            text = f"FAILED: {type(error).__name__}: {error}"
        print(f"{number}: " + text.replace("\n", " "), flush=True)
    shutil.rmtree(queue, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
