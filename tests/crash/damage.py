"""Damage a queue's file in one place, open it, and say what came of it.

    untouched   nothing noticed, and everything delivered: the place meant nothing
    aside       a damaged block was set aside and counted, the rest delivered
    recovered   the file was put aside and what could be read of it delivered
    refused     a QueueError: clear words, and nothing done (with strict_queue, or a format
                that could be that of a newer version)

Anything else (the process dies, another exception, a record that is neither delivered nor
counted, one that was never there) is a failure.  The cases run in child processes, which
name each before they try it: whoever dies is found.

python -m tests.crash.damage FOLDER SEED START STOP STRICT runs cases and prints a line each.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from relay.model.errors import QueueError
from relay.queue.ledger import Ledger
from relay.queue.repair.salvage import Salvaged
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from tests.crash.workload import DESTINATIONS, drain, open_queue, payload, random_transaction

__all__ = ["Damage", "damage_of", "make_queue", "outcomes", "pages_of"]

PAGE = 4096
CASE_SECONDS_MAX = 20.0
TRANSACTIONS = 60


@dataclass(frozen=True, slots=True)
class Damage:
    name: str
    apply: Callable[[bytearray], None]


def make_queue(folder: Path, seed: int) -> dict[str, Ledger]:
    """A closed queue in `folder`/sound that has seen all kinds of transactions."""
    dice = random.Random(seed)
    store = open_queue(str(folder / "sound"))
    for number in range(TRANSACTIONS):
        store.commit(random_transaction(store, dice))
        # Lone short records: many keys, so that there are branch pages.
        for _ in range(4 if number % 2 else 0):
            seq = store.ledgers["b"].next_seq
            store.commit(Transaction(1.7e9, {"b": [payload("b", seq)]}))
    ledgers = dict(store.ledgers)
    store.close()
    return ledgers


def pages_of(folder: Path) -> int:
    return (folder / "sound" / "data.mdb").stat().st_size // PAGE


def damage_of(number: int, seed: int, pages: int) -> Damage:
    """Case `number`: first every page with zeros, then cut off, then random ones."""
    if number < pages:
        return Damage(f"zeros in page {number}", _fill(number * PAGE, bytes(PAGE)))
    dice = random.Random(f"{seed} {number}")
    size = pages * PAGE
    kind = dice.choice(("bit", "bit", "bit", "head", "head", "meta", "cut", "sector", "page"))
    if kind == "cut":
        length = dice.choice((dice.randrange(size), dice.randrange(pages) * PAGE))
        return Damage(f"cut off at {length}", lambda image: _cut(image, length))
    if kind == "sector":
        place = dice.randrange(size // 512) * 512
        return Damage(f"noise in the sector at {place}", _fill(place, dice.randbytes(512)))
    if kind == "page":
        place, other = dice.randrange(pages) * PAGE, dice.randrange(pages) * PAGE
        return Damage(f"page at {other} in the place of {place}", _copy(other, place))
    place = dice.randrange(size)
    if kind == "head":  # of a page: its header, and where its nodes are
        place = dice.randrange(pages) * PAGE + dice.randrange(64)
    elif kind == "meta":
        place = dice.randrange(2) * PAGE + dice.randrange(152)
    bit = dice.randrange(8)
    return Damage(f"bit {bit} of byte {place} ({kind})", _flip(place, bit))


def _fill(place: int, data: bytes) -> Callable[[bytearray], None]:
    def apply(image: bytearray) -> None:
        image[place : place + len(data)] = data

    return apply


def _copy(source: int, place: int) -> Callable[[bytearray], None]:
    def apply(image: bytearray) -> None:
        image[place : place + PAGE] = image[source : source + PAGE]

    return apply


def _cut(image: bytearray, length: int) -> None:
    del image[length:]


def _flip(place: int, bit: int) -> Callable[[bytearray], None]:
    def apply(image: bytearray) -> None:
        image[place] ^= 1 << bit

    return apply


def outcomes(
    folder: Path, *, seed: int, start: int, stop: int, strict: bool = False
) -> tuple[Counter[str], list[str]]:
    """Run cases in child processes; how many ended in what way, and what failed."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    number = start
    while number < stop:
        lines = _run(folder, seed, number, stop, strict)
        for line in lines:
            case, _, outcome = line.partition(": ")
            kind = outcome.partition(" ")[0]
            counts[kind] += 1
            if kind == "FAILED":
                failures.append(f"{damage_of(int(case), seed, pages_of(folder)).name}: {outcome}")
        number += len(lines)
        if number < stop:  # the child died with this one
            counts["DIED"] += 1
            failures.append(f"{damage_of(number, seed, pages_of(folder)).name}: the process died")
            number += 1
    return counts, failures


