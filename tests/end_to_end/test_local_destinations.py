"""Sockets with paths, named pipes and programs: delivered means read."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from relay.cli.control_client import ask
from relay.transport.local.outbound import unread_in_pipe
from tests.end_to_end.full_disk import small_mount
from tests.plain_senders import feed_lines
from tests.processes import Program, Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

APPENDS = f"""#!{sys.executable} -u
import os, sys
out = open(sys.argv[1], "ab", buffering=0)
open(sys.argv[2], "w").write(str(os.getpid()))
assert "SECRET" not in os.environ
print("started", file=sys.stderr)
for line in sys.stdin.buffer:
    out.write(line)
"""


QUICK = {"retry_seconds_min": 0.2, "retry_seconds_max": 0.5}


class Relayed:
    """A relay that takes lines over TCP, with one destination."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        *,
        frame_bytes_max: int = 65536,
        **destination: object,
    ) -> None:
        self.port = free_port()
        source = {"listen": f"tcp://127.0.0.1:{self.port}", "frame_bytes_max": frame_bytes_max}
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"feed": source},
            destinations={
                "out": {"retry_seconds_min": 0.2, "retry_seconds_max": 0.5, **destination}
            },
            environment={**os.environ, "SECRET": "1"},
        )

    def feed(self, *numbers: int) -> None:
        feed_lines(self.port, [b"<13>line %d" % number for number in numbers])

    def report(self) -> dict[str, object]:
        (report,) = ask(str(self.relay.state_dir), "status")["destinations"]
        return dict(report)

    def wait_delivered(self, count: int) -> None:
        wait_until(lambda: self.report()["delivered_records"] == count, f"{count} delivered")

    def wait_state(self, words: str) -> None:
        wait_until(lambda: words in str(self.report()["state"]), words)


def lines_of(*numbers: int) -> list[bytes]:
    return [b"<13>line %d" % number for number in numbers]


def read_lines(fd: int, count: int) -> list[bytes]:
    data = b""

    def complete() -> bool:
        nonlocal data
        try:
            data += os.read(fd, 65536)
        except BlockingIOError:
            pass
        return data.count(b"\n") >= count

    wait_until(complete, f"{count} lines")
    return data.splitlines()


