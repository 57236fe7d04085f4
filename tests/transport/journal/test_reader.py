from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import Logger, textFileLogObserver
from twisted.python.failure import Failure

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin, Transport
from relay.queue.admission.backpressure import Admission
from relay.transport.journal.journalctl import Selection
from relay.transport.journal.reader import JournalReader
from relay.transport.notices import Notices
from relay.transport.reception import OversizePolicy, Reception
from relay.wire.journal_message import new_journal_format
from tests.connections import RecordingNotices, fired


class Child:
    """The process transport of a journalctl that does nothing by itself."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.closed = False
        self.paused = False
        self.error: Exception | None = None

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)
        if self.error is not None:
            raise self.error

    def loseConnection(self) -> None:
        self.closed = True

    def pauseProducing(self) -> None:
        assert not self.paused
        self.paused = True

    def resumeProducing(self) -> None:
        assert self.paused
        self.paused = False


class RecordingIntake:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.cuts: list[Mapping[int, int] | None] = []
        self.positions: list[Mapping[str, bytes] | None] = []
        self.stored: list[Deferred[None]] = []

    def accept(
        self,
        frames: list[bytes],
        origin: Origin,
        *,
        cut: Mapping[int, int] | None = None,
        positions: Mapping[str, bytes] | None = None,
    ) -> Deferred[None]:
        assert origin == Origin("j", Transport.NONE)
        self.frames += frames
        self.cuts.append(cut)
        self.positions.append(positions)
        self.stored.append(Deferred())
        return self.stored[-1]


class Reactor(Clock):
    """Starts children that do nothing by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[list[str]] = []
        self.protocols: list[Any] = []
        self.error: OSError | None = None

    def spawnProcess(self, protocol: Any, program: str, args: list[str], env: object) -> None:
        if self.error is not None:
            raise self.error
        # Without a shell, and in a clean environment.
        assert (program, env) == (args[0], {"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
        self.commands.append(args)
        self.protocols.append(protocol)
        protocol.makeConnection(Child())


class Journal:
    """A reader with everything that it talks to."""

    def __init__(self, cursor: bytes = b"", **keywords: Any) -> None:
        self.reactor = Reactor()
        self.intake = RecordingIntake()
        self.notices = RecordingNotices()
        self.counters = SourceCounters()
        self.admission = Admission(pending_bytes_max=1000, queue_bytes_max=1000)
        self.program: str | None = "/bin/journalctl"
        given: dict[str, Any] = {
            "selection": Selection(),
            "format": new_journal_format(()),
            "from_beginning": False,
            "retry_seconds": lambda failures: 2.0**failures,
            "find_program": lambda: self.program,
            "reactor": self.reactor,
        }
        notices: Any = keywords.pop("notices", self.notices)
        reception = Reception("j", self.intake, self.admission, self.counters, notices)
        limit, oversize = keywords.pop("limit", 1000), keywords.pop("oversize", "truncate")
        given["oversize"] = OversizePolicy(oversize, frame_bytes_max=limit, counters=self.counters)
        self.reader = JournalReader(reception, **{**given, **keywords})
        self.reader.start(cursor)
        self.reactor.advance(0)

    @property
    def runs(self) -> list[str]:
        """What distinguishes the runs of journalctl so far."""
        return [" ".join(args[4:]).replace("--no-tail ", "") for args in self.reactor.commands]

    @property
    def child(self) -> Child:
        child: Child = self.reactor.protocols[-1].transport
        return child

    def write(self, *entries: bytes) -> None:
        self.reactor.protocols[-1].childDataReceived(1, b"".join(entries))

    def end(self, status: int = 0, stderr: bytes = b"") -> None:
        self.reactor.protocols[-1].childDataReceived(2, stderr)
        reason = ProcessTerminated(status) if status else ProcessDone(0)
        self.reactor.protocols[-1].processEnded(Failure(reason))

    @property
    def messages(self) -> list[bytes]:
        return [frame.rpartition(b" - - ")[2] for frame in self.intake.frames]


def entry(number: int, message: bytes | None = b"hello") -> bytes:
    said = b"" if message is None else b"MESSAGE=%s\n" % message
    return b"__CURSOR=i=%d\n__REALTIME_TIMESTAMP=1\n%s\n" % (number, said)


def following(cursor: bytes = b"i=0", **keywords: Any) -> Journal:
    """A reader that has caught up and follows."""
    journal = Journal(cursor, **keywords)
    journal.write(entry(0))
    journal.end()
    journal.write(entry(0))
    return journal


def test_the_first_time_it_begins_at_the_end() -> None:
    journal = Journal()
    journal.write(entry(7, b"old"))
    journal.end()
    assert journal.intake.frames == []
    assert journal.intake.positions == [{"j/cursor": b"i=7"}]
    journal.write(entry(7, b"old"), entry(8, b"new"))
    assert journal.messages == [b"new"]
    assert journal.intake.positions[1:] == [{"j/cursor": b"i=8"}]
    assert journal.runs == ["--lines=1", "--follow --cursor=i=7"]


def test_where_there_is_nothing_everything_is_new() -> None:
    journal = Journal()
    journal.end()
    assert journal.runs == ["--lines=1", "--follow --no-tail"]
    journal.end(1)
    journal.reactor.advance(1)
    assert journal.runs[2:] == [""]
    journal.write(entry(1))
    assert journal.messages == [b"hello"]


def test_the_first_time_from_the_beginning() -> None:
    journal = Journal(from_beginning=True)
    journal.write(entry(1, b"one"), entry(2, b"two"))
    journal.end()
    journal.write(entry(2, b"two"), entry(3, b"three"))
    assert journal.messages == [b"one", b"two", b"three"]
    assert journal.runs == ["", "--follow --cursor=i=2"]


def test_it_goes_on_after_its_cursor() -> None:
    journal = Journal(b"i=5")
    assert journal.runs == ["--cursor=i=5"]
    assert journal.reader.state == "catches up"
    journal.write(entry(5, b"stored"))
    journal.write(entry(6, b"six"), entry(7, b"seven"))
    journal.end()
    assert journal.runs[1:] == ["--follow --cursor=i=7"]
    assert journal.reader.state == "follows the journal"
    journal.write(entry(7, b"seven"))
    journal.write(entry(8, b"eight"))
    assert journal.messages == [b"six", b"seven", b"eight"]
    assert journal.intake.positions == [{"j/cursor": b"i=7"}, {"j/cursor": b"i=8"}]
    assert (journal.reader.gaps, journal.notices.said) == (0, [])


def test_an_entry_in_two_chunks_is_taken_once_it_is_whole() -> None:
    journal = following()
    data = entry(1)
    journal.write(data[:20])
    assert journal.intake.frames == []
    journal.write(data[20:])
    assert journal.messages == [b"hello"]


def test_half_an_entry_is_read_again() -> None:
    journal = following()
    journal.write(entry(1, b"one"), entry(2, b"two")[:20])
    journal.end(1)
    journal.reactor.advance(1)
    assert journal.runs[2:] == ["--cursor=i=1"]
    journal.write(entry(1, b"one"), entry(2, b"two"))
    assert journal.messages == [b"one", b"two"]


def test_an_entry_that_is_gone_is_a_gap() -> None:
    journal = Journal(b"i=5")
    journal.write(entry(9, b"nine"))
    assert journal.messages == [b"nine"]
    assert journal.reader.gaps == 1
    ((subject, kind, text),) = journal.notices.said
    assert (subject, kind) == ("source j", "gap")
    assert "the entry where reading stopped is not in the journal" in text
    assert "some may be lost" in text
    journal.write(entry(10, b"ten"))
    assert journal.reader.gaps == 1


def test_nothing_at_all_is_a_gap_too() -> None:
    journal = Journal(b"i=5")
    journal.end()
    assert (journal.reader.gaps, journal.runs[1:]) == (1, ["--follow --cursor=i=5"])


def test_a_cursor_that_journalctl_does_not_take() -> None:
    journal = Journal(b"i=5", from_beginning=True)
    journal.end(1, b"Failed to seek to cursor: Invalid argument\n")
    assert journal.reader.gaps == 1
    assert journal.notices.kinds == ["gap", "journalctl"]
    journal.reactor.advance(1)
    assert journal.runs == ["--cursor=i=5", ""]


def test_other_failures_leave_the_cursor_alone() -> None:
    journal = Journal(b"i=5")
    journal.end(1, b"Failed to open journal: Permission denied\n")
    text = "journalctl ended with status 1: Failed to open journal: Permission denied"
    assert journal.notices.said == [("source j", "journalctl", f"{text}; next try in 1 s")]
    assert journal.reader.state == f"{text}; next try in 1 s"
    assert not journal.reader.is_reading
    journal.reactor.advance(1)
    assert journal.runs == ["--cursor=i=5"] * 2
    assert journal.reader.gaps == 0


def test_pauses_grow_until_an_entry_comes() -> None:
    journal = following()
    for seconds in (1, 2, 4):
        journal.end(1)
        journal.reactor.advance(seconds - 0.1)
        starts = journal.reader.starts
        journal.reactor.advance(0.1)
        assert journal.reader.starts == starts + 1
        journal.write(entry(0))  # nothing new
    journal.write(entry(1))
    journal.end(1)
    journal.reactor.advance(1)
    assert journal.reader.is_reading


def test_following_has_no_good_end() -> None:
    journal = following()
    journal.end(0)
    assert journal.reader.state == "journalctl ended with status 0; next try in 1 s"


def test_no_journalctl() -> None:
    journal = following()
    journal.program = None
    journal.end(1)
    journal.reactor.advance(1)
    assert "there is no journalctl in PATH" in journal.reader.state
    journal.program = "/usr/bin/journalctl"
    journal.reactor.advance(2)
    assert journal.reader.is_reading


def test_no_process_left() -> None:
    journal = following()
    journal.reactor.error = OSError(11, "Resource temporarily unavailable")
    journal.end(1)
    journal.reactor.advance(1)
    assert "cannot start /bin/journalctl: Resource temporarily" in journal.reader.state


@pytest.mark.parametrize(
    "data",
    [b"-- No entries --\n", b"MESSAGE=no cursor\n\n", b"__CURSOR=%s\n\n" % (b"x" * 401)],
)
def test_what_is_no_journal_ends_the_run(data: bytes) -> None:
    journal = following()
    journal.write(entry(1, b"one"))
    journal.write(data)
    assert journal.child.signals == ["TERM"]
    journal.write(entry(9))  # too late
    journal.end(15)
    assert journal.messages == [b"one"]
    assert journal.counters.protocol_errors == 1
    assert journal.reader.state.startswith("journalctl ")
    journal.reactor.advance(1)
    assert journal.runs[-1] == "--cursor=i=1"


def test_no_message_is_an_empty_frame() -> None:
    journal = following()
    journal.write(entry(1, None), entry(2, b"two"))
    assert journal.messages == [b"", b"two"]  # the intake counts it


def test_long_messages_are_cut() -> None:
    journal = following(limit=100)
    journal.write(entry(1, b"x" * 5000), entry(2, b"two"), entry(3, b"y" * 90))
    first, second, third = journal.intake.frames
    assert (len(first), len(third)) == (100, 100)
    header = len(second) - len(b"two")
    assert journal.intake.cuts == [{0: header + 5000, 2: header + 90}]
    assert journal.counters.truncated_records == 2
    assert journal.notices.said == [
        ("source j", "truncated", "2 longer than frame_bytes_max (100 B): cut there")
    ]


def test_long_messages_are_dropped() -> None:
    journal = following(limit=100, oversize="drop")
    journal.write(entry(1, b"x" * 5000), entry(2, b"two"), entry(3, b"y" * 90))
    assert journal.messages == [b"two"]
    assert journal.intake.positions == [{"j/cursor": b"i=3"}]
    assert journal.counters.dropped == {"too-long": 2}
    assert (journal.counters.received_records, journal.counters.received_bytes) == (2, 200)
    assert journal.notices.kinds == ["too-long"]


def test_the_length_is_that_of_the_message_before_the_decoder_cut_a_field() -> None:
    journal = following(limit=5, format=lambda entry: dict(entry.fields)[b"MESSAGE"])
    journal.write(entry(1, b"123456789"), entry(2, b"12345"))
    assert (journal.intake.frames, journal.intake.cuts) == ([b"12345", b"12345"], [{0: 9}])


def test_admission_pauses_reading() -> None:
    journal = following()
    journal.admission.set_queue_bytes(1000)
    assert journal.child.paused
    assert journal.reader.state == "follows the journal, paused"
    assert journal.counters.pauses == 1
    journal.end(1)
    journal.reactor.advance(1)
    assert journal.child.paused  # the next run as well
    journal.admission.set_queue_bytes(0)
    assert not journal.child.paused


def test_so_do_batches_that_wait_for_their_commit() -> None:
    journal = following()
    for number in range(1, 64):
        journal.write(entry(number))
        assert not journal.child.paused
    journal.write(entry(64))
    assert journal.child.paused
    journal.admission.set_queue_bytes(1000)
    for stored in journal.intake.stored:
        stored.callback(None)
    assert journal.child.paused  # for the other reason
    journal.admission.set_queue_bytes(0)
    assert not journal.child.paused


def test_it_stops_when_the_child_is_gone() -> None:
    journal = following()
    results = fired(journal.reader.stop())
    assert journal.child.signals == ["TERM"]
    journal.write(entry(1))
    assert results == []
    journal.end(15)
    assert results == [None]
    assert journal.intake.frames == []
    assert journal.notices.said == []
    assert journal.reactor.getDelayedCalls() == []
    journal.admission.set_queue_bytes(1000)  # nobody is there to pause


def test_a_commit_after_the_stop_resumes_nothing() -> None:
    journal = following()
    for number in range(1, 65):
        journal.write(entry(number))
    journal.reader.stop()
    for stored in journal.intake.stored:
        stored.callback(None)
    assert journal.child.paused


def test_it_stops_at_once_between_two_runs() -> None:
    journal = following()
    journal.end(1)
    assert fired(journal.reader.stop()) == [None]
    assert journal.reactor.getDelayedCalls() == []
    assert journal.reader.state.startswith("journalctl ended")


def test_what_cannot_be_stored_ends_reading() -> None:
    journal = following()
    journal.write(entry(1))
    journal.write(entry(2))
    for stored in journal.intake.stored:
        stored.errback(QueueError("the queue is closed"))
    assert journal.child.signals == ["TERM"]
    assert set(journal.notices.kinds) == {"not-stored"}
    results = fired(journal.reader.stop())
    journal.end(15)
    assert results == [None]
    assert "to be read again" in journal.reader.state


def test_the_relays_own_warnings_make_no_avalanche() -> None:
    """Each of its log lines becomes an entry, and each entry is worth a warning."""
    log = io.StringIO()
    clock = Clock()
    logger = Logger(namespace="relay", observer=textFileLogObserver(log))
    journal = following(
        notices=Notices(clock=clock, log=logger, interval_seconds=60.0),
        limit=60,
    )
    number = 1
    journal.write(entry(number, b"x" * 100))
    for _ in range(3600):
        clock.advance(1)
        lines, _ = log.getvalue().encode().splitlines(), log.seek(0)
        log.truncate()
        for line in lines:
            number += 1
            journal.write(entry(number, line))
    assert 30 < len(journal.intake.frames) == number < 130
