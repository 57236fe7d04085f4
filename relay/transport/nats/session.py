"""A drain's session with a stream: one queue, one lineage, one subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.codec import total_bytes
from relay.flow.exactly_once.numbering import Numbering
from relay.flow.publishing import PublisherFailed, RecordRefused, Run
from relay.flow.pump import SessionDrain
from relay.model.errors import UpstreamError
from relay.transport.nats.publisher import NatsPublisher
from relay.transport.nats.sender import epoch_in, number_in
from relay.wire.nats.answers import LastMessage
from relay.wire.relp.lineage import HAVE, LineageOffer

WINDOW_RECORDS = 8192
_WINDOW_OCTETS = 8 * 1024 * 1024
_NO_EPOCH = b"0" * 16


async def begin(publisher: NatsPublisher, numbering: Numbering | None) -> str:
    """Learn what the stream has of the queue's lineage, and let the drain skip it.

    The last message of the lineage's subject says the number and the epoch of its last record, as
    a receiver of RELP does in its answer to `open`.

    Returns:
        The id of the lineage of the session's records; empty = at least once.

    Raises:
        UpstreamError: The stream cannot say it.
        QueueError: Another lineage cannot be stored.
    """
    if numbering is None:
        return ""
    while (offer := numbering.offer()) is not None:
        last = await publisher.last_of(offer.id)
        begun = numbering.begin(offer, _answer(offer, last))
        if isinstance(begun, Deferred):
            await begun  # there is a new lineage now, with another subject
            continue
        publisher.epoch = offer.epoch.encode("ascii")
        return offer.id if begun is not None else ""
    return ""


def _answer(offer: LineageOffer, last: LastMessage | None) -> dict[bytes, Sequence[bytes]]:
    """The answer of a RELP receiver that had all records up to the last message."""
    if last is None:
        return {HAVE: (b"0", _NO_EPOCH)}
    number = number_in(last.headers)
    if number is None or number.lineage != offer.id:
        raise UpstreamError("somebody else writes to the subject of this queue's lineage")
    return {HAVE: (b"%d" % number.seq, epoch_in(last.headers) or _NO_EPOCH)}


class NatsSession:
    """Sends the records of one drain through a publisher.

    Args:
        lineage: As of `begin`.
        on_failure: Called once with text if the drain wants another session.
    """

    def __init__(
        self,
        drain: SessionDrain,
        publisher: NatsPublisher,
        lineage: str,
        on_failure: Callable[[str], None],
    ) -> None:
        self._drain = drain
        self._publisher = publisher
        self._lineage = lineage
        self._on_failure = on_failure
        self._prev = 0  # the last one that was sent
        self._records = self._octets = 0  # sent and not answered
        self._closed: Deferred[None] | None = None

    @property
    def room(self) -> int:
        if self._closed is not None or self._octets >= _WINDOW_OCTETS:
            return 0
        return max(0, WINDOW_RECORDS - self._records)

    def send(self, payloads: Sequence[bytes]) -> None:
        end = self._drain.sent_seq
        self._publish(payloads, range(end - len(payloads), end))

    def close(self) -> Deferred[None]:
        """End it at once; fires when the publisher's thread has ended."""
        if self._closed is None:
            self._closed = self._publisher.close()
            self._drain.detach(self)
        return self._closed

    def cut(self, why: str) -> None:
        """End it although the stream is there."""
        self._end(why)

    def _publish(self, payloads: Sequence[bytes], seqs: Sequence[int]) -> None:
        self._records += len(payloads)
        octets = total_bytes(payloads)
        self._octets += octets
        run = Run(payloads, self._lineage, seqs if self._lineage else (), self._prev, "queue")
        self._prev = seqs[-1]
        published = self._publisher.publish(run)
        published.addCallbacks(
            partial(self._stored, len(payloads), octets),
            partial(self._not_stored, payloads, seqs, octets),
        )

    def _stored(self, count: int, octets: int, _: object) -> None:
        self._records -= count
        self._octets -= octets
        if self._closed is None and not self._drain.acknowledged(self, count):
            self._end("sends again what was refused")

    def _not_stored(
        self, payloads: Sequence[bytes], seqs: Sequence[int], octets: int, failure: Failure
    ) -> None:
        error = failure.value
        self._records -= len(payloads)
        self._octets -= octets
        if self._closed is not None:
            return
        if not isinstance(error, RecordRefused):
            failure.trap(PublisherFailed)
            self._end(str(error))
            return
        at = error.index
        if at and not self._drain.acknowledged(self, at):
            self._end("sends again what was refused")
        elif not self._drain.refused(self, error.reason, others_taken=True):
            # It is this record and no other: the stream has said why.
            self._end(f"refused: {error.reason}")
        elif at + 1 < len(payloads):
            self._publish_rest(payloads[at + 1 :], seqs[at + 1 :])

    def _publish_rest(self, payloads: Sequence[bytes], seqs: Sequence[int]) -> None:
        """Send what stands behind a refused record, before all that was sent since."""
        sent = self._prev
        self._prev = seqs[0] - 1
        self._publish(payloads, seqs)
        self._prev = max(self._prev, sent)

    def _end(self, why: str) -> None:
        if self._closed is None:
            self.close()
            self._on_failure(why)
