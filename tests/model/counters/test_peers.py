from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.peers import LOCAL_PEER, PeerTable
from relay.model.origin import Origin, Transport


def origin(host: str, port: int = 1) -> Origin:
    return Origin("in", Transport.UDP, host, port)


def test_a_peer_is_an_address_without_port() -> None:
    table = PeerTable()
    table.of(origin("192.0.2.1", 1)).records += 1
    table.of(origin("192.0.2.1", 2)).records += 1
    table.of(Origin("in", Transport.UNIX, pid=5)).records += 1
    assert {name: peer.records for name, peer in table} == {"192.0.2.1": 2, LOCAL_PEER: 1}


def test_of_many_peers_the_active_ones_keep_their_counters() -> None:
    table = PeerTable(peers_max=2)
    ended_at = {"a": 7200.0, "b": 0.0, "c": 7200.0, "d": 0.0}
    for (name, last_seen), records in zip(ended_at.items(), (9, 5, 4, 1), strict=True):
        peer = table.of(origin(name))
        peer.records, peer.last_seen = records, last_seen
        peer.severities[3] = records
    table.of(origin("e"))
    assert [name for name, _ in table] == ["a", "c", "e"]
    assert (table.others.records, table.others.severities[3]) == (6, 6)
    assert table.severities()[3] == 19


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 7))))
def test_nothing_is_lost_from_the_sums_and_the_table_is_bounded(
    messages: list[tuple[int, int]],
) -> None:
    table = PeerTable(peers_max=5)
    for now, (name, severity) in enumerate(messages):
        peer = table.of(origin(str(name)))
        peer.records += 1
        peer.severities[severity] += 1
        peer.last_seen = float(now)
        assert len(table) <= 10
    expected = [sum(severity == each for _, severity in messages) for each in range(8)]
    assert table.severities() == expected
    assert table.others.records + sum(peer.records for _, peer in table) == len(messages)


def test_an_error_is_kept_on_one_line_and_short() -> None:
    peer = PeerTable().of(origin("192.0.2.1"))
    assert peer.report(10.0)["last_error_seconds"] is None
    peer.note_error("bad \x1b[31m\n" + 1000 * "x", 4.0)
    report = peer.report(10.0)
    assert report["last_error"].startswith("bad \\x1b[31m\\n")
    assert len(report["last_error"]) <= 300
    assert report["last_error_seconds"] == 6.0


def test_sums_are_added_up_anew_after_each_use() -> None:
    table = PeerTable()
    for count in (1, 2):
        table.of(origin("a")).severities[6] += 1
        assert table.severities()[6] == table.severities()[6] == table.uses == count
    table.severities().clear()
    assert len(table.severities()) == 8
