from __future__ import annotations

from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from relay.flow.exactly_once.numbering import Numbering
from relay.model.errors import QueueError
from relay.queue.lineage import Lineage
from relay.wire.relp.lineage import NOT_BELIEVED, PASSED, HighWaterMark, format_high_water_mark
from relay.wire.relp.offers import parse_offers

FIRST, END = 11, 21  # of what waits


class Drain:
    def __init__(self) -> None:
        self.acknowledged_seq = FIRST
        self.stored_seq = END
        self.skips: list[int] = []

    def skip_to(self, upto: int) -> None:
        self.skips.append(upto)


class Setup:
    """A numbering in its second epoch, which began at record 16."""

    def __init__(self) -> None:
        self.drain: Any = Drain()
        self.past = Lineage.new(1)
        self.lineage = self.past.begun(acknowledged_seq=FIRST, next_seq=16)
        self.texts: list[str] = []
        self.saved: list[tuple[Lineage, Deferred[None]]] = []
        self.numbering = Numbering(
            self.lineage, drain=self.drain, save=self.save, on_trouble=self.texts.append
        )

    def save(self, lineage: Lineage) -> Deferred[None]:
        self.saved.append((lineage, Deferred()))
        return self.saved[-1][1]

    def begin(self, line: bytes) -> Any:
        offer = self.numbering.offer()
        assert offer is not None
        return self.numbering.begin(offer, parse_offers(line))

    def have(self, seq: int, epoch: str) -> Any:
        return self.begin(format_high_water_mark(HighWaterMark(seq, epoch)))


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_the_offer(setup: Setup) -> None:
    offer = setup.numbering.offer()
    assert offer == (setup.lineage.id, setup.lineage.epoch, FIRST, END, False, True)


def test_without_a_lineage_nothing_is_offered(setup: Setup) -> None:
    numbering = Numbering(None, drain=setup.drain, save=setup.save, on_trouble=setup.texts.append)
    assert numbering.offer() is None


@pytest.mark.parametrize("line", [b"", b"commands=syslog", b"syslogrelay_have=x,y"])
def test_who_does_not_answer_gets_it_at_least_once(setup: Setup, line: bytes) -> None:
    assert setup.begin(line) is None
    assert (setup.texts, setup.drain.skips) == ([], [])


def test_who_passes_the_numbers_on_gets_what_waits(setup: Setup) -> None:
    assert setup.begin(PASSED) == FIRST
    assert (setup.texts, setup.drain.skips) == ([], [])


@pytest.mark.parametrize(
    "answer", [PASSED, format_high_water_mark(HighWaterMark(0, "0" * 16)), None]
)
def test_a_restored_queue_becomes_somebody_new_for_a_log(
    setup: Setup, answer: bytes | None
) -> None:
    copy = msgspec.structs.replace(setup.lineage, is_copy=True, place="logs")
    numbering = setup.numbering = Numbering(
        copy, drain=setup.drain, save=setup.save, on_trouble=setup.texts.append
    )
    begun = setup.begin(answer) if answer else ensureDeferred(numbering.keep_place("logs"))
    assert isinstance(begun, Deferred)
    assert "this queue was restored from a backup" in setup.texts[0]
    ((renewed, saved),) = setup.saved
    saved.callback(None)
    assert renewed.id != copy.id and not renewed.is_copy
    offer = numbering.offer()
    assert offer is not None and offer.id == renewed.id
    if answer:
        assert setup.begin(answer) == FIRST
    else:
        ensureDeferred(numbering.keep_place("logs"))
    assert (len(setup.texts), len(setup.saved)) == (1, 1)


def test_who_does_not_know_the_lineage_gets_what_waits(setup: Setup) -> None:
    assert setup.have(0, "0" * 16) == FIRST
    assert (setup.texts, setup.drain.skips) == ([], [])


def test_who_has_what_is_acknowledged_gets_what_waits(setup: Setup) -> None:
    assert setup.have(FIRST - 1, "0" * 16) == FIRST
    assert (setup.texts, setup.drain.skips) == ([], [])


def test_a_receiver_restored_from_an_older_copy_is_reported(setup: Setup) -> None:
    assert setup.have(7, setup.past.epoch) == FIRST
    assert setup.drain.skips == []
    (text,) = setup.texts
    assert text.startswith("the receiver has records up to 7, and 11 is the next one here: 3 may")


