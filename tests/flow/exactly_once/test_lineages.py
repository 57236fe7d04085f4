from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from relay.flow.exactly_once.lineages import RECEIVED, Lease, LeasesOfOneOfSeveral, Lineages
from relay.wire.relp.lineage import SEQ_MAX, HighWaterMark, LineageOffer

A, B, C = (f"0b5a8d7e-58a3-4e63-9c5f-00000000000{letter}" for letter in "abc")
EPOCH, LATER = "00000000000000e1", "00000000000000e2"


class Disk:
    """Positions, as the queue keeps them."""

    def __init__(self) -> None:
        self.positions: dict[str, bytes] = {}
        self.now = 1000.0
        self.lineages = self.opened()

    def opened(self, lineages_max: int = 10) -> Lineages:
        """What a relay knows that starts now."""
        self.lineages = Lineages(load=self.load, now=lambda: self.now, lineages_max=lineages_max)
        return self.lineages

    def load(self) -> Mapping[str, bytes]:
        return {name.rpartition("/")[2]: data for name, data in self.positions.items()}

    def store(self, positions: Mapping[str, bytes]) -> None:
        for name, data in positions.items():
            assert name.startswith(RECEIVED + "/")
            if data:
                self.positions[name] = data
            else:
                self.positions.pop(name, None)

    @property
    def ids(self) -> set[str]:
        return set(self.load())


class Connection:
    """One that has offered a lineage."""

    def __init__(
        self,
        disk: Disk,
        id: str = A,
        *,
        first: int = 1,
        end: int = 100,
        epoch: str = EPOCH,
        identity: str | None = None,
        elsewhere: bool = False,
    ) -> None:
        self.events: list[Any] = []
        self._disk = disk
        offer = LineageOffer(id, epoch, first, end, elsewhere)
        self.claim = disk.lineages.lease(
            offer, identity, granted=self._granted, lost=lambda: self.events.append("lost")
        )

    def _granted(self, claim: Lease, have: HighWaterMark) -> None:
        self.events.append(have)

    def sent(self, count: int) -> tuple[Mapping[str, bytes], int]:
        """Messages are on their way to disk."""
        assert self.claim is not None
        positions = self.claim.take(count)
        self.claim.underway()
        return positions, self.claim.next_seq

    def stores(self, count: int) -> None:
        """Messages come in and are stored."""
        self.store(self.sent(count))

    def store(self, batch: tuple[Mapping[str, bytes], int]) -> None:
        assert self.claim is not None
        self._disk.store(batch[0])
        self.claim.done(batch[1], stored=True)

    def leaves(self) -> None:
        assert self.claim is not None
        self.claim.release()


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_who_is_not_known_begins_where_he_likes(disk: Disk) -> None:
    connection = Connection(disk, first=50)
    assert connection.events == [HighWaterMark(0, "0" * 16)]
    assert connection.claim is not None
    assert (connection.claim.next_seq, connection.claim.missing) == (50, 0)
    assert disk.ids == set()


def test_a_position_goes_with_the_messages(disk: Disk) -> None:
    connection = Connection(disk, first=50, identity="web-1")
    positions, upto = connection.sent(3)
    assert upto == 53
    assert list(positions) == [f"{RECEIVED}/{A}"]
    assert msgspec.json.decode(positions[f"{RECEIVED}/{A}"]) == {
        "have": 52,
        "epoch": EPOCH,
        "seen": 1000,
        "identity": "web-1",
    }


@pytest.mark.parametrize("starts_again", [False, True])
def test_it_is_known_what_was_stored(disk: Disk, starts_again: bool) -> None:
    connection = Connection(disk)
    connection.stores(3)
    connection.stores(4)
    connection.leaves()
    if starts_again:
        disk.opened()
    again = Connection(disk, epoch=LATER)
    assert again.events == [HighWaterMark(7, EPOCH)]
    assert again.claim is not None
    assert again.claim.next_seq == 8  # from 1 to 7 is not sent again
    again.stores(1)
    assert Connection(disk).events == [HighWaterMark(8, LATER)]


def test_what_is_not_stored_is_not_known(disk: Disk) -> None:
    connection = Connection(disk)
    connection.stores(3)
    assert connection.claim is not None
    _, upto = connection.sent(4)
    connection.leaves()
    connection.claim.done(upto, stored=False)
    assert Connection(disk).events == [HighWaterMark(3, EPOCH)]


def test_a_new_connection_waits_for_what_the_old_one_brought(disk: Disk) -> None:
    old = Connection(disk)
    first, second = old.sent(3), old.sent(4)
    new = Connection(disk)
    assert (old.events[1:], new.events) == (["lost"], [])
    old.store(first)
    assert new.events == []
    old.store(second)
    assert new.events == [HighWaterMark(7, EPOCH)]
    old.leaves()  # says nothing any more
    new.stores(2)
    assert Connection(disk).events == [HighWaterMark(9, EPOCH)]


