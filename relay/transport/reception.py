"""Where one source hands its messages, counts them and warns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred, succeed

from relay.flow.marks import Marks
from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Received, Transport
from relay.model.text import size
from relay.queue.admission.backpressure import SourceAdmission
from relay.transport.notices import Notices
from relay.transport.turn_batch import Intake
from relay.wire.framing.charset import Charset, whole_characters
from relay.wire.framing.long_frame import split_frame

if TYPE_CHECKING:
    from relay.transport.joining import JoinedIntake


@dataclass(frozen=True, slots=True)
class Reception:
    """What every reader and listener of a source works with.

    Attributes:
        source: The source's id.
        intake: Stores messages; each kind of source states which of its methods it calls.
    """

    source: str
    intake: Any
    admission: SourceAdmission
    counters: SourceCounters
    notices: Notices
    transport: Transport = Transport.NONE
    joining: JoinedIntake | None = None
    """Joins lines to messages; None = every frame is a message."""
    is_direct: bool = False
    """A log answers, each connection by itself."""

    def warn(self, kind: str, text: str, *, about: str = "") -> None:
        """Log a warning, rate-limited by `kind` and by the path or peer that it is about."""
        subject = f"source {self.source}"
        group = f"{subject}, {about}" if about else None
        self.notices.warn(subject, kind, text, group=group)

    def warn_of(self, origin: Origin, kind: str, text: str) -> None:
        """Warn about a peer, naming it; all that has its address shares a rate limit."""
        source = f"source {origin.source}"
        group = f"{source}, {origin.peer_host}"  # without port or process, which change
        self.notices.warn(f"{source}, {origin.peer}", kind, text, group=group)
        self.counters.peers.of(origin).note_error(text, self.notices.seconds())


_WORDS = {
    "truncate": "cut there",
    "drop": "dropped",
    "split": "split",
    "quarantine": "set aside",
}


class Settled(NamedTuple):
    """The remaining frames, and a warning about those that were too long."""

    frames: Sequence[bytes]
    cut: Mapping[int, int]
    """Index to the bytes of the whole message."""
    pieces: Mapping[int, int]
    """Index to the number of the piece, from 1."""
    kind: str = ""
    """Kind of the warning; empty = none."""
    text: str = ""


class OversizePolicy:
    """The policy of one source.  Decoders cut or split; this counts, drops and phrases warnings.

    Args:
        name: truncate, drop, split, or quarantine, where the intake sets aside what
            was cut.
    """

    def __init__(self, name: str, *, frame_bytes_max: int, counters: SourceCounters) -> None:
        self.splits = name == "split"
        self.frame_bytes_max = frame_bytes_max
        self._name = name
        self._counters = counters

    def settle(
        self,
        frames: Sequence[bytes],
        cut: Mapping[int, int],
        pieces: Mapping[int, int],
        origin: Origin | None = None,
    ) -> Settled:
        """Apply the policy to the frames that a decoder returned together.

        Args:
            origin: Theirs, if somebody has sent them.
        """
        counters = self._counters
        split = list(pieces.values()).count(1)
        counters.split_records += split
        if self._name in ("truncate", "split"):  # even what is split may have to be cut
            counters.truncated_records += len(cut)
        if self._name == "drop" and cut:
            dropped = [frames[index] for index in cut]
            counters.received_records += len(dropped)
            counters.received_bytes += sum(map(len, dropped))
            counters.dropped["too-long"] += len(dropped)
            peer = origin.peer if origin is not None else ""
            counters.samples.note("too-long", dropped, peer=peer)
            frames = [frame for index, frame in enumerate(frames) if index not in cut]
        if not cut and not split:
            return Settled(frames, cut, pieces)
        return Settled(
            frames,
            {} if self._name == "drop" else cut,
            pieces,
            "truncated" if self._name == "truncate" else "too-long",
            f"{split or len(cut)} longer than frame_bytes_max ({size(self.frame_bytes_max)}): "
            f"{_WORDS[self._name]}",
        )


class ConvertedIntake:
    """An `Intake` in front of another one: frames come in `charset` and go on in UTF-8.

    Args:
        frame_bytes_max: Longest frame to pass on as it is, in bytes of UTF-8.
        oversize: What to do with longer ones: an `OversizePolicy`'s name.
    """

    def __init__(
        self, reception: Reception, *, charset: Charset, frame_bytes_max: int, oversize: str
    ) -> None:
        self._reception = reception
        self._intake: Intake = reception.intake
        # Transports remove the mark of UTF-8 where a stream or datagram begins; others are only
        # seen here.
        self._to_utf8 = charset.line_to_utf8 if charset.is_ascii_superset else charset.to_utf8
        self._frame_bytes_max = frame_bytes_max
        self._policy = OversizePolicy(
            oversize, frame_bytes_max=frame_bytes_max, counters=reception.counters
        )

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        apart = [part for batch in batches for part in batch.by_hops()]
        converted = [self._converted(part) for part in apart]
        converted = [batch for batch in converted if batch.frames]
        if not converted and not positions:
            return succeed(None)
        return self._intake.accept_all(converted, positions)

    def _converted(self, batch: Received) -> Received:
        texts: Sequence[bytes] = [self._to_utf8(frame) for frame in batch.frames]
        known, numbered = Marks(batch.cut, batch.pieces), batch.numbered
        if known.cut or known.pieces or any(len(text) > self._frame_bytes_max for text in texts):
            texts, known, kept = self._within_size(texts, known, batch.origin)
            numbered = numbered and numbered.picked(kept)
        return Received(texts, batch.origin, *known, numbered=numbered)

    def _within_size(
        self, texts: Sequence[bytes], known: Marks, origin: Origin
    ) -> tuple[Sequence[bytes], Marks, Sequence[int]]:
        """Apply the policy to texts that conversion has made too long.

        Returns:
            The texts, their marks, and which of those before they were; without meaning if any
            was split.
        """
        frames: list[bytes] = []
        cut: dict[int, int] = {}
        pieces: dict[int, int] = {}
        new_cut: dict[int, int] = {}
        new_pieces: dict[int, int] = {}
        for index, text in enumerate(texts):
            at = len(frames)
            parts = [text]
            if self._policy.splits and index not in known.cut:
                parts = split_frame(text, frame_bytes_max=self._frame_bytes_max)
            if index in known.pieces:
                pieces |= dict.fromkeys(range(at, at + len(parts)), known.pieces[index])
            elif len(parts) > 1:
                new_pieces |= dict(enumerate(range(1, len(parts) + 1), at))
            if index in known.cut:
                cut[at] = known.cut[index]
            elif len(parts[0]) > self._frame_bytes_max:
                new_cut[at] = len(text)
            frames += [whole_characters(part, self._frame_bytes_max) for part in parts]
        settled = self._policy.settle(frames, new_cut, new_pieces, origin)
        if settled.kind:
            self._reception.warn_of(origin, settled.kind, settled.text)
        marks = Marks({**cut, **settled.cut}, {**pieces, **settled.pieces})
        kept: Sequence[int] = range(len(settled.frames))
        if len(settled.frames) < len(frames):
            kept = [index for index in range(len(frames)) if index not in new_cut]
        return settled.frames, marks, kept
