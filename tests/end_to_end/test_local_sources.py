"""Named pipes, programs and the relay's own log as sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.processes import Programs, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

COUNTS = f"""#!{sys.executable} -u
import sys
print("from " + sys.argv[1])
print("a warning", file=sys.stderr)
sys.exit(3)
"""


def start(programs: Programs, folder: Path, **source: object) -> tuple[RelayProcess, Path]:
    out = folder / "received.log"
    relay = RelayProcess.started(
        programs,
        folder,
        sources={"in": source},
        destinations={"out": {"connect": f"file://{out}"}},
    )
    return relay, out


def test_a_named_pipe(programs: Programs, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    relay, out = start(programs, tmp_path, listen=f"pipe://{pipe}")
    pipe.write_bytes(b"<13>one\n<13>two\n")
    assert wait_for_lines(out, 2) == [b"<13>one", b"<13>two"]
    relay.stop()
    # A writer that is there while the relay restarts loses nothing.
    writing = os.open(pipe, os.O_RDWR)
    os.write(writing, b"<13>three\n")
    relay.start()
    assert wait_for_lines(out, 3)[2] == b"<13>three"
    relay.kill()
    os.write(writing, b"<13>four\n")
    relay.start()
    # The kill may come between a line in the file and its acknowledgement in the queue.
    wait_until(lambda: received(out)[-1] == b"<13>four", "the line that nobody had read")
    os.close(writing)
    relay.stop()


def test_a_program(programs: Programs, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(COUNTS)
    program.chmod(0o755)
    relay, out = start(programs, tmp_path, listen=f"program://{program}", arguments=["here"])
    assert wait_for_lines(out, 2)[:2] == [b"from here"] * 2  # it was run twice
    wait_until(lambda: "the program ended with status 3" in relay.log(), "how it ended")
    assert "standard error: a warning" in relay.log()
    relay.stop()


def test_a_program_that_never_ends_does_not_outlive_the_relay(
    programs: Programs, tmp_path: Path
) -> None:
    program, pid_path = tmp_path / "program", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {pid_path}\necho started\nexec sleep 600\n")
    program.chmod(0o755)
    relay, out = start(programs, tmp_path, listen=f"program://{program}")
    assert wait_for_lines(out, 1) == [b"started"]
    pid = int(pid_path.read_text())
    assert Path(f"/proc/{pid}").exists()
    relay.stop()
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "the end of the program")


def test_the_relays_own_log(programs: Programs, tmp_path: Path) -> None:
    relay, out = start(programs, tmp_path, listen="internal://")
    wait_until(lambda: b"destination out" in b"".join(received(out)), "a line of the log")
    count = len(received(out))
    lines = received(out)
    assert all(line.startswith(b"<4") and b" syslogrelay " in line for line in lines)
    relay.stop()
    assert len(received(out)) <= count + 20  # messages of it cause no more of them


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK | os.W_OK), reason="needs root")
def test_the_kernels_log(programs: Programs, tmp_path: Path) -> None:
    """Records come once, also those of the time between two starts."""
    relay, out = start(programs, tmp_path, listen="kmsg://")
    wait_until(lambda: "reads the kernel's log" in relay.log(), "the start")
    ours = f"relay-test-{os.getpid()}[7]: "

    def said() -> list[bytes]:  # the kernel may say something as well
        found = [line for line in received(out) if f"relay-test-{os.getpid()} 7 ".encode() in line]
        return [line.rsplit(b" ", 1)[1] for line in found]

    for word, end in (("one", relay.stop), ("two", relay.kill), ("three", relay.stop)):
        Path("/dev/kmsg").write_text(f"<12>{ours}{word}\n")
        wait_until(lambda word=word: word.encode() in said(), f"record {word}")
        end()
        if word != "three":
            Path("/dev/kmsg").write_text(f"<12>{ours}after-{word}\n")
            relay.start()
    # The kill may come between a line in the file and its acknowledgement in the queue.
    assert sorted(set(said())) == sorted(b"one after-one two after-two three".split())
    assert said().count(b"one") == said().count(b"three") == 1