def test_of_several_that_wait_the_last_one_is_granted(disk: Disk) -> None:
    old = Connection(disk)
    batch = old.sent(3)
    second, third = Connection(disk), Connection(disk)
    assert (second.events, third.events) == (["lost"], [])
    old.store(batch)
    assert (second.events, third.events) == (["lost"], [HighWaterMark(3, EPOCH)])


def test_one_that_waits_and_leaves_is_never_granted(disk: Disk) -> None:
    old = Connection(disk)
    batch = old.sent(3)
    waiting = Connection(disk)
    waiting.leaves()
    old.store(batch)
    assert waiting.events == []
    assert Connection(disk).events == [HighWaterMark(3, EPOCH)]


def test_missing_records_are_counted_once(disk: Disk) -> None:
    Connection(disk).stores(10)
    gap = Connection(disk, first=15)
    assert gap.events == [HighWaterMark(10, EPOCH)]
    assert gap.claim is not None and gap.claim.missing == 4
    again = Connection(disk, first=17)  # and nothing was stored meanwhile
    assert again.claim is not None and again.claim.missing == 2
    assert again.claim.next_seq == 17


def test_what_other_receivers_may_have_is_not_missing(disk: Disk) -> None:
    Connection(disk).stores(10)
    back = Connection(disk, first=15, elsewhere=True)
    assert back.claim is not None and (back.claim.missing, back.claim.next_seq) == (0, 15)
    alone = Connection(disk, first=17)  # its only receiver from now on
    assert alone.claim is not None and alone.claim.missing == 2


def test_a_jump_that_cannot_be_true_is_not_counted(disk: Disk) -> None:
    Connection(disk).stores(10)
    gap = Connection(disk, first=SEQ_MAX)
    assert gap.claim is not None and (gap.claim.missing, gap.claim.leaps) == (0, True)
    assert gap.claim.next_seq == SEQ_MAX


def test_a_lineage_belongs_to_its_first_identity(disk: Disk) -> None:
    plain = Connection(disk)
    plain.stores(1)
    connection = Connection(disk, identity="web-1")  # which plain had none of
    connection.stores(1)
    for identity in ("web-2", None):
        assert Connection(disk, identity=identity).claim is None
    assert connection.events == [HighWaterMark(1, EPOCH)]  # and does not hear of it
    disk.opened()
    assert Connection(disk, identity=None).claim is None
    assert Connection(disk, identity="web-1").events == [HighWaterMark(2, EPOCH)]


def test_a_lineage_is_bound_before_anything_is_stored(disk: Disk) -> None:
    Connection(disk, identity="web-1")
    assert Connection(disk, identity="web-2").claim is None


def test_beyond_the_limit_the_one_seen_longest_ago_is_forgotten(disk: Disk) -> None:
    disk.opened(lineages_max=2)
    for id in (A, B, A):
        disk.now += 1
        connection = Connection(disk, id)
        connection.stores(1)
        connection.leaves()
    Connection(disk, C).stores(1)
    assert disk.ids == {A, C}
    assert Connection(disk, B).events == [HighWaterMark(0, "0" * 16)]


def test_the_order_of_forgetting_survives_a_start(disk: Disk) -> None:
    for id in (B, A):
        disk.now += 1
        Connection(disk, id).stores(1)
    disk.opened(lineages_max=2)
    Connection(disk, C).stores(1)
    assert disk.ids == {A, C}


def test_who_is_connected_is_not_forgotten(disk: Disk) -> None:
    disk.opened(lineages_max=1)
    connected = Connection(disk, A)
    connected.stores(1)
    Connection(disk, B).stores(1)
    assert disk.ids == {A, B}


def test_who_has_sent_nothing_takes_no_room(disk: Disk) -> None:
    disk.opened(lineages_max=1)
    Connection(disk, A).stores(1)
    for _ in range(5):
        Connection(disk, B).leaves()
    assert disk.ids == {A}
    assert len(disk.lineages._lineages or ()) == 1


def test_a_position_that_cannot_be_read_is_none(disk: Disk) -> None:
    disk.positions[f"{RECEIVED}/{A}"] = b"?"
    assert Connection(disk).events == [HighWaterMark(0, "0" * 16)]


def test_one_of_several_receivers_says_only_what_the_client_still_has(disk: Disk) -> None:
    connection = Connection(disk)
    connection.stores(5)
    connection.leaves()
    several = Disk()
    several.lineages = LeasesOfOneOfSeveral(disk.lineages)  # type: ignore[assignment]
    back = Connection(several, first=9)  # 6 to 8 are at another receiver
    assert back.events == [HighWaterMark(0, "0" * 16)]
    assert back.claim is not None
    assert (back.claim.missing, back.claim.next_seq) == (0, 9)
    again = Connection(several, first=4)  # its answers were lost
    assert again.events == [HighWaterMark(5, EPOCH)]
