"""Records of one lineage on their way."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from relay.flow.publishing import Run
from relay.transport.nats.sender import Encoding, Part, Sender, epoch_in, number_in
from relay.wire.nats.answers import LastMessage
from relay.wire.nats.messages import header_line

LINEAGE = "aaaaaaaa-2222-4333-8444-555555555555"
OTHER = "bbbbbbbb-2222-4333-8444-555555555555"


def new_line(epoch: bytes = b"") -> Sender:
    return Sender("a", b"logs.a", Encoding(), LINEAGE, epoch)


def taken(sender: Sender, messages: int = 10, octets: int = 10**6, records: int = 10) -> Part:
    part = sender.take(messages, octets, records)
    assert isinstance(part, Part)
    return part


def test_the_first_message_says_what_it_expects_and_the_last_its_epoch() -> None:
    sender = new_line(b"0123456789abcdef")
    sender.found(None)
    sender.add(Run([b"a", b"b"], LINEAGE, [1, 2]), Deferred())
    first, last = taken(sender).messages
    assert (first.expected, last.expected) == (0, None)
    block = b"NATS/1.0\r\n%b\r\n"
    assert epoch_in(block % first.headers) == b""
    assert epoch_in(block % last.headers) == b"0123456789abcdef"


def test_limits_of_a_batch() -> None:
    sender = new_line()
    sender.found(None)
    sender.add(Run([b"a" * 100] * 9, LINEAGE, range(1, 10)), Deferred())
    assert taken(sender, messages=4).records == 4
    assert taken(sender, records=3).records == 3
    assert taken(sender, octets=1200).records == 2
    assert taken(sender, octets=1).records == 1  # one always goes


def test_a_run_is_done_when_all_of_it_is_stored() -> None:
    sender = new_line()
    sender.found(None)
    done: list[object] = []
    sender.add(Run([b"a", b"b"], LINEAGE, [1, 2]), Deferred().addCallback(done.append))
    sender.stored(1, 5)
    assert not done
    assert taken(sender).messages[0].expected == 5
    sender.stored(1, 6)
    assert done
    assert sender.is_empty


def test_the_last_message_of_somebody_else_is_noticed() -> None:
    sender = new_line()
    number = header_line("syslogrelay", b"%s,7,6" % OTHER.encode())
    assert not sender.found(LastMessage(9, b"NATS/1.0\r\n" + number + b"\r\n"))
    assert not sender.found(LastMessage(9, b""))
    assert sender.expected == 9


def test_the_number_of_a_message_and_of_a_pack() -> None:
    single = b"NATS/1.0\r\nsyslogrelay: %s,7,6\r\n\r\n" % LINEAGE.encode()
    pack = b"NATS/1.0\r\nsyslogrelay-pack: %s,3,7,2\r\n\r\n" % LINEAGE.encode()
    for block in (single, pack):
        number = number_in(block)
        assert number is not None
        assert (number.lineage, number.seq) == (LINEAGE, 7)
    assert number_in(b"NATS/1.0\r\n\r\n") is None