def _run(folder: Path, seed: int, start: int, stop: int, strict: bool) -> list[str]:
    command = [sys.executable, "-m", "tests.crash.damage", str(folder), str(seed)]
    command += [str(start), str(stop), str(int(strict))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + (stop - start) * CASE_SECONDS_MAX,
    )
    return done.stdout.splitlines()


def _outcome(queue: Path, expected: dict[str, Ledger], strict: bool) -> str:
    try:
        store = open_queue(str(queue), strict=strict)
    except QueueError as error:
        return f"refused {error}"
    try:
        text = _judge(store, expected)
        for destination in DESTINATIONS:  # and it goes on working
            seq = store.ledgers[destination].next_seq
            store.commit(Transaction(1.7e9, {destination: [b"new"]}))
            assert store.read(destination, start=seq, records_max=9, bytes_max=99) == [b"new"]
    finally:
        store.close()
    open_queue(str(queue)).close()  # strict: it is a sound file now
    return text


def _judge(store: QueueStore, expected: dict[str, Ledger]) -> str:
    recovery = store.recovery
    aside = unreadable = 0
    for destination in DESTINATIONS:
        before, ledger = expected[destination], store.ledgers[destination]
        # Answered twice is allowed, and only after a recovery.
        assert recovery or ledger == before, (destination, ledger, before)
        assert ledger.gap == 0
        salvaged = recovery.salvaged if recovery else Salvaged()
        is_lost = salvaged.may_lack_more or destination in salvaged.lost_ledgers
        assert ledger.acknowledged_seq <= before.acknowledged_seq or is_lost
        records, damaged = drain(store, destination)
        assert list(records) == sorted(records)
        for seq, data in records.items():
            assert data == payload(destination, seq), f"{destination} {seq} was made up"
        missing = set(range(before.acknowledged_seq, before.next_seq)) - set(records)
        for damage in damaged:
            missing -= set(range(damage.seqs.start, damage.seqs.stop))
            aside += len(damage.seqs)
        if is_lost:  # said in the log; no longer known how many
            unreadable += len(missing)
        else:
            assert not missing, f"{destination}: {sorted(missing)[:9]} are nowhere"
    if recovery:
        return f"recovered aside={aside} uncounted={unreadable} {recovery.problems[0]}"
    return f"aside {aside}" if aside else "untouched"


def main(folder: str, seed: str, start: str, stop: str, strict: str) -> None:
    root = Path(folder)
    pages = pages_of(root)
    sound = (root / "sound" / "data.mdb").read_bytes()
    store = open_queue(str(root / "sound"))
    expected = dict(store.ledgers)
    store.close()
    queue = root / f"case-{os.getpid()}"
    for number in range(int(start), int(stop)):
        image = bytearray(sound)
        damage_of(number, int(seed), pages).apply(image)
        shutil.rmtree(queue, ignore_errors=True)
        queue.mkdir()
        (queue / "data.mdb").write_bytes(image)
        try:
            text = _outcome(queue, expected, bool(int(strict)))
        except Exception as error:
            text = f"FAILED {type(error).__name__}: {error}"
        print(f"{number}: " + text.replace("\n", " "), flush=True)
    shutil.rmtree(queue, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
