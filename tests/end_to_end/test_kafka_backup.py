"""A backup of a relay that sends to a topic: after a restore its reader has everything."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.central import numbered
from tests.end_to_end.test_backup import queue
from tests.end_to_end.test_kafka_destination import Bus
from tests.end_to_end.test_kafka_source import lines, reader, wait_for
from tests.engines.tansu import Tansu
from tests.processes import Programs, wait_until

pytestmark = pytest.mark.slow


def test_what_waited_in_a_backup_comes_at_most_twice_and_nothing_is_lost(
    programs: Programs, tmp_path: Path
) -> None:
    """What the original sends after the backup has numbers that the restored queue gives anew."""
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 2})
    central = reader(programs, tmp_path / "central", tansu, partitions="0-1")
    edge = Bus(programs, tmp_path / "edge", tansu.address)
    before, waiting = numbered("before", 300), numbered("waiting", 400)
    after, later = numbered("after", 500), numbered("later", 600)
    edge.send(before)
    edge.wait_delivered(300)
    tansu.pause()
    edge.send(waiting)
    queue("backup", tmp_path / "backup", "-d", edge.relay.state_dir)
    tansu.resume()
    edge.send(after)
    edge.wait_delivered(1200)
    edge.relay.signal(signal.SIGKILL)
    wait_until(lambda: not edge.relay.is_running, "the end")
    state = edge.relay.state_dir
    shutil.rmtree(tmp_path / "edge")
    queue("restore", tmp_path / "backup", "-d", state)
    edge = Bus(programs, tmp_path / "edge", tansu.address)
    edge.send(later)
    wait_until(lambda: edge.report["queued_records"] == 0, "an empty queue", 30.0)
    wait_for([*before, *waiting, *after, *later], central)
    found = Counter(lines(central))
    assert set(found) == {*before, *waiting, *after, *later}
    assert {found[line] for line in (*before, *after, *later)} == {1}
    assert max(found[line] for line in waiting) <= 2
    edge.relay.stop()
    central.stop()
