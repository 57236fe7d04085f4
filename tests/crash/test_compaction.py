"""The queue's file is compacted again and again while programs are killed (pain 18)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from relay.cli.control_client import AskFailed, ask
from tests.crash.audit import assert_drained
from tests.crash.chain import Chain, edge_relay
from tests.crash.kill import Messages, seed_from
from tests.end_to_end.central import Central, numbered
from tests.end_to_end.full_disk import FileSizeLimit
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

CYCLES = int(os.environ.get("COMPACTION_KILLS", 8))


class Compactions(threading.Thread):
    """Has a relay compact its file without a pause, whether it lives or not.

    Attributes:
        done: Compactions that went to their end.
        interrupted: Those whose relay went away.
        errors: What the relay said against one.
    """

    def __init__(self, relay: RelayProcess) -> None:
        super().__init__(name="compactions", daemon=True)
        self.done = self.interrupted = 0
        self.errors: list[str] = []
        self._state_dir = str(relay.state_dir)
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            begun = False
            try:
                answer = ask(self._state_dir, "queue-compact")
                begun = True
                while not answer["is_over"]:
                    answer = ask(self._state_dir, "queue-compact", {"number": answer["number"]})
            except AskFailed as error:
                self.interrupted += begun or "incomplete" in str(error)
                self._stopping.wait(0.01)
                continue
            if answer["error"]:
                self.errors.append(answer["error"])
            else:
                self.done += 1

    def finish(self) -> None:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()


def test_what_was_answered_is_delivered_whatever_a_kill_leaves_of_a_compaction(
    programs: Programs, tmp_path: Path
) -> None:
    chain = Chain(programs, tmp_path, seed=seed_from("COMPACTION_SEED"))
    relay = chain.relay
    assert isinstance(relay, RelayProcess)
    chain.start()
    compactions = Compactions(relay)
    compactions.start()
    for number in range(CYCLES):
        # Every third time something is queued while the file is copied.
        chain.kills.round(("relay", "receiver") if number % 3 == 2 else ("relay",))
    chain.kills.wait_until_flowing()
    tally = chain.finish(seconds_max=120)
    compactions.finish()
    print(
        f"{CYCLES} kills, {compactions.done} compactions and {compactions.interrupted} that were "
        f"interrupted: {tally}; {compactions.errors}"
    )
    assert compactions.errors == []
    assert compactions.done > 2 * CYCLES, "hardly any compaction"
    assert compactions.interrupted >= max(1, CYCLES // 8), "hardly a kill in the middle of one"
    assert (tally.lost, tally.out_of_order) == (0, 0)
    assert_drained(relay)
    assert "Traceback" not in relay.log()
    assert not (relay.state_dir / "queue" / "compacted").exists()


def test_a_disk_that_is_full_in_the_middle_leaves_the_old_file_in_use(
    programs: Programs, tmp_path: Path
) -> None:
    feed, upstream = free_port(), free_port()
    central = Central(programs, tmp_path / "central", upstream)
    relay = edge_relay(tmp_path / "edge", feed, upstream)
    programs.add(relay)
    relay.start()
    queue = relay.state_dir / "queue"
    with RelpSender(feed) as sender:
        heads = enumerate(numbered("app", 2000))
        sender.send([head + b"x" * 2000 + b" %d" % number for number, head in heads])
        sender.wait_answered()
    before = (queue / "data.mdb").stat().st_ino
    limit = FileSizeLimit(2**20)  # the queue has four
    limit.apply(relay)
    answer = ask(str(relay.state_dir), "queue-compact")
    assert answer["is_over"] and "nothing can be stored" in answer["error"], answer
    limit.enlarge(relay)
    assert (queue / "data.mdb").stat().st_ino == before
    assert not (queue / "compacted").exists()
    with RelpSender(feed) as sender:
        sender.send(numbered("new", 500))
        sender.wait_answered()
    assert ask(str(relay.state_dir), "queue-compact")["error"] == ""
    assert (queue / "data.mdb").stat().st_ino != before
    central.start()
    arrived = Messages(central.arrived)

    def is_drained() -> bool:
        arrived.update()
        return arrived.count() == 2500

    wait_until(is_drained, "everything is delivered", 30)
    assert_drained(relay)
    relay.stop()
