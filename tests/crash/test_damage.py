"""A damaged file: it opens, what can be read is delivered, the rest counted."""

from __future__ import annotations

import os
from pathlib import Path

from relay.cli.control_client import AskFailed, ask
from tests.crash.audit import status_of
from tests.crash.chain import edge_relay
from tests.crash.damage import PAGE, make_queue, outcomes, pages_of
from tests.end_to_end.central import Central, numbered, numbers, without_repetition
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

COUNT = int(os.environ.get("DAMAGE_COUNT", 250))
"""Random cases beside one for each page of the file."""
SEEDS = int(os.environ.get("DAMAGE_SEEDS", 1))


def test_a_file_with_damage_anywhere_is_opened_and_delivered(tmp_path: Path) -> None:
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        make_queue(folder, seed)
        pages = pages_of(folder)
        counts, failures = outcomes(folder, seed=seed, start=0, stop=pages + COUNT)
        print(f"DAMAGE seed {seed}, {pages} pages: {dict(counts)}")
        assert not failures, "\n".join(failures[:20])
        assert counts["recovered"] and counts["aside"]
        assert not counts["refused"]


def answers(relay: RelayProcess) -> bool:
    try:
        ask(str(relay.state_dir), "status")
    except AskFailed:
        return False
    return True


def test_a_relay_with_a_damaged_queue_starts_and_delivers(
    programs: Programs, tmp_path: Path
) -> None:
    feed, upstream = free_port(), free_port()
    central = Central(programs, tmp_path / "central", upstream)
    relay = edge_relay(tmp_path / "edge", feed, upstream)
    programs.add(relay)
    relay.start()
    messages = numbered("app", 2000)
    with RelpSender(feed) as sender:
        sender.send(messages)
        sender.wait_answered()
    relay.kill()
    data = relay.state_dir / "queue" / "data.mdb"
    image = bytearray(data.read_bytes())
    newest = max((0, 1), key=lambda meta: image[meta * PAGE + 144])
    image[newest * PAGE + 128] ^= 0x40  # where the tree of names begins
    data.write_bytes(image)
    relay.start()
    # Its sockets are bound before the queue is looked at, and before it answers.
    wait_until(lambda: "was damaged" in relay.log(), "the damage to be said")
    wait_until(lambda: answers(relay), "the control socket to answer")
    (kept,) = status_of(relay)["damaged_files"]
    assert Path(kept).read_bytes() == image
    central.start()
    assert without_repetition(numbers(central.wait_for(messages), "app")) == list(range(2000))
    relay.stop()


def test_a_strict_relay_refuses_with_clear_words_and_never_dies(tmp_path: Path) -> None:
    make_queue(tmp_path, 0)
    counts, failures = outcomes(
        tmp_path, seed=0, start=0, stop=pages_of(tmp_path) + COUNT // 4, strict=True
    )
    assert not failures, "\n".join(failures[:20])
    assert counts["refused"] and not counts["recovered"]
