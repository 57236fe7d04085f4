"""What `status` shows of a real relay, against what was sent to it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_command_line import PROGRAM, SECONDS_MAX, run
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

TOKEN = "01234567-89ab-cdef-0123-456789abcdef"
GOOD = [b"<%d>Oct 11 22:14:15 host app: good" % severity for severity in (11, 12, 12, 14)]
BAD = [b"<999>bad %d \x1b[2J" % number for number in range(30)]
WITH_TOKEN = b'<999>{"logsene-app-token":"%s"}' % TOKEN.encode()


@pytest.fixture
def relay(programs: Programs, tmp_path: Path) -> RelayProcess:
    """One that has stored good and bad messages for a destination that is away."""
    port = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"in": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={
            "away": {"connect": f"relp://127.0.0.1:{free_port()}", "rewrite": {"mode": "ewmm"}}
        },
    )
    feed_stream(port, [*GOOD, *BAD, WITH_TOKEN])
    sent = len(GOOD) + len(BAD) + 1
    wait_until(lambda: document(relay)["sources"][0]["stored_records"] == sent, "all are stored")
    return relay


def document(relay: RelayProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("status", "--json", "-d", str(relay.state_dir))[1])
    return found


def test_what_cannot_be_parsed_is_shown_without_tokens_and_control_characters(
    relay: RelayProcess,
) -> None:
    assert document(relay)["sources"][0]["parse_failures"] == len(BAD) + 1
    status, output, _ = run("status", "--samples", "--json", "-d", str(relay.state_dir))
    ((tag, samples),) = json.loads(output)["in"].items()
    assert (status, tag) == (0, "syslog.invalid_pri")
    texts = [sample["text"] for sample in samples]
    assert texts[:-1] == [rf"<999>bad {number} \x1b[2J" for number in range(11, 30)]
    assert texts[-1].startswith('<999>{"logsene-app-token":"0123')
    printed = run("status", "--samples", "-d", str(relay.state_dir))[1]
    assert "in: syslog.invalid_pri, the last 20" in printed
    assert (TOKEN in printed + output, "\x1b" in printed, "good" in printed) == (False,) * 3


def test_the_first_line_says_what_is_wrong_and_times_are_counted(relay: RelayProcess) -> None:
    # Between two tries it says that it connects.
    worst = "degraded: away: refused by 127.0.0.1:"
    wait_until(
        lambda: run("status", "-d", str(relay.state_dir))[1].startswith(worst), "it is refused"
    )
    assert run("status", "--check", "-d", str(relay.state_dir))[0] == 1
    found = document(relay)
    assert found["destinations"][0]["limit"]["seconds_to_empty"] is None
    for name in ("reactor_delay_seconds", "commit_seconds", "commit_writing_seconds"):
        assert found[name]["count"] > 0, name


def test_it_is_watched_until_somebody_stops_it(relay: RelayProcess) -> None:
    command = [PROGRAM, "status", "--watch", "0.2", "--json", "-d", str(relay.state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        lines = [json.loads(watching.stdout.readline()) for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(SECONDS_MAX) == 0
    uptimes = [line["uptime_seconds"] for line in lines]
    assert uptimes == sorted(set(uptimes))