def test_where_others_get_a_part_missing_numbers_are_no_trouble(setup: Setup) -> None:
    setup.numbering = Numbering(
        setup.lineage,
        drain=setup.drain,
        save=setup.save,
        on_trouble=setup.texts.append,
        has_others=True,
    )
    offer = setup.numbering.offer()
    assert offer is not None and offer.elsewhere
    assert setup.have(7, setup.past.epoch) == FIRST
    assert setup.texts == []


@pytest.mark.parametrize(("seq", "is_past"), [(11, True), (15, True), (11, False), (20, False)])
def test_what_the_receiver_has_is_not_sent_again(setup: Setup, seq: int, is_past: bool) -> None:
    epoch = (setup.past if is_past else setup.lineage).epoch
    assert setup.have(seq, epoch) == seq + 1
    assert (setup.texts, setup.drain.skips) == ([], [seq + 1])


@pytest.mark.parametrize(
    ("seq", "epoch"),
    [
        (FIRST, "0" * 16),  # sent from another future of the same past
        (20, "0" * 16),
        (16, "past"),  # when the past had ended here
        (21, "present"),
        (5000, "present"),
    ],
)
def test_a_queue_restored_from_an_older_copy_becomes_somebody_new(
    setup: Setup, seq: int, epoch: str
) -> None:
    names = {"past": setup.past.epoch, "present": setup.lineage.epoch}
    begun = setup.have(seq, names.get(epoch, epoch))
    assert isinstance(begun, Deferred)
    assert setup.drain.skips == []
    (text,) = setup.texts
    assert f"up to {seq}, which" in text and "(records 11 to 20 wait)" in text
    ((renewed, saved),) = setup.saved
    assert renewed.id != setup.lineage.id
    assert setup.numbering.offer() is None  # as long as it is not on disk
    saved.callback(None)
    assert begun.called
    offer = setup.numbering.offer()
    assert offer == (renewed.id, renewed.epoch, FIRST, END, False, True)
    assert setup.have(0, "0" * 16) == FIRST


def test_a_queue_known_by_another_identity_becomes_somebody_new_once(setup: Setup) -> None:
    begun = setup.begin(NOT_BELIEVED)
    assert isinstance(begun, Deferred)
    setup.saved[0][1].callback(None)
    assert setup.begin(NOT_BELIEVED) is None  # whoever that is, he never believes
    assert len(setup.saved) == 1
    assert setup.have(0, "0" * 16) == FIRST
    assert isinstance(setup.begin(NOT_BELIEVED), Deferred)


def test_what_was_set_aside_meanwhile_stays_so(setup: Setup) -> None:
    offer = setup.numbering.offer()
    assert offer is not None
    setup.drain.acknowledged_seq = 14
    answer = parse_offers(format_high_water_mark(HighWaterMark(12, setup.lineage.epoch)))
    assert setup.numbering.begin(offer, answer) == 13  # so the numbers do not fit: it reconnects
    assert setup.drain.skips == [14]


def test_between_two_sessions_it_can_become_somebody_new(setup: Setup) -> None:
    renewed = ensureDeferred(setup.numbering.renew())
    ((lineage, saved),) = setup.saved
    offer = setup.numbering.offer()
    assert offer == (setup.lineage.id, setup.lineage.epoch, FIRST, END, False, True)
    saved.callback(None)
    assert renewed.called
    offer = setup.numbering.offer()
    assert offer == (lineage.id, lineage.epoch, FIRST, END, False, True)
    assert setup.texts == []


def test_a_lineage_that_cannot_be_stored_is_not_offered(setup: Setup) -> None:
    failed: list[Any] = []
    ensureDeferred(setup.numbering.renew()).addErrback(failed.append)
    setup.saved[0][1].errback(QueueError("closed"))
    assert failed[0].check(QueueError)
    offer = setup.numbering.offer()
    assert offer == (setup.lineage.id, setup.lineage.epoch, FIRST, END, False, True)


def test_records_have_names_where_there_is_a_lineage() -> None:
    setup = Setup()
    assert setup.numbering.record_id(16) == setup.lineage.record_id(16)
    drain: Any = Drain()
    nameless = Numbering(None, drain=drain, save=setup.save, on_trouble=setup.texts.append)
    assert nameless.record_id(16) == ""
