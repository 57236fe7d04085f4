"""The same kills for other relays: ``python -m tests.crash.comparison rsyslog``.

Arguments: rsyslog, syslog-ng or syslogrelay, any number of them.  Environment: CYCLES
(kills of each class, default 10), KILL_SEED.  Prints a table in Markdown.

Each gets the queue that its manual recommends where nothing may be lost: rsyslog a disk
queue synced at each write, syslog-ng its reliable disk buffer and flow control.  rsyslog
speaks RELP on both sides.  syslog-ng does not, so its senders take for an answer what the
kernel's TCP acknowledges, and so does it; syslogrelay is shown in that way too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from relay import __version__
from tests.crash.chain import RETRY, Chain, edge_relay
from tests.crash.kill import Messages, Tally, seed_from, settle
from tests.interop.daemons import Rsyslog, SyslogNg
from tests.interop.packages import PackagesRoot, fetch
from tests.processes import Program, running_programs
from tests.relay_process import RelayProcess

__all__: list[str] = []

NewRelay = Callable[[Path, int, int], Program]
SETTLE_SECONDS_MAX = 40.0
AWAY_SECONDS = 0.5


def rsyslog(packages: PackagesRoot, folder: Path, feed: int, upstream: int) -> Program:
    return Rsyslog(
        packages,
        folder,
        f"""
        module(load="imrelp")
        module(load="omrelp")
        main_queue(queue.type="Disk" queue.filename="main" queue.syncQueueFiles="on"
          queue.checkpointInterval="1" queue.maxDiskSpace="1g")
        input(type="imrelp" port="{feed}" address="127.0.0.1" maxDataSize="64k")
        action(type="omrelp" target="127.0.0.1" port="{upstream}" template="raw-frame"
          action.resumeRetryCount="-1" action.resumeInterval="1")
        """,
        tcp=[feed],
    )


def syslog_ng(packages: PackagesRoot, folder: Path, feed: int, upstream: int) -> Program:
    return SyslogNg(
        packages,
        folder,
        f"""
        source s_feed {{
          network(ip("127.0.0.1") port({feed}) transport("tcp") flags(no-parse)
            max-connections(100));
        }};
        destination d_central {{
          network("127.0.0.1" port({upstream}) transport("tcp") template("${{MESSAGE}}\\n")
            disk-buffer(reliable(yes) mem-buf-size(1048576) disk-buf-size(1073741824)
              dir("{folder}")));
        }};
        log {{ source(s_feed); destination(d_central); flags(flow-control); }};
        """,
        tcp=[feed],
    )


def stream_relay(folder: Path, feed: int, upstream: int) -> Program:
    return RelayProcess(
        folder,
        sources={"feed": {"listen": f"tcp://127.0.0.1:{feed}"}},
        destinations={"central": {"connect": f"tcp://127.0.0.1:{upstream}", **RETRY}},
    )


def _killed(*names: str) -> Callable[[Chain], None]:
    return lambda chain: chain.kills.round(names)


def _outage(chain: Chain) -> None:
    """The receiver goes, the relay dies while it is away, and both come back."""
    moment = threading.Event()
    chain.kills.wait_until_flowing()
    chain.receiver.kill()
    moment.wait(AWAY_SECONDS)
    chain.relay.kill()
    chain.relay.start(wait=False)
    moment.wait(AWAY_SECONDS)
    chain.receiver.start(wait=False)


CLASSES: dict[str, Callable[[Chain], None]] = {
    "relay killed": _killed("relay"),
    "receiver killed": _killed("receiver"),
    "both killed": _killed("relay", "receiver"),
    "outage, relay killed in it": _outage,
}


def _run(
    new_relay: NewRelay, way: str, cycle: Callable[[Chain], None], cycles: int, seed: int
) -> tuple[Tally, str]:
    """What came of it, and a remark."""
    remark = ""
    with tempfile.TemporaryDirectory() as folder, running_programs() as programs:
        chain = Chain(programs, Path(folder), seed=seed, new_relay=new_relay, way=way)
        chain.start()
        for number in range(cycles):
            try:
                cycle(chain)
            except AssertionError as error:
                remark = f"stood still after {number} of {cycles}: {str(error).splitlines()[0]}"
                break
        try:
            return chain.finish(seconds_max=SETTLE_SECONDS_MAX), remark
        except AssertionError as error:
            arrived = Messages(chain.arrived)
            remark = remark or f"senders were not answered any more: {str(error).splitlines()[0]}"
            return settle(chain.answered, arrived, seconds_max=SETTLE_SECONDS_MAX), remark


def _relays(peers: list[str]) -> dict[str, tuple[NewRelay, str]]:
    relays: dict[str, tuple[NewRelay, str]] = {}
    others = {"rsyslog": (rsyslog, "relp"), "syslog-ng": (syslog_ng, "tcp")}
    for peer in peers:
        if peer == "syslogrelay":
            relays[f"syslogrelay {__version__}, RELP"] = (edge_relay, "relp")
            relays[f"syslogrelay {__version__}, TCP"] = (stream_relay, "tcp")
        else:
            new, way = others[peer]
            packages = fetch()
            relays[f"{_version(packages, peer)}, {way.upper()}"] = (partial(new, packages), way)
    return relays


def _version(packages: PackagesRoot, peer: str) -> str:
    ask = [packages.rsyslogd, "-v"] if peer == "rsyslog" else [packages.syslog_ng, "--version"]
    done = subprocess.run(
        list(map(str, ask)),
        env=packages.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    found = re.search(r"\d+\.\d+[\d.]*\d", done.stdout)
    return f"{peer} {found[0] if found else '?'}"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # programs end with their `with`
    cycles = int(os.environ.get("CYCLES", 10))
    seed = seed_from("KILL_SEED")
    print("| Relay | Cycles | Answered | Delivered | Lost | Repeated | Out of order | Remark |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name, (new_relay, way) in _relays(sys.argv[1:] or ["syslogrelay"]).items():
        for what, cycle in CLASSES.items():
            tally, remark = _run(new_relay, way, cycle, cycles, seed)
            print(
                f"| {name} | {cycles} x {what} | {tally.answered} | {tally.delivered} "
                f"| {tally.lost} | {tally.repeated} | {tally.out_of_order} | {remark} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
