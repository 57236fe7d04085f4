"""How commands find a relay, end, and speak to pipes, with a real relay behind them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

PROGRAM = str(Path(sys.executable).with_name("syslogrelay"))
SECONDS_MAX = 60.0


@pytest.fixture
def relay(programs: Programs, tmp_path: Path) -> RelayProcess:
    """One with ten messages for a destination that is away."""
    port = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"in": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={"away": {"connect": f"relp://127.0.0.1:{free_port()}"}},
    )
    feed_stream(port, [b"<13>message %d" % number for number in range(10)])
    wait_until(lambda: "  10  " in run("queue", "ls", "-d", str(relay.state_dir))[1], "ten records")
    return relay


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env={**os.environ, **(environment or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


LOOKING = [
    *(["status"], ["status", "--json"], ["audit"], ["queue", "ls"], ["queue", "peek", "away"]),
    *(["queue", "export", "away"], ["queue", "verify"], ["quarantine", "ls"]),
    *(["pause", "away"], ["resume", "away"]),
]


def test_commands_need_the_state_directory_and_no_valid_file(relay: RelayProcess) -> None:
    here = str(relay.state_dir)
    assert run("status", environment={"SYSLOGRELAY_STATE_DIR": here})[0] == 0
    assert run("status", "-c", str(relay.config_path))[0] == 0
    with relay.config_path.open("a") as file:
        file.write("half = \n")
    for arguments in LOOKING:
        status, output, errors = run(*arguments, "-c", str(relay.config_path))
        assert (status, errors.count("warning: ")) == (0, 1), (arguments, output, errors)
        assert "expected a value" in errors
    assert run("check", str(relay.config_path))[0] == 1
    assert run("check", str(relay.folder / "none.toml"))[0] == 2


def test_output_that_nobody_takes(relay: RelayProcess) -> None:
    here = ("-d", str(relay.state_dir))
    for arguments in LOOKING:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [PROGRAM, *arguments, *here], stdout=full, stderr=subprocess.PIPE, timeout=60
            )
        words = b"syslogrelay: cannot write: No space left on device\n"
        assert (done.returncode, done.stderr) == (2, words), arguments
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            done = subprocess.run(
                [PROGRAM, *arguments, *here], stdout=pipe, stderr=subprocess.PIPE, timeout=60
            )
        assert (done.returncode, done.stderr) == (141, b""), arguments


def test_who_follows_a_queue_ends_when_asked_and_when_nobody_reads(relay: RelayProcess) -> None:
    command = [PROGRAM, "queue", "tail", "-f", "away", "-d", str(relay.state_dir)]
    followed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert followed.stdout is not None
    followed.stdout.readline()
    followed.stdout.close()  # and nothing new comes
    assert followed.wait(SECONDS_MAX) == 141
    followed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert followed.stdout is not None
    followed.stdout.readline()
    followed.send_signal(signal.SIGINT)
    _, errors = followed.communicate(timeout=SECONDS_MAX)
    assert (followed.returncode, errors) == (130, b"")


def test_a_check_tells_a_relay_that_is_well_from_one_that_is_not(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"in": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{tmp_path}/out"}},
        relay={"min_free_bytes": 0},
    )
    here = ("-d", str(relay.state_dir))
    wait_until(lambda: run("status", "--check", *here)[0] == 0, "the relay to be well")
    assert run("status", "--check", *here) == (
        *(0, "ok: relay relay; 1 source; 1 destination; 0 records queued\n", ""),
    )
    run("pause", "file", *here)
    status, output, errors = run("status", "--check", *here)
    assert (status, output.count("\n"), errors) == (1, 1, "")
    assert output.startswith("degraded: file: paused by hand")
    assert run("status", *here)[0] == 0
    relay.stop()
    status, output, errors = run("status", "--check", *here)
    assert (status, output.count("\n"), errors) == (2, 1, "")
    assert output.startswith("no answer: no relay is running")


def test_a_relay_that_hangs_and_one_that_is_stopped(relay: RelayProcess) -> None:
    here = ("-d", str(relay.state_dir))
    pid = (relay.state_dir / "queue" / "owner.lock").read_text().strip()
    os.kill(int(pid), signal.SIGSTOP)
    try:
        for arguments in (["status"], ["queue", "ls"]):
            status, output, errors = run(*arguments, *here)
            assert (status, output) == (2, "")
            assert errors.startswith(f"syslogrelay: the relay (process {pid}) is stopped")
    finally:
        os.kill(int(pid), signal.SIGCONT)
    assert run("status", *here)[0] == 0
    relay.stop()
    for arguments in (["status"], ["pause", "away"], ["queue", "purge", "away", "--yes"]):
        status, output, errors = run(*arguments, *here)
        assert (status, output, errors.count("\n")) == (2, "", 1), arguments
    assert run("queue", "verify", *here)[0] == 0
    assert run("queue", "grep", "away", "message 3", *here)[0] == 0
    assert run("queue", "grep", "away", "nothing like it", *here)[0] == 1
    assert run("queue", "purge", "nope", *here)[0] == 2