def test_a_named_pipe_whose_reader_comes_and_goes(programs: Programs, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    relayed = Relayed(programs, tmp_path, connect=f"pipe://{pipe}")
    relayed.wait_state("no program has it open for reading")
    relayed.feed(1, 2)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert read_lines(reading, 2) == lines_of(1, 2)
    relayed.wait_delivered(2)
    os.close(reading)
    relayed.feed(3)
    relayed.wait_state("next try in")
    assert relayed.report()["delivered_records"] == 2
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert read_lines(reading, 1) == lines_of(3)
    relayed.wait_delivered(3)
    # Unread when the relay is killed: it is there again after the next start.
    relayed.feed(4)
    wait_until(lambda: relayed.report()["in_flight_records"] == 1, "a line in the pipe")
    relayed.relay.kill()
    os.close(reading)
    relayed.relay.start(wait=False)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    relayed.relay.wait_ready()
    assert read_lines(reading, 1) == lines_of(4)
    relayed.wait_delivered(4)
    relayed.relay.stop()
    os.close(reading)


def test_a_socket_whose_program_restarts(programs: Programs, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    relayed = Relayed(programs, tmp_path, connect=f"unix://{path}")
    relayed.feed(1)
    relayed.wait_state("No such file or directory")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connected, _ = listener.accept()
        with connected:
            connected.setblocking(False)
            assert read_lines(connected.fileno(), 1) == lines_of(1)
            relayed.wait_delivered(1)
            relayed.feed(2)
            wait_until(lambda: relayed.report()["in_flight_records"] == 1, "a line on its way")
        # Closed with a line that nobody has read: it comes again.
        connected, _ = listener.accept()
        with connected:
            connected.setblocking(False)
            assert read_lines(connected.fileno(), 1) == lines_of(2)
            relayed.wait_delivered(2)
            relayed.relay.stop()


def test_datagrams_wait_for_a_reader_that_is_slow(programs: Programs, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    numbers = range(1000)  # more than a socket's queue holds
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(20)
        relayed = Relayed(programs, tmp_path, connect=f"unixgram://{path}")
        relayed.feed(*numbers)
        assert [receiver.recv(65536) for _ in numbers] == lines_of(*numbers)
        relayed.wait_delivered(len(numbers))
        relayed.relay.stop()


def bound(path: str) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(path)
    receiver.settimeout(20)
    return receiver


def test_datagrams_wait_while_nobody_takes_them_and_a_kill_changes_nothing(
    programs: Programs, tmp_path: Path
) -> None:
    path = str(tmp_path / "sock")
    relayed = Relayed(programs, tmp_path, connect=f"unixgram://{path}")
    relayed.wait_state("No such file or directory")
    relayed.feed(1, 2)
    wait_until(lambda: relayed.report()["queued_records"] == 2, "both wait")
    relayed.relay.kill()
    relayed.relay.start()
    with bound(path) as receiver:
        assert [receiver.recv(65536) for _ in range(2)] == lines_of(1, 2)
        relayed.wait_delivered(2)
    # The socket is there and nobody has it: an outage in the middle.
    relayed.feed(3)
    relayed.wait_state("Connection refused, next try in")
    relayed.relay.kill()
    os.unlink(path)
    relayed.relay.start()
    with bound(path) as receiver:
        assert receiver.recv(65536) == lines_of(3)[0]
        relayed.wait_delivered(3)
        relayed.relay.stop()


STORES = """
import io, os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
out = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    connected, _ = listener.accept()
    with connected.makefile("rb", buffering=0) as lines:
        for line in io.BufferedReader(lines):
            if not line.endswith(b"\\n"):
                break  # the relay was killed within it, and sends it again
            size = os.fstat(out).st_size
            while True:
                try:
                    if os.write(out, line) == len(line):
                        break
                except OSError:
                    pass  # nothing or a part of it is there
                print("full", flush=True)
                os.ftruncate(out, size)
                time.sleep(0.1)
"""


def test_a_program_behind_a_socket_whose_disk_is_full(programs: Programs, tmp_path: Path) -> None:
    """It reads no more until it can store; the relay is killed meanwhile."""
    path, count = str(tmp_path / "sock"), 20_000
    with small_mount(tmp_path / "small", 512 * 1024) as small:
        if small is None:
            pytest.skip("file systems can be mounted by root only")
        stored = tmp_path / "small" / "stored"
        command = [sys.executable, "-c", STORES, path, str(stored)]
        program = Program(command, folder=tmp_path, name="stores")
        programs.add(program)
        program.start()
        relayed = Relayed(programs, tmp_path, connect=f"unix://{path}")
        long = [b"<13>line %d %050d" % (number, number) for number in range(count)]
        feed_lines(relayed.port, long)
        wait_until(lambda: relayed.report()["received_records"] == count, "all is stored here")
        wait_until(lambda: "full" in program.log(), "a full disk")
        assert relayed.report()["queued_records"] > 0
        relayed.relay.kill()
        relayed.relay.start()
        small.enlarge(relayed.relay)
        wait_until(lambda: set(received(stored)) == set(long), "all lines, each whole", 60)
        wait_until(lambda: relayed.report()["queued_records"] == 0, "none waits")
        relayed.relay.stop()


def test_a_program_is_run_again_when_it_dies(programs: Programs, tmp_path: Path) -> None:
    program, out, pid = tmp_path / "program", tmp_path / "out", tmp_path / "pid"
    program.write_text(APPENDS)
    program.chmod(0o755)
    relayed = Relayed(
        programs, tmp_path, connect=f"program://{program}", arguments=[str(out), str(pid)]
    )
    relayed.feed(1, 2)
    assert wait_for_lines(out, 2) == lines_of(1, 2)
    relayed.wait_delivered(2)
    first = int(pid.read_text())
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "was ended by signal 9" in relayed.relay.log(), "a line in the log")
    relayed.feed(3)
    wait_for_lines(out, 3)
    relayed.wait_delivered(3)
    assert received(out) == lines_of(1, 2, 3)
    assert int(pid.read_text()) != first
    # One that hangs delays itself only, and what it has not read is there after a restart.
    os.kill(int(pid.read_text()), signal.SIGSTOP)
    stopped = int(pid.read_text())
    relayed.feed(4)
    wait_until(lambda: relayed.report()["in_flight_records"] == 1, "a line in the pipe")
    relayed.relay.kill()
    os.kill(stopped, signal.SIGKILL)
    relayed.relay.start()
    wait_for_lines(out, 4)
    relayed.wait_delivered(4)
    assert received(out) == lines_of(1, 2, 3, 4)
    relayed.relay.stop()
    assert "warning: destination out: standard error: started" in relayed.relay.log()


def test_a_program_that_ignores_the_end_of_its_input_does_not_outlive_the_relay(
    programs: Programs, tmp_path: Path
) -> None:
    program, pids = tmp_path / "program", tmp_path / "pids"
    # It has a child too, and neither minds SIGTERM.
    program.write_text(
        "#!/bin/sh\ntrap '' TERM\nsleep 600 &\n"
        f"echo $$ $! > {pids}.part\nmv {pids}.part {pids}\ncat > /dev/null\nsleep 600\n"
    )
    program.chmod(0o755)
    relayed = Relayed(programs, tmp_path, connect=f"program://{program}")
    relayed.feed(1)
    relayed.wait_delivered(1)
    running = [Path(f"/proc/{pid}/exe") for pid in pids.read_text().split()]
    assert all(path.exists() for path in running)
    relayed.relay.stop()
    wait_until(lambda: not any(path.exists() for path in running), "the end of both")


def test_what_a_program_leaves_behind_does_not_outlive_the_relay(
    programs: Programs, tmp_path: Path
) -> None:
    program, pid_path = tmp_path / "program", tmp_path / "pid"
    # The program ends with its input; its child has no file of the relay, and minds no SIGTERM.
    program.write_text(
        "#!/bin/sh\n(trap '' TERM; exec sleep 600) < /dev/null > /dev/null 2>&1 &\n"
        f"echo $! > {pid_path}\nexec cat > /dev/null\n"
    )
    program.chmod(0o755)
    relayed = Relayed(programs, tmp_path, connect=f"program://{program}")
    relayed.feed(1)
    relayed.wait_delivered(1)
    child = Path(f"/proc/{int(pid_path.read_text())}/exe")
    assert child.exists()
    relayed.relay.stop()
    wait_until(lambda: not child.exists(), "the end of the child")


def test_a_program_that_ends_with_its_input_may_finish_first(
    programs: Programs, tmp_path: Path
) -> None:
    program, out = tmp_path / "program", tmp_path / "out"
    program.write_text(f"#!/bin/sh\ntrap '' TERM\ncat > {out}\nsleep 0.2\necho end >> {out}\n")
    program.chmod(0o755)
    relayed = Relayed(programs, tmp_path, connect=f"program://{program}")
    relayed.feed(1)
    relayed.wait_delivered(1)
    relayed.relay.stop()
    assert received(out) == [*lines_of(1), b"end"]


def test_a_pipe_gets_no_part_of_a_line_however_the_relay_ends(
    programs: Programs, tmp_path: Path
) -> None:
    """Lines are 700 kB long, of which the pipe holds one and no two."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    relayed = Relayed(programs, tmp_path, frame_bytes_max=2_000_000, connect=f"pipe://{pipe}")
    long = [b"<13>%d " % number + b"x" * 700_000 for number in range(3)]
    feed_lines(relayed.port, [*long, b"<13>" + b"y" * 1_100_000, b"<13>last"])
    wait_until(lambda: relayed.report()["received_records"] == 5, "all is stored")
    wait_until(lambda: unread_in_pipe(reading) > 0, "the first line in the pipe")
    relayed.relay.kill()
    assert os.read(reading, 300_000).startswith(b"<13>0 xxx")
    relayed.relay.start()
    relayed.relay.stop()
    rest = b""
    while unread_in_pipe(reading):
        rest += os.read(reading, 1 << 20)
    assert len(rest) >= 400_000
    assert rest[-1:] == b"\n"  # all of it is whole lines, but the start that was read above
    relayed.relay.start()
    lines = read_lines(reading, 4)
    assert lines == [*long, b"<13>last"]
    relayed.wait_delivered(4)
    assert relayed.report()["quarantined_records"] == 1
    assert "too-long: 1,100,004 bytes" in relayed.relay.log()
    relayed.relay.stop()
    os.close(reading)


def test_a_program_that_is_not_there(programs: Programs, tmp_path: Path) -> None:
    relayed = Relayed(programs, tmp_path, connect=f"program://{tmp_path}/none")
    relayed.wait_state("No such file or directory, next try in")
    relayed.relay.stop()
