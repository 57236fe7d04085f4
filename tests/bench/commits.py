"""What small commits cost in CPU time: `python -m tests.bench.commits`.

The queue with its threads and its drain, on disk, between a sender that waits for each of
its batches and an upstream that acknowledges at once.  At 5,000 messages a second a commit
holds about seven.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.logger import Logger

from relay.flow.drain import Drain
from relay.queue.admission.backpressure import Admission
from relay.queue.history.keep import Histories
from relay.service.exit_status import ExitStatus
from relay.service.queue.service import QueueService, QueueSettings
from relay.service.queue.view import QueueParts
from relay.transport.notices import Notices
from tests.clocks import wall_of
from tests.flow_fakes import new_drain, new_refusals

DESTINATION = "central"
BATCHES = (1, 7, 100, 2000)
COMMITS = 1500


class Upstream:
    """Acknowledges in the reactor's next turn what it is sent."""

    def __init__(self, reactor: Any, drain: Callable[[], Drain]) -> None:
        self.room = 8192
        self._reactor = reactor
        self._drain = drain

    def send(self, payloads: Sequence[bytes]) -> None:
        self._reactor.callLater(0, self._acknowledge, len(payloads))

    def _acknowledge(self, count: int) -> None:
        self._drain().acknowledged(self, count)


async def measure(reactor: Any, path: str, batch: int, commits: int) -> dict[str, float]:
    """CPU µs a batch and a message, and transactions for each batch."""
    settings = QueueSettings(
        path=f"{path}/queue",
        destinations=[DESTINATION],
        map_bytes=1 << 31,
        check_path=lambda path: None,
    )
    queue = QueueService(
        settings,
        QueueParts(
            histories=Histories(),
            admission=Admission(pending_bytes_max=1 << 26, queue_bytes_max=1 << 30),
            notices=Notices(clock=reactor, log=Logger()),
            reactor=reactor,
            wall=wall_of(reactor),
            exit_status=ExitStatus(reactor),
        ),
    )
    queue.startService()
    store: Any = queue._store
    transactions = 0
    commit = store.commit

    def counted(transaction: Any) -> Any:
        nonlocal transactions
        transactions += 1
        return commit(transaction)

    store.commit = counted
    drain = new_drain(
        DESTINATION,
        cursor=queue.cursor(DESTINATION),
        queue=queue.committer,
        begins=1,
        ends=1,
        refusals=new_refusals(3),
        clock=reactor,
        on_trouble=print,
    )
    queue.subscribe(DESTINATION, drain.stored, drain.evicted)
    drain.attach(Upstream(reactor, lambda: drain))
    payloads = [b"%0256d" % number for number in range(batch)]
    began = time.process_time()
    for _ in range(commits):
        await queue.committer.append({DESTINATION: payloads})
    while drain.acknowledged_seq <= batch * commits:
        await deferLater(reactor, 0.001, lambda: None)
    seconds = time.process_time() - began
    await queue.stopService()
    assert queue.view.ledger(DESTINATION).delivered == batch * commits
    return {
        "CPU µs a batch": seconds / commits * 1e6,
        "CPU µs a message": seconds / commits / batch * 1e6,
        "transactions a batch": transactions / commits,
    }


async def run(reactor: Any, given: argparse.Namespace) -> None:
    for batch in given.batches:
        with tempfile.TemporaryDirectory(prefix="bench-") as path:
            found = await measure(reactor, path, batch, given.commits)
        shown = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"{batch:5} messages a batch: {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.commits", description=__doc__)
    parser.add_argument("-b", "--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("-c", "--commits", type=int, default=COMMITS)
    given = parser.parse_args()
    react(lambda reactor: ensureDeferred(run(reactor, given)))


if __name__ == "__main__":
    main()
