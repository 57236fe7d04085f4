"""Lines that come one by one, and are one message together: such as a stack trace.

Hazards: a line that waits in memory must not be answered, so whoever stores it is told when the
whole message is on disk; a peer that never ends its message must not keep it from the disk, or
memory from others; and a stop must not find anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from relay.model.clock import Clock, DelayedCall
from relay.model.hops import longer_hops
from relay.model.origin import Origin, Received
from relay.model.text import counted
from relay.transport.held_sockets import LinesState
from relay.transport.reception import OversizePolicy, Reception
from relay.transport.turn_batch import Intake
from relay.wire.framing.charset import whole_characters

_LINES_MAX = 10_000  # of a message, or an expression that never matches would join all that comes
_PEERS_MAX = 1000
_BYTES_MAX = 16 * 2**20


@dataclass(slots=True, eq=False)
class _Message:
    """A message that may go on."""

    origin: Origin
    touched: float
    """When its last line came."""
    lines: list[bytes] = field(default_factory=list)
    """As far as they are kept."""
    kept_bytes: int = 0
    whole_bytes: int = 0
    count: int = 0
    hops: bytes = b""
    """Those of the line with the longest way, however many lines there are."""
    has_cut_line: bool = False
    """Which is counted as too long already."""
    waiters: list[Deferred[None]] = field(default_factory=list)
    """Those of the calls that brought its lines."""

    def add(self, line: bytes, line_bytes: int, bytes_max: int) -> None:
        """Add a line, of which the sender wrote `line_bytes`."""
        if self.kept_bytes < bytes_max:
            self.lines.append(line)
            self.kept_bytes += len(line) + 1
        self.whole_bytes += line_bytes + (self.count > 0)
        self.count += 1


class JoinedIntake:
    """An `Intake` in front of another one: joins lines to messages with LF.

    What an earlier line is waiting for is the next one of the same connection, or of the same
    address or process over datagrams.

    Args:
        begins: Whether a line begins a message; others continue the one before.
        seconds_max: Silence after which a message is complete.
        frame_bytes_max: Longest message to keep.
        oversize: What to do with longer ones: an `OversizePolicy`'s name, but not split.
        has_connections: Origins are those of connections.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        begins: Callable[[bytes], object],
        seconds_max: float,
        frame_bytes_max: int,
        oversize: str,
        has_connections: bool,
        clock: Clock,
    ) -> None:
        self._reception = reception
        self._intake: Intake = reception.intake
        self._begins = begins
        self._seconds_max = seconds_max
        self._policy = OversizePolicy(
            oversize, frame_bytes_max=frame_bytes_max, counters=reception.counters
        )
        self._has_connections = has_connections
        self._clock = clock
        self._open: dict[Hashable, _Message] = {}  # that whose line came last at the end
        self._bytes = 0  # of those
        self._counters = reception.counters
        self._call: DelayedCall | None = None
        self._is_stopping = False

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        """Fires once all messages to which these frames belong are on disk."""
        assert positions is None, "no position says how far a message that goes on was read"
        ended: list[_Message] = []
        waits: list[Deferred[None]] = []
        for batch in batches:
            message = self._join(batch, ended)
            waits.append(Deferred())
            message.waiters.append(waits[-1])
        ended += self._take_open() if self._is_stopping else self._take_too_many()
        stored = self._store(ended)
        self._expect_silence()
        all_stored = DeferredList([stored, *waits], fireOnOneErrback=True, consumeErrors=True)
        return all_stored.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)

    def last_begin(self, lines: Sequence[bytes]) -> int:
        """Where the last message in `lines` begins; 0 = at their start, or before."""
        return next((at for at in range(len(lines) - 1, 0, -1) if self._begins(lines[at])), 0)

    def leave(self, origin: Origin) -> LinesState | None:
        """Take out the message that a connection has begun, for who goes on with it; None = it
        has begun none.

        Those who wait for its lines are told that they are safe.
        """
        message = self._open.pop(id(origin), None)
        if message is None:
            return None
        self._forget(message)
        self._expect_silence()
        for waiter in message.waiters:
            waiter.callback(None)
        return LinesState(
            *(tuple(message.lines), message.whole_bytes, message.count),
            hops=message.hops,
            has_cut_line=message.has_cut_line,
        )

    def resume(self, origin: Origin, state: LinesState) -> None:
        """Go on with a message that a connection has begun elsewhere."""
        message = _Message(
            *(origin, self._clock.seconds(), list(state.lines)),
            kept_bytes=sum(len(line) + 1 for line in state.lines),
            whole_bytes=state.whole_bytes,
            count=state.count,
            hops=state.hops,
            has_cut_line=state.has_cut_line,
        )
        self._remember(id(origin), message)
        self._expect_silence()

    def stop(self) -> None:
        """Store what is there, and from now on let nothing wait for more."""
        self._is_stopping = True
        self._store_and_tell(self._take_open())
        self._expect_silence()

    def _join(self, batch: Received, ended: list[_Message]) -> _Message:
        """Take the lines of a batch; return the message that may go on."""
        origin, now = batch.origin, self._clock.seconds()
        key: Hashable = (origin.peer_host, origin.pid)
        if self._has_connections:
            key = id(origin)  # two connections of a process have the same values
        message = self._open.pop(key, None)
        if message is not None:
            self._forget(message)
        for index, line in enumerate(batch.frames):
            if message is None or message.count == _LINES_MAX or self._begins(line):
                if message is not None:
                    ended.append(message)
                message = _Message(origin, now)
            message.add(line, batch.cut.get(index, len(line)), self._policy.frame_bytes_max)
            message.has_cut_line |= index in batch.cut
            if index in batch.hops:
                message.hops = longer_hops(message.hops, batch.hops[index])
        assert message is not None, "a batch without frames"
        message.touched = now
        self._remember(key, message)
        return message

    def _remember(self, key: Hashable, message: _Message) -> None:
        self._open[key] = message
        self._bytes += message.kept_bytes
        self._counters.waiting_lines += message.count

    def _forget(self, message: _Message) -> None:
        self._bytes -= message.kept_bytes
        self._counters.waiting_lines -= message.count

    def _take_open(self) -> list[_Message]:
        return [self._take_oldest() for _ in range(len(self._open))]

    def _take_oldest(self) -> _Message:
        message = self._open.pop(next(iter(self._open)))
        self._forget(message)
        return message

    def _take_too_many(self) -> list[_Message]:
        taken = []
        while len(self._open) > _PEERS_MAX or self._bytes > _BYTES_MAX:
            taken.append(self._take_oldest())
        if taken:
            text = (
                f"{counted(len(taken), 'message')} of several lines ended early: more than "
                f"{_PEERS_MAX:,} peers or {_BYTES_MAX >> 20} MiB wait for more lines"
            )
            self._reception.warn("multi-line", text)
        return taken

    def _expect_silence(self) -> None:
        """Set, or stop, the timer for the message whose last line came first."""
        if not self._open and self._call is not None:
            self._call.cancel()
            self._call = None
        elif self._open and self._call is None:
            oldest = next(iter(self._open.values()))
            silent = self._clock.seconds() - oldest.touched
            self._call = self._clock.callLater(max(0.0, self._seconds_max - silent), self._silent)

    def _silent(self) -> None:
        self._call = None
        before = self._clock.seconds() - self._seconds_max
        ended = []
        while self._open and next(iter(self._open.values())).touched <= before:
            ended.append(self._take_oldest())
        self._store_and_tell(ended)
        self._expect_silence()

    def _store(self, messages: Sequence[_Message]) -> Deferred[None]:
        """Store `messages`, and tell those who wait for them."""
        batches = self._batches(messages)
        stored = self._intake.accept_all(batches) if batches else succeed(None)

        def tell(result: Failure | None) -> Failure | None:
            for message in messages:
                for waiter in message.waiters:
                    waiter.callback(result)  # a failure begins its errbacks
            return result

        return stored.addBoth(tell)

    def _store_and_tell(self, messages: Sequence[_Message]) -> None:
        """Store messages that no call has just ended."""
        self._store(messages).addErrback(lambda _: None)  # the waiters were told

    def _batches(self, messages: Sequence[_Message]) -> list[Received]:
        """The texts of messages; those of one origin that follow each other are together."""
        batches: list[tuple[list[bytes], Origin, dict[int, int], dict[int, bytes]]] = []
        for message in messages:
            text = b"\n".join(message.lines)
            cut = {}
            if message.whole_bytes > min(len(text), self._policy.frame_bytes_max):
                text = whole_characters(text, self._policy.frame_bytes_max)
                cut = {0: message.whole_bytes}
            if cut and not message.has_cut_line:
                settled = self._policy.settle([text], cut, {}, message.origin)
                self._reception.warn_of(message.origin, settled.kind, settled.text)
                if not settled.frames:
                    continue
            if not batches or batches[-1][1] is not message.origin:
                batches.append(([], message.origin, {}, {}))
            frames, _, all_cut, all_hops = batches[-1]
            all_cut |= {len(frames): size for size in cut.values()}
            if message.hops:
                all_hops[len(frames)] = message.hops
            frames.append(text)
        return [Received(*batch[:3], hops=batch[3]) for batch in batches]
