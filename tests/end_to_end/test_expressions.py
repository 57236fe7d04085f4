"""No line and no expression stops the relay, and a relay that is stopped ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

LINE = b"<13>Oct 11 22:14:15 h app: " + b"a" * 35 + b"!"


def test_expressions_that_blow_up_do_not_stop_anything(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    out = {id: tmp_path / id for id in ("linear", "limited", "all")}
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={
            "linear": {
                "connect": f"file://{out['linear']}",
                "match": {"msg": {"regex": "^(a+)+$"}},
            },
            "limited": {
                "connect": f"file://{out['limited']}",
                "match": {"msg": {"regex": "^(?=a)(a|aa)+$"}},
            },
            "all": {"connect": f"file://{out['all']}"},
        },
    )
    good = b"<13>Oct 11 22:14:15 h app: aaa"
    feed_lines(port, [LINE] * 2000 + [good])
    assert len(wait_for_lines(out["all"], 2001)) == 2001
    assert wait_for_lines(out["linear"], 1) == [good]
    assert wait_for_lines(out["limited"], 1) == [good]
    wait_until(lambda: "counts as not found" in relay.log(), "a warning with the expression")
    assert "destinations.limited.match.msg.regex" in relay.log()
    relay.stop()


BUSY_FOR_EVER = """
from twisted.internet import reactor
from relay.service.relay_service import StopGuard

def hang():
    print("busy", flush=True)
    while True:
        pass

StopGuard(reactor=reactor).startService()
reactor.callLater(0.1, hang)
reactor.run()
"""


def test_a_relay_that_is_busy_for_ever_ends_when_it_is_asked_to() -> None:
    command = [sys.executable, "-c", BUSY_FOR_EVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as relay:
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"busy\n"
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(30) == -signal.SIGALRM
