from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relay.service.exit_status import ExitStatus
from tests.threads import Reactor

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal, sys
from twisted.application import app
from twisted.internet import reactor
from relay.service.exit_status import ExitStatus

status = ExitStatus(reactor)
def stop():
    print("stopping")
    if "fail" in sys.argv:
        status.fail()
    if "give-up" in sys.argv:
        status.give_up()
    elif "signal" in sys.argv:
        signal.raise_signal(signal.SIGTERM)
    else:
        reactor.stop()
reactor.callWhenRunning(stop)
reactor.run()
if reactor._exitSignal is not None:  # as twistd does it
    app._exitWithSignal(reactor._exitSignal)
print("the end")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 0),
        (["signal"], -15),
        (["give-up"], 1),
        (["fail"], 1),
        (["fail", "signal"], 1),
    ],
)
def test_the_process_ends_with_status_one_if_something_failed(
    arguments: list[str], status: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert done.stdout.split("\n")[0] == "stopping", "what was written before is not lost"


def test_giving_up_stops_the_reactor_once_it_is_said() -> None:
    reactor = Reactor()
    status = ExitStatus(reactor)
    assert not status.has_failed
    status.fail()
    assert (status.has_failed, reactor.stops) == (True, 0)
    status.give_up()
    assert reactor.stops == 1
