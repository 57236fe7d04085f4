"""What an answer means over RELP: on disk, in order, and never a refusal for "wait"."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import Central, numbered, numbers, without_repetition
from tests.end_to_end.full_disk import FileSizeLimit, SmallDisk, small_mount
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

DISK_BYTES = 6 * 2**20
MESSAGES = 20000
PADDING = b"x" * 500
WITHHELD_SECONDS = 2.5  # two tries of the committer without success


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """Small; a limit on the size of files where nothing can be mounted."""
    with ExitStack() as stack:
        small: SmallDisk | None = None
        if request.param == "file system":
            small = stack.enter_context(small_mount(tmp_path / "edge" / "state", DISK_BYTES))
        yield small or FileSizeLimit(DISK_BYTES)


class Edge(RelayProcess):
    """A relay whose central is not there at first, so that its queue grows."""

    def __init__(self, programs: Programs, folder: Path, central: Central) -> None:
        self.port = free_port()
        super().__init__(
            folder,
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={
                "central": {
                    "connect": central.url,
                    "retry_seconds_min": 0.05,
                    "retry_seconds_max": 0.2,
                }
            },
            relay={"min_free_bytes": 0},
            name="edge",
        )
        programs.add(self)


@contextmanager
def withheld(edge: Edge, messages: list[bytes]) -> Iterator[RelpSender]:
    """A sender that the relay no longer answers, because its disk is full."""
    with RelpSender(edge.port, seconds_max=WITHHELD_SECONDS, window=1000) as sender:
        with pytest.raises(TimeoutError):
            sender.send(messages)
            sender.wait_answered()
        assert sender.answered, "nothing fitted"
        assert sender.unanswered
        assert sender.answered == messages[: len(sender.answered)], "out of order"
        yield sender


def padded(count: int) -> list[bytes]:
    return [message + PADDING for message in numbered("app", count)]


def order_of(lines: list[bytes]) -> list[int]:
    return without_repetition(numbers([line.removesuffix(PADDING) for line in lines], "app"))


def test_answers_wait_until_the_disk_has_room(
    disk: SmallDisk, programs: Programs, tmp_path: Path
) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", central)
    edge.start()
    disk.apply(edge)
    messages = padded(MESSAGES)
    with withheld(edge, messages) as sender:
        before = len(sender.answered)
        disk.enlarge(edge)
        began = time.monotonic()
        sender.wait_answered()
        waited = time.monotonic() - began
        sender.send(messages[len(sender.answered) :])
        sender.close()
    print(f"full disk: {before} answered before, the others {waited:.1f} s after there was room")
    assert sender.answered == messages
    central.start()
    lines = central.wait_for(messages)
    assert order_of(lines) == [*range(MESSAGES)]
    report = ask(str(edge.state_dir), "status")["sources"][0]
    assert report["received_records"] == report["stored_records"] == MESSAGES
    assert not report["dropped_records"]
    edge.stop()


def test_stopping_while_the_disk_is_full(
    disk: SmallDisk, programs: Programs, tmp_path: Path
) -> None:
    """The farewell answers nothing that is not on disk."""
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", central)
    edge.start()
    disk.apply(edge)
    messages = padded(MESSAGES)
    with withheld(edge, messages) as sender:
        before = list(sender.answered)
        edge.stop()
        with pytest.raises(ConnectionError, match="the server closes the session"):
            sender.wait_answered()
        assert sender.answered == before
    disk.enlarge(edge)
    edge.start()
    central.start()
    lines = central.wait_for(sender.answered)
    assert order_of(lines) == [*range(len(lines))]


def test_the_farewell_answers_what_is_stored(programs: Programs, tmp_path: Path) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", central)
    edge.start()
    messages = padded(200_000)
    with RelpSender(edge.port, window=1000) as sender:
        sender.send(messages[:1000])
        edge.signal(signal.SIGTERM)
        with pytest.raises(OSError) as ended:  # closed, however this end notices it
            sender.send(messages[1000:])
        said = [str(ended.value)]
        while sender.unanswered and "the server closes the session" not in said:
            try:
                sender.wait_answered()
            except ConnectionError as end:
                assert str(end) not in said, "no farewell"
                said.append(str(end))
    assert edge.wait_exit() in (0, -signal.SIGTERM)
    assert sender.answered == messages[: len(sender.answered)], "out of order"
    edge.start()
    central.start()
    lines = central.wait_for(sender.answered)
    assert order_of(lines)[: len(sender.answered)] == [*range(len(sender.answered))]


def test_a_full_window_waits_for_the_commit_and_nothing_else(
    programs: Programs, tmp_path: Path
) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", central)
    edge.start()
    waits = []
    with RelpSender(edge.port, window=1) as sender:
        for message in numbered("app", 300):
            began = time.monotonic()
            sender.send([message])
            sender.wait_answered()
            waits.append(time.monotonic() - began)
    bare = [fsync_seconds(tmp_path / "probe") for _ in range(50)]
    median, bare_median = statistics.median(waits), statistics.median(bare)
    print(
        f"window of one: median {median * 1000:.1f} ms, worst {max(waits) * 1000:.1f} ms; "
        f"a bare fsync {bare_median * 1000:.1f} ms"
    )
    # A commit is two syncs; the rest is for a busy machine.  A timer would show.
    assert median < 10 * bare_median + 0.05
    edge.stop()


def fsync_seconds(path: Path) -> float:
    began = time.monotonic()
    with path.open("ab") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - began
