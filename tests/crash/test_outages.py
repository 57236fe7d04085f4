"""Outages with `kill -9` in each: the backlog is whole, nothing grows."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.audit import assert_drained
from tests.crash.chain import edge_relay
from tests.crash.kill import Messages
from tests.end_to_end.central import Central, numbered
from tests.end_to_end.siege import resident_bytes
from tests.processes import Programs, free_port, wait_until
from tests.relp_sender import RelpSender

CYCLES = int(os.environ.get("OUTAGE_CYCLES", 10))
BACKLOG = 500
SETTLED = 3
"""After so many cycles the file has the pages that it needs for this backlog."""
RSS_BYTES_MAX = 200 * 2**20


def test_the_backlog_is_whole_and_nothing_grows_outage_after_outage(
    programs: Programs, tmp_path: Path
) -> None:
    feed, upstream = free_port(), free_port()
    central = Central(programs, tmp_path / "central", upstream)
    relay = edge_relay(tmp_path / "edge", feed, upstream)
    programs.add(relay)
    data = relay.state_dir / "queue" / "data.mdb"
    arrived = Messages(central.arrived)
    sizes: list[int] = []
    relay.start()
    central.start()
    for cycle in range(CYCLES):
        central.kill()
        with RelpSender(feed) as sender:
            sender.send(numbered("app", BACKLOG, start=cycle * BACKLOG))
            sender.wait_answered()
        relay.kill()
        relay.start()
        central.start()
        expected = (cycle + 1) * BACKLOG

        def is_complete(expected: int = expected) -> bool:
            arrived.update()
            return arrived.count() == expected

        wait_until(is_complete, f"{expected} messages after outage {cycle + 1}", 30)
        sizes.append(data.stat().st_size)
    print(
        f"{CYCLES} outages: {arrived.repeated()} came twice, file {sizes[0]} to {sizes[-1]} bytes"
    )
    assert arrived.out_of_order == 0
    assert sorted(arrived.numbers[b"app"]) == list(range(CYCLES * BACKLOG))
    assert sizes[-1] <= 2 * max(sizes[:SETTLED])
    assert resident_bytes(relay.pid) < RSS_BYTES_MAX
    for program in (relay, central):
        assert_drained(program)
        assert "Traceback" not in program.log()
