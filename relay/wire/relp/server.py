"""The server's end of a RELP session, as a state machine without I/O.

The shell calls `receive` with each chunk, hands the messages on, calls `answer`
when they are stored, and writes `data_to_send()` after every call.  When
`finished` is true it closes the connection.

Rules that this file keeps, whatever the peer does:

1. Messages are answered in the order in which they came, and only by `answer`.
2. ``close`` is answered after all messages before it.  So is the farewell that
   follows a violation: the good frames before it count.
3. Where a client has offered a lineage (`relp_lineage`), ``open`` is answered by
   `answer_open`, and nothing may come before that.
4. A message is never answered with anything but 200: the common client throws
   away what is refused.  What cannot be stored is not answered at all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from relay.codec import TXNR_MAX, encode_syslog
from relay.model.errors import RelpError
from relay.wire.hops import format_hop, hop_in, split_hops, with_hops
from relay.wire.relp.blocks import COMPRESS_OFFER, Block, Unpacker, takes_zstd
from relay.wire.relp.fleet import (
    FLEET_ANSWER,
    FLEET_COMMAND,
    FleetOffer,
    FleetReport,
    fleet_in,
    parse_report,
)
from relay.wire.relp.frame import (
    SERVERCLOSE,
    RelpFrame,
    RelpFrameDecoder,
    encode_answers,
    encode_frame,
    encode_last_answer,
    next_txnr,
)
from relay.wire.relp.lineage import LINEAGE, LineageOffer, lineage_in
from relay.wire.relp.offers import format_offers, parse_offers, refusal_of


class RelpServerSession:
    """One connection from a RELP client.

    Args:
        data_bytes_max: Longest message to keep, in bytes.
        software: Value of our ``relp_software`` offer.
        truncate: Cut longer messages instead of ending the session.
        split: With `truncate`: split them instead.  Such a message is answered once,
            and counts as unanswered when `receive` has returned its last piece.
        takes_lineages: Whether `answer_open` will be called where one is offered.
        hop: This relay, for clients that offer theirs (`relay.wire.hops`); empty = for none.
        unpacks: Asked whether to take compressed blocks when a client offers them.
        takes_reports: Take reports of relays that offer them (`fleet.py`).

    Attributes:
        opened: The client has sent an acceptable ``open``.
        lineage: What it has offered with that, if it did.
        client_hop: The client's hop, if both ends are relays that say theirs.  Messages are
            records then: they may have hops before them.
        fleet: The name that it says, if it is a relay that reports.
        report: What it has reported last.
        lineage_malformed: It has offered one that cannot be understood.
        unanswered: Messages returned by `receive` and not yet answered.
        finished: Everything is said; write `data_to_send()` and close.
        error: The violation that ended the session, if one did.
        cut: Which of the messages returned last were cut: index to bytes of the whole.
        pieces: Which of them are pieces of one that was split: index to the number of
            the piece, from 1.
    """

    def __init__(
        self,
        *,
        data_bytes_max: int,
        software: bytes,
        truncate: bool = True,
        split: bool = False,
        takes_lineages: bool = False,
        hop: bytes = b"",
        unpacks: Callable[[], bool] = lambda: False,
        takes_reports: bool = False,
    ) -> None:
        self.opened = False
        self.lineage: LineageOffer | None = None
        self.client_hop = b""
        self.fleet: FleetOffer | None = None
        self.report: FleetReport | None = None
        self.lineage_malformed = False
        self.unanswered = 0
        self.finished = False
        self.error: RelpError | None = None
        self.cut: dict[int, int] = {}
        self.pieces: dict[int, int] = {}
        self._decoder = RelpFrameDecoder(
            data_bytes_max=data_bytes_max, truncate=truncate, split=split
        )
        self._software = software
        self._takes_lineages = takes_lineages
        self._hop = hop
        self._unpacks = unpacks
        self._takes_reports = takes_reports
        self._unpacker: Unpacker | None = None  # of a session with blocks, from its opening on
        self._hops_of_split = b""  # those of the message of which pieces are to come
        self._unanswered_open: int | None = None  # its txnr
        self._next_txnr = 1
        self._first_unanswered = 1
        self._inside_split = False  # the last message returned is not the last piece
        self._output: list[bytes] = []
        self._encode_answers = encode_answers
        # What to say after the last answer.  Set = nothing more is taken.
        self._farewell: bytes | None = None
        self._abandoned = False

    @property
    def truncated(self) -> int:
        """How many messages were cut to the size limit so far."""
        return self._decoder.truncated

    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame or block."""
        unpacker = self._unpacker
        return self._decoder.unfinished_bytes + (unpacker.kept_bytes if unpacker else 0)

    @property
    def ending(self) -> bool:
        """Whether the session takes no more messages."""
        return self._farewell is not None

    @property
    def has_more(self) -> bool:
        """Whether compressed messages have come that `receive` has not returned yet: call it again
        with no bytes."""
        unpacker = self._unpacker
        return unpacker is not None and unpacker.has_more and self._farewell is None

    def receive(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the messages they complete."""
        if self.cut or self.pieces:
            self.cut, self.pieces = {}, {}
        messages = self._frames_of(chunk) if self._unpacker is None else self._unpack(chunk)
        if self.client_hop:
            hops = _make_records(messages, self.cut, self.pieces, self._hops_of_split)
            self._hops_of_split = hops
        return messages

    def _unpack(self, chunk: bytes) -> list[bytes]:
        """The messages in a part of the stream that may have blocks in it."""
        unpacker = self._unpacker
        assert unpacker is not None
        messages: list[bytes] = []
        cut, pieces = dict[int, int](), dict[int, int]()
        for part in unpacker.feed(chunk):
            at = len(messages)
            messages += self._block(part) if isinstance(part, Block) else self._frames_of(part)
            cut |= {at + index: size for index, size in self.cut.items()}
            pieces |= {at + index: piece for index, piece in self.pieces.items()}
            self.cut, self.pieces = {}, {}
        if self._farewell is None and unpacker.error is not None:
            self._fail(str(unpacker.error))
        self._finish_if_answered()
        self.cut, self.pieces = cut, pieces
        return messages

    def _block(self, block: Block) -> list[bytes]:
        """The messages of a block."""
        first, messages = block
        if self._farewell is not None:
            return []
        if first != self._next_txnr or self._unanswered_open is not None:
            self._fail(f"a compressed block with txnr {first} where {self._next_txnr} is due")
            return []
        last = first + len(messages) - 1
        if last > TXNR_MAX or max(map(len, messages)) > self._decoder.data_bytes_max:
            return self._frames_of(encode_syslog(first, messages))
        if not self.unanswered:
            self._first_unanswered = first
        self._next_txnr = next_txnr(last)
        self.unanswered += len(messages)
        return messages

    def _frames_of(self, chunk: bytes) -> list[bytes]:
        """The messages that `chunk`, which is no block, completes."""
        if self._farewell is not None:
            return []
        decoder = self._decoder
        messages, frames = self._take_run(chunk)
        run = len(messages)
        others: list[int] = []  # which of the frames are no messages
        continued = 0
        for txnr, command, data in frames:
            if self._farewell is not None:
                break
            if txnr == 0 and command == FLEET_COMMAND and self.fleet is not None:
                others.append(len(messages) + len(others) - run)
                self.report = parse_report(data) or self.report
                continue
            if txnr != self._next_txnr:
                index = len(messages) + len(others) - run
                if decoder.pieces.get(index, 1) == 1:
                    self._fail(f"txnr {txnr} of {command!r} where {self._next_txnr} is due")
                    break
                if self.opened:
                    continued += 1
                    messages.append(data)
                else:  # the first piece was refused
                    others.append(index)
                continue
            if self._unanswered_open is not None:
                self._fail(f"{command!r} before open was answered")
                break
            self._next_txnr = next_txnr(txnr)
            if command == b"syslog" and self.opened:
                if not self.unanswered and not messages:
                    self._first_unanswered = txnr
                messages.append(data)
            else:
                others.append(len(messages) + len(others) - run)
                self._other(txnr, command, data)
        taken = len(messages) + len(others) - run
        self.unanswered += len(messages) - continued + self._inside_split
        self._inside_split = self.opened and decoder.inside_split and taken == len(frames)
        self.unanswered -= self._inside_split
        if decoder.cut or decoder.pieces:
            self.cut = _of_messages(decoder.cut, others, taken, run)
            self.pieces = _of_messages(decoder.pieces, others, taken, run)
        if decoder.error is not None and self._farewell is None:
            self._fail(str(decoder.error))
        self._finish_if_answered()
        return messages

    def _take_run(self, chunk: bytes) -> tuple[list[bytes], list[RelpFrame]]:
        """The messages at the start of what is there that need no second look; the rest."""
        if not self.opened or self._unanswered_open is not None:
            return [], self._decoder.feed(chunk)
        messages, frames = self._decoder.feed_run(chunk, self._next_txnr)
        if messages:
            if not self.unanswered:
                self._first_unanswered = self._next_txnr
            self._next_txnr = next_txnr(self._next_txnr + len(messages) - 1)
        return messages, frames

    def answer_open(self, offer: bytes) -> None:
        """Accept the ``open`` with which a lineage came; `offer` is one more line of ours."""
        txnr, self._unanswered_open = self._unanswered_open, None
        if txnr is not None and not self.finished:
            self._accept_open(txnr, offer)

    def answer(self, count: int) -> None:
        """Say ``200 OK`` to the `count` oldest unanswered messages: they are stored.

        Says nothing after `abandon`: the oldest may then be those that were not stored.
        """
        if self._abandoned:
            return
        assert 0 <= count <= self.unanswered, (count, self.unanswered)
        self._output.append(self._encode_answers(self._first_unanswered, count))
        self._first_unanswered = (self._first_unanswered - 1 + count) % TXNR_MAX + 1
        self.unanswered -= count
        self._finish_if_answered()

    def end_of_input(self) -> None:
        """The client sends no more; what it has sent is still answered."""
        if self._farewell is None:
            if self._decoder.inside_frame or self.unfinished_bytes:
                self.error = RelpError("the stream ended inside a frame")
            self._farewell = b""
        self._finish_if_answered()

    def shut_down(self) -> None:
        """Take no more messages; finish when those taken are answered."""
        if self._farewell is None:
            self._farewell = SERVERCLOSE
        self._finish_if_answered()

    def abandon(self) -> None:
        """Finish at once, leaving what is unanswered to be sent again elsewhere."""
        if not self.finished:
            self._output.append(SERVERCLOSE)
            self._farewell = b""
            self._abandoned = True
            self.finished = True

    def data_to_send(self) -> bytes:
        """What to write now; each byte is returned once."""
        output, self._output = self._output, []
        return b"".join(output)

    def _other(self, txnr: int, command: bytes, data: bytes) -> None:
        if command == b"open":
            self._open(txnr, data)
        elif command == b"close":
            self._farewell = encode_frame(txnr, b"rsp", b"") + SERVERCLOSE
        elif command == b"syslog":  # not opened: librelp consumes the number and goes on
            self._output.append(encode_frame(txnr, b"rsp", b"500 command disabled"))
        else:
            self._fail(f"unknown command {command!r}")

    def _open(self, txnr: int, data: bytes) -> None:
        offers = parse_offers(data)
        refusal = refusal_of(offers)
        if self.opened:
            refusal = b"protocol error: connection already open"
        if refusal is not None:
            self.error = RelpError(f"open refused: {refusal.decode('ascii')}")
            self._farewell = encode_frame(txnr, b"rsp", b"500 " + refusal) + SERVERCLOSE
            return
        self.opened = True
        self.client_hop = hop_in(offers) if self._hop else b""
        if takes_zstd(offers) and self._unpacks():
            self._unpacker, self._encode_answers = Unpacker(), encode_last_answer
        self.fleet = fleet_in(offers) if self._takes_reports else None
        if self._takes_lineages and LINEAGE in offers:
            self.lineage = lineage_in(offers)
            self.lineage_malformed = self.lineage is None
        if self.lineage is None:
            self._accept_open(txnr, b"")
        else:
            self._unanswered_open = txnr

    def _accept_open(self, txnr: int, offer: bytes) -> None:
        offered = [offer, format_hop(self._hop) if self.client_hop else b""]
        if self._unpacker is not None:
            offered.append(COMPRESS_OFFER)
        if self.fleet is not None:
            offered.append(FLEET_ANSWER)
        answer = b"200 OK\n" + format_offers(self._software, b"\n".join(filter(None, offered)))
        self._output.append(encode_frame(txnr, b"rsp", answer))

    def _fail(self, reason: str) -> None:
        self.error = RelpError(reason)
        self._farewell = SERVERCLOSE

    def _finish_if_answered(self) -> None:
        if self._farewell is not None and not self.unanswered and not self.finished:
            self._output.append(self._farewell)
            self.finished = True


def _of_messages(
    by_frame: dict[int, int], others: list[int], taken: int, run: int
) -> dict[int, int]:
    """`by_frame` by the index of the message, for the frames before `taken`.

    Args:
        run: How many messages there are before the frames.
    """
    return {
        run + index - bisect_left(others, index): value
        for index, value in by_frame.items()
        if index < taken and index not in others
    }


def _make_records(
    messages: list[bytes], cut: dict[int, int], pieces: dict[int, int], hops: bytes
) -> bytes:
    """Put the hops that the first piece of a message came with before its other pieces.

    Args:
        hops: Those of the message of which pieces are to come.

    Returns:
        The same, after these messages.
    """
    for index in cut:
        cut[index] -= len(messages[index]) - len(split_hops(messages[index])[1])
    for index, piece in sorted(pieces.items()):
        if piece == 1:
            hops = split_hops(messages[index])[0]
        else:
            messages[index] = with_hops(messages[index], hops)
    return hops
