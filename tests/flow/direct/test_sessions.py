from __future__ import annotations

from relay.flow.direct.sessions import DirectSession, DirectSessions
from relay.wire.relp.lineage import LineageOffer

OFFER = LineageOffer("00000000-0000-0000-0000-00000000000a", "0" * 16, 7, 30)


def test_the_numbers_of_a_session_follow_from_its_offer() -> None:
    session = DirectSessions(lambda session: None).begin(OFFER, "peer", lost=lambda: None)
    assert [*session.numbered(2).seqs, *session.numbered(1).seqs] == [7, 8, 9]
    assert session.lineage == OFFER.id


def test_a_sender_without_lineage_has_no_numbers() -> None:
    session = DirectSessions(lambda session: None).begin(None, "peer", lost=lambda: None)
    assert session.numbered(2) == (session, ())


def test_a_newer_connection_takes_the_lineage() -> None:
    lost: list[str] = []
    ended: list[DirectSession] = []
    sessions = DirectSessions(ended.append)
    first = sessions.begin(OFFER, "peer", lost=lambda: lost.append("first"))
    second = sessions.begin(OFFER, "peer", lost=lambda: lost.append("second"))
    assert lost == ["first"]
    sessions.end(first)
    sessions.end(first)
    assert ended == [first]
    sessions.begin(OFFER, "peer", lost=lambda: None)
    assert lost == ["first", "second"]
    sessions.end(second)


def test_a_lineage_is_forgotten_with_its_connection() -> None:
    lost: list[str] = []
    sessions = DirectSessions(lambda session: None)
    sessions.end(sessions.begin(OFFER, "peer", lost=lambda: lost.append("first")))
    sessions.begin(OFFER, "peer", lost=lambda: None)
    assert lost == []
