"""RELP to an upstream: acknowledged means that the upstream has answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from relay.flow.exactly_once.numbering import Numbering
from relay.flow.pump import SessionDrain
from relay.flow.refusals import REFUSED_IN_ROW_MAX
from relay.model.clock import Clock, DelayedCall
from relay.model.fleet import REPORT_SECONDS
from relay.transport.tls.failure import TLS_ALERT
from relay.transport.upstream import TIMEOUT, DeliveringProtocol, Timeouts, UpstreamState
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.lineage import format_lineage, is_passed

_ANSWERS_SECONDS_MAX = 1.0  # what a refusal waits for the answers to what was sent behind it


class RelpClientProtocol(DeliveringProtocol):
    """Moves bytes between a connection and a `RelpClientSession`.

    It reads all the time, so a server that goes away is noticed at once, and it
    does not wait for ever: a window without any answer for `Timeouts.answer_seconds_max`
    counts as a dead connection.

    Args:
        new_session: Makes the session, given a line to offer or nothing.
        numbering: Makes it exactly once with an upstream that can do it; None = never.
        packs_from: Round trip in seconds from which on messages are compressed, unless the upstream
            is on this host; 0 = always.
    """

    def __init__(
        self,
        *,
        drain: SessionDrain,
        state: UpstreamState,
        clock: Clock,
        secure: bool,
        timeouts: Timeouts,
        new_session: Callable[[bytes], RelpClientSession],
        numbering: Numbering | None = None,
        packs_from: float = 0.0,
    ) -> None:
        super().__init__(drain=drain, state=state, clock=clock, secure=secure, timeouts=timeouts)
        self._numbering = numbering
        self._offer = numbering.offer() if numbering is not None else None
        self._session = new_session(format_lineage(self._offer) if self._offer is not None else b"")
        self._packs_from = packs_from
        self._packs = False
        self._opened_at = 0.0
        self._opening = False
        self._begun = False
        self._next_seq: int | None = None  # of the next message, if they are numbered
        self._answer_call: DelayedCall | None = None  # while something is in flight
        self._refusal_call: DelayedCall | None = None  # while more answers are waited for
        self._report_call: DelayedCall | None = None  # until the next report

    # The session, as the drain sees it.

    @property
    def room(self) -> int:
        if self._write_blocked or self._refusal_call is not None or self.over or self._retiring:
            return 0
        # Records left the queue unsent, so the numbers have to begin again in another session.
        # The answers that are on their way would be lost with this one.
        has_gap = self._next_seq is not None and self._drain.sent_seq != self._next_seq
        if has_gap and self._session.inflight:
            return 0
        return self._session.room

    def send(self, payloads: Sequence[bytes]) -> None:
        if self._next_seq is not None:
            if self._drain.sent_seq - len(payloads) != self._next_seq:
                why = "records left the queue unsent: the numbers begin again"
                self.give_up(why, blameless=True)
                return
            self._next_seq += len(payloads)
        self._session.send(payloads)
        self.transport.write(self._session.data_to_send())
        self._expect_answer()

    # The connection.

    def begin(self) -> None:
        self._opening = True
        self._opened_at = self._clock.seconds()
        self.transport.registerProducer(self, True)
        self._write()

    def remark(self) -> str:
        if self.prepared or not self._opening:
            return super().remark()
        if self._secure:
            return " before the session was open: is this a port for plain syslog (tls://)?"
        return (
            " before the session was open: is this a port for TLS (relp+tls://), or for plain "
            "syslog (tcp://)?"
        )

    def started(self) -> str:
        self._drain.attach(self)
        self.state.exactly_once = self._next_seq is not None
        how = ", exactly once" if self.state.exactly_once else ""
        if is_passed(self._session.server_offers):
            how += " (readers of its log drop what comes twice)"
        how += ", compressed" if self._packs else ""
        self._tell_report()
        return f"connected to {self.state.target}, every message acknowledged{how}"

    def dataReceived(self, data: bytes) -> None:
        if self.over:
            return
        if not self._begun and not self._secure and data.startswith(TLS_ALERT):
            self.give_up("this port is for TLS: use relp+tls://")
            return
        session = self._session
        acknowledged = session.receive(data)
        if session.ready and not self._begun:
            self._begin_sending()
        if acknowledged:
            self._answered()
            if not self._drain.acknowledged(self, acknowledged):
                self._send_again()
        if session.inflight.refusal is not None:
            self._judge_refusals(at_once=session.over)
        if self.over:
            return
        if session.over:
            self._session_over()
        elif session.exhausted and not session.inflight:
            session.close()  # and ClientService connects again
            self._write()
            self._expect_answer()
        else:
            self.retire_if_idle()

    def _session_over(self) -> None:
        session = self._session
        why, is_agreed = str(session.error or "closed as agreed"), session.error is None
        if is_agreed or session.ended_by_server:
            self.end_as_agreed(why, blameless=is_agreed)
        else:
            self.give_up(why)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True  # nothing more is sent
        self._judge_refusals(at_once=True)
        super().connectionLost(reason)

    def ended(self) -> None:
        self._drain.detach(self)
        self._cancel_answer_call()
        self._cancel_refusal_call()
        if self._report_call is not None:
            self._report_call.cancel()
            self._report_call = None

    def _tell_report(self) -> None:
        """Report now and then; never behind what TCP does not take."""
        self._report_call = None
        if self.over or not self._session.reports:
            return
        if not self._write_blocked:
            self._session.tell_report()
            self._write()
        self._report_call = self._clock.callLater(REPORT_SECONDS, self._tell_report)

    @property
    def is_idle(self) -> bool:
        return not self._session.inflight

    def say_goodbye(self) -> None:
        """Without waiting for the answer."""
        self._session.close()
        self._write()

    def _begin_sending(self) -> None:
        self._begun = True
        if self._numbering is not None and self._offer is not None:
            start = self._numbering.begin(self._offer, self._session.server_offers)
            if isinstance(start, Deferred):
                start.addCallbacks(
                    lambda _: self.give_up("introduced anew", blameless=True),
                    lambda failure: self.give_up(failure.getErrorMessage()),
                )
                return
            self._next_seq = start
        round_trip = self._clock.seconds() - self._opened_at
        if not self._packs_from or (round_trip >= self._packs_from and not self._is_local()):
            self._packs = self._session.begin_packing()
        self.become_ready()

    def _is_local(self) -> bool:
        """Whether the upstream is on this host."""
        try:
            address = ip_address(self.transport.getPeer().host)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def _judge_refusals(self, *, at_once: bool = False) -> None:
        """Have refused messages set aside, or the session ended.

        Answers to what was sent behind a refused message show whether it is that one or
        all of them, so they are waited for, unless it is to be `at_once`.
        """
        session, inflight = self._session, self._session.inflight
        while (refusal := inflight.refusal) is not None and not self._why:
            is_certain = inflight.took_others or inflight.refused_in_row >= REFUSED_IN_ROW_MAX
            if not (at_once or is_certain) and inflight.unanswered:
                if self._refusal_call is None:
                    self._refusal_call = self._clock.callLater(
                        _ANSWERS_SECONDS_MAX, self._no_more_answers
                    )
                return
            self._cancel_refusal_call()
            goes_on = self._drain.refused(
                self,
                refusal,
                in_row=inflight.refused_in_row,
                others_taken=inflight.took_others,
            )
            if not goes_on:
                self.give_up(f"it refused a message: {refusal}", cause="refusal")
                return
            acknowledged = session.skip_refused()
            self._answered()
            if acknowledged and not self._drain.acknowledged(self, acknowledged):
                self._send_again()
            self._drain.pump()  # the place of the refused one is free, whatever else waits
        self._cancel_refusal_call()

    def _no_more_answers(self) -> None:
        self._refusal_call = None
        self._judge_refusals(at_once=True)

    def _cancel_refusal_call(self) -> None:
        if self._refusal_call is not None:
            self._refusal_call.cancel()
            self._refusal_call = None

    def _send_again(self) -> None:
        why = "it takes messages: what it refused before is tried once more"
        self.give_up(why, blameless=True)

    def _answered(self) -> None:
        self._cancel_answer_call()
        if self._session.inflight:
            self._expect_answer()

    def _expect_answer(self) -> None:
        if self._answer_call is None:
            self._answer_call = self._clock.callLater(
                self._timeouts.answer_seconds_max, self._no_answer
            )

    def _no_answer(self) -> None:
        self._answer_call = None
        self.give_up(f"no answer for {self._timeouts.answer_seconds_max:g} s", cause=TIMEOUT)

    def _cancel_answer_call(self) -> None:
        if self._answer_call is not None:
            self._answer_call.cancel()
            self._answer_call = None

    def _write(self) -> None:
        data = self._session.data_to_send()
        if data and not self.gone:
            self.transport.write(data)
