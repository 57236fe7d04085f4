"""The client's end of a RELP session, as a state machine without I/O.

    connecting: nothing said   ──data_to_send()──▶  opening: open is out
    opening                    ──200───────────▶  ready: messages may be sent
    ready                      ──close()────────▶  closing: close is out
    any                        ──violation, serverclose, refusal, answer to close──▶  over

The shell writes `data_to_send()` after every call, calls `receive` with each
chunk, and closes the connection once `over` is true.  What was sent and not
acknowledged then has to be sent again in another session; nothing here keeps it.

Numbers are not reused in a session: librelp cannot pass 999,999,999, so `room`
becomes 0 well before and the shell reconnects when everything is answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from relay.codec import encode_syslog
from relay.model.errors import RelpError
from relay.model.text import printable
from relay.wire.hops import format_hop, hop_in, without_hops
from relay.wire.relp.blocks import COMPRESS_OFFER, Packer, takes_zstd
from relay.wire.relp.fleet import FleetReport, format_report, takes_reports
from relay.wire.relp.frame import (
    RelpFrame,
    RelpFrameDecoder,
    encode_answers,
    encode_frame,
)
from relay.wire.relp.offers import format_offers, parse_offers

# Answers are short; librelp allows 128 KiB for one.
_ANSWER_BYTES_MAX = 128 * 1024
_TXNR_LIMIT = 999_000_000

# Three digits, then a SP and text (which a known server leaves out), then data.
_USUAL_ANSWER = b" rsp 6 200 OK\n"
_LONGEST_ANSWER = b"999999999" + _USUAL_ANSWER
_TAKEN = (b"200 ", b"200", b"200\n")
_RSP = re.compile(rb"([0-9]{3})(?: ([^\n]*))?(?:\n(.*))?\Z", re.DOTALL)


class RelpClientSession:
    """One connection to a RELP server.

    Args:
        window_records: Most messages without an answer.
        software: Value of our ``relp_software`` offer.
        offer: One more line of offers, or nothing.
        hop: This relay, empty if it has no id: messages are records, which may have hops before
            them, and go without if the server does not take them.  None = they are messages.
        packer: Compresses messages from `begin_packing` on, if the server takes that; None = never.
            Of this session only.
        report: Gives what to tell a server that takes reports; None = it is told nothing.

    Attributes:
        ready: The server has accepted ``open``.
        server_offers: What it offered then.
        over: Nothing more will be exchanged; close the connection.
        error: Why it is over, unless we closed and the server agreed.
        ended_by_server: The server has ended the open session (``serverclose``).
        inflight: The messages that are not acknowledged.
    """

    def __init__(
        self,
        *,
        window_records: int,
        software: bytes,
        offer: bytes = b"",
        hop: bytes | None = None,
        packer: Packer | None = None,
        report: Callable[[], FleetReport] | None = None,
        txnr_limit: int = _TXNR_LIMIT,
    ) -> None:
        self.ready = False
        self.server_offers: dict[bytes, list[bytes]] = {}
        self.over = False
        self.ended_by_server = False
        self.error: RelpError | None = None
        self._decoder = RelpFrameDecoder(data_bytes_max=_ANSWER_BYTES_MAX, truncate=False)
        # txnr 1 is the open.
        self.inflight = Inflight(first_txnr=2, frames_max=window_records)
        self._txnr_limit = txnr_limit
        self._close_txnr: int | None = None
        self._held = b""  # the beginning of an expected answer
        self._hop = hop
        self._takes_hops = hop is None
        self._packer = packer
        self._report = report
        self._encode = encode_syslog
        self._answers_stand_for_more = False
        more = [offer, format_hop(hop) if hop else b"", COMPRESS_OFFER if packer else b""]
        offers = format_offers(software, b"\n".join(filter(None, more)))
        self._output = [encode_frame(1, b"open", offers)]

    @property
    def is_open(self) -> bool:
        """Whether the session is open, and neither end closes it."""
        return self.ready and not self.over and self._close_txnr is None

    @property
    def room(self) -> int:
        """How many messages may be sent now."""
        if not self.is_open:
            return 0
        return min(self.inflight.room, max(0, self._txnr_limit - self.inflight.next_txnr))

    @property
    def exhausted(self) -> bool:
        """Whether only another connection has numbers for more messages."""
        return self.inflight.next_txnr >= self._txnr_limit

    def send(self, payloads: Sequence[bytes]) -> None:
        """Send messages, at least one and at most `room` of them, none empty."""
        if not self._takes_hops:
            payloads = without_hops(payloads)
        first = self.inflight.add(len(payloads))
        self._output.append(self._encode(first, payloads))

    def begin_packing(self) -> bool:
        """Compress messages from now on; False if the server does not take that."""
        if self._packer is None or not self._answers_stand_for_more:
            return False
        self._encode = self._packer.encode_syslog
        return True

    @property
    def reports(self) -> bool:
        """Whether the server takes reports, and there are some."""
        return self._report is not None and takes_reports(self.server_offers)

    def tell_report(self) -> None:
        """Say what waits in our queues; nobody answers that."""
        if self._report is not None and self.is_open:
            self._output.append(format_report(self._report()))

    def receive(self, chunk: bytes) -> int:
        """Take the next bytes of the stream.

        Returns:
            How many of the oldest messages are now acknowledged.
        """
        inflight, acknowledged = self.inflight, 0
        usual = self.ready and not self.over and not self._answers_stand_for_more
        if usual and not self._decoder.inside_frame:
            chunk, self._held = self._held + chunk, b""
            # Encoding the expected answers and comparing costs a tenth of decoding the chunk.
            count = min(chunk.count(_USUAL_ANSWER), len(inflight))
            expected = encode_answers(inflight.oldest_txnr, count)
            if count and chunk.startswith(expected) and inflight.take_oldest(count):
                chunk, acknowledged = chunk[len(expected) :], count
            if chunk and len(inflight) and len(chunk) < len(_LONGEST_ANSWER):
                next_one = b"%d%s" % (inflight.oldest_txnr, _USUAL_ANSWER)
                if next_one.startswith(chunk) and next_one != chunk:
                    self._held, chunk = chunk, b""  # the next chunk begins with a whole answer
        if not chunk:
            return acknowledged
        for frame in self._decoder.feed(chunk):
            if self.over:
                break
            self._receive_frame(frame)
        if self._decoder.error is not None and not self.over:
            self._end(str(self._decoder.error))
        return acknowledged + inflight.take_acknowledged()

    def skip_refused(self) -> int:
        """Go on after the refused oldest message, which is not acknowledged.

        Returns:
            How many messages after it are now acknowledged.
        """
        self.inflight.skip_refused()
        return self.inflight.take_acknowledged()

    def close(self) -> None:
        """Ask the server to end the session.  Unanswered messages stay unacknowledged."""
        if self.over or self._close_txnr is not None:
            return
        if not self.ready:
            self.over = True
            return
        self._close_txnr = self.inflight.next_txnr
        self._output.append(encode_frame(self._close_txnr, b"close", b""))

    def data_to_send(self) -> bytes:
        """What to write now; each byte is returned once."""
        output, self._output = self._output, []
        return b"".join(output)

    def _receive_frame(self, frame: RelpFrame) -> None:
        txnr, command, data = frame
        if command == b"rsp":
            self._receive_rsp(txnr, data)
        elif command == b"serverclose" and txnr == 0:
            self.ended_by_server = self.ready
            self._end("the server closed the session")
        elif txnr != 0:  # unknown hints are ignored
            self._end(f"unexpected command {command!r} from a server")

    def _receive_rsp(self, txnr: int, data: bytes) -> None:
        if data[:4] in _TAKEN and self.ready:
            inflight = self.inflight
            if (inflight.answer_upto if self._answers_stand_for_more else inflight.answer)(txnr):
                return
        if txnr == 1 and not self.ready:
            self._receive_open_rsp(data)
        elif txnr == self._close_txnr:
            self.over = True
        else:
            rsp = _RSP.match(data)
            if rsp is None:
                self._end(f"not an answer: {data[:40]!r}")
                return
            reason = printable(data)
            if rsp[1] == b"200" or not self.inflight.answer(txnr, refusal=reason):
                self._end(f"an answer to txnr {txnr}, which is not waiting for one")

    def _receive_open_rsp(self, data: bytes) -> None:
        rsp = _RSP.match(data)
        if rsp is None or rsp[1] != b"200":
            reason = printable(data) or "no status code"
            self._end(f"the server refused the session: {reason}")
            return
        # One server puts its first offer in the place of the text.
        offers = parse_offers((rsp[2] or b"") + b"\n" + (rsp[3] or b""))
        version = offers.get(b"relp_version", [b"0"])[0]
        if version.strip(b"0"):
            self._end(f"the server wants RELP version {version[:20]!r}, allowed is 0")
        elif b"syslog" not in offers.get(b"commands", ()):
            self._end("the server does not take syslog messages")
        else:
            self.server_offers = offers
            self._takes_hops |= bool(self._hop and hop_in(offers))
            self._answers_stand_for_more = self._packer is not None and takes_zstd(offers)
            self.ready = True

    def _end(self, reason: str) -> None:
        self.over = True
        self.error = RelpError(reason)


class Inflight:
    """The frames of one session that have no answer, oldest first.

    Use: `add` when frames are written, `answer` for each answer, then
    `take_acknowledged` for how many of the oldest frames are done.  Answers may come
    in any order (RELP clients must accept that); what is *acknowledged* is always a
    prefix, because only a prefix can be forgotten by a queue.

    Three states of a frame: waiting, answered early (a frame before it is not), gone.
    A refused frame stays at the head of what is in flight, in the way of everything
    behind it, until `skip_refused` removes it.

    Args:
        first_txnr: Number of the first frame that will be added.
        frames_max: The window: most frames in flight.

    Attributes:
        oldest_txnr: Number of the oldest frame that is not acknowledged.
        next_txnr: Number of the next frame.
    """

    def __init__(self, *, first_txnr: int, frames_max: int) -> None:
        self._frames_max = frames_max
        self.oldest_txnr = first_txnr
        self.next_txnr = first_txnr
        self._reported = first_txnr  # everything before it was taken as acknowledged
        self._early: set[int] = set()
        self._refused: dict[int, str] = {}

    def __len__(self) -> int:
        """Frames sent and not acknowledged."""
        return self.next_txnr - self.oldest_txnr

    @property
    def room(self) -> int:
        """How many more frames may be sent now."""
        return self._frames_max - (self.next_txnr - self.oldest_txnr)

    @property
    def refusal(self) -> str | None:
        """Why the peer refused the oldest frame, or None if it did not."""
        return self._refused.get(self.oldest_txnr)

    @property
    def refused_in_row(self) -> int:
        """How many of the oldest frames the peer refused, up to the first that it did not."""
        txnr = self.oldest_txnr
        while txnr in self._refused:
            txnr += 1
        return txnr - self.oldest_txnr

    @property
    def took_others(self) -> bool:
        """Whether the peer has taken a frame behind one that it refused or did not answer."""
        return bool(self._early)

    @property
    def unanswered(self) -> int:
        """Frames sent that have no answer at all."""
        return len(self) - len(self._early) - len(self._refused)

    def add(self, count: int) -> int:
        """Note `count` more frames as sent, at most `room`; return the number of the first."""
        first = self.next_txnr
        self.next_txnr += count
        assert first < self.next_txnr <= self.oldest_txnr + self._frames_max, (count, self.room)
        return first

    def answer(self, txnr: int, *, refusal: str | None = None) -> bool:
        """Note an answer; False if no frame with this number waits for one.

        Args:
            refusal: The peer's text if it refused the frame.
        """
        if not self.oldest_txnr <= txnr < self.next_txnr:
            return False
        if txnr in self._early or txnr in self._refused:
            return False
        if refusal is not None:
            self._refused[txnr] = refusal
        elif txnr == self.oldest_txnr:
            self.oldest_txnr += 1
            self._advance()
        else:
            self._early.add(txnr)
        return True

    def take_oldest(self, count: int) -> bool:
        """Note that the `count` oldest frames were taken; False if that has to go one by one.

        They count as acknowledged with this, and not with `take_acknowledged`.  Changes nothing
        if it returns False.
        """
        if self._early or self._refused or self.oldest_txnr + count > self.next_txnr:
            return False
        assert self._reported == self.oldest_txnr, "take what is acknowledged first"
        self.oldest_txnr += count
        self._reported += count
        return True

    def answer_upto(self, txnr: int) -> bool:
        """Note that all frames up to `txnr` were taken that have no answer yet; False if none."""
        if not self.oldest_txnr <= txnr < self.next_txnr:
            return False
        if self._early or self._refused:
            return sum(map(self.answer, range(self.oldest_txnr, txnr + 1))) > 0
        self.oldest_txnr = txnr + 1
        return True

    def skip_refused(self) -> None:
        """Take the refused oldest frame out of the way, without acknowledging it.

        It counts with neither this nor later calls of `take_acknowledged`.
        """
        del self._refused[self.oldest_txnr]
        assert self._reported == self.oldest_txnr, "take what is acknowledged first"
        self.oldest_txnr += 1
        self._reported += 1
        self._advance()

    def take_acknowledged(self) -> int:
        """How many frames were acknowledged since the last call."""
        count = self.oldest_txnr - self._reported
        self._reported = self.oldest_txnr
        return count

    def _advance(self) -> None:
        while self._early and self.oldest_txnr in self._early:
            self._early.remove(self.oldest_txnr)
            self.oldest_txnr += 1
