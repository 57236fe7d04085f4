from __future__ import annotations

import pytest

from relay.model.origin import Arrival, Origin, Received, Transport


@pytest.mark.parametrize(
    ("origin", "peer"),
    [
        (Origin("s", Transport.TCP, "192.0.2.7", 4711), "192.0.2.7:4711"),
        (Origin("s", Transport.TCP, "2001:db8::7", 4711), "[2001:db8::7]:4711"),
        (Origin("s", Transport.UNIX, pid=815), "local process 815"),
        (Origin("s", Transport.UNIX), "a local process"),
    ],
)
def test_peers_in_words(origin: Origin, peer: str) -> None:
    assert origin.peer == peer


def test_a_batch_gets_its_time_and_keeps_the_rest() -> None:
    connection = Origin("s", Transport.TCP, "192.0.2.7", 4711, tls_identity="web-1")
    batch = connection.received(1.5, 7.0)
    assert batch == connection._replace(received_at=1.5, monotonic_at=7.0)
    assert isinstance(batch, Origin)
    assert connection.received_at == 0.0


def test_each_run_of_lines_has_its_origin_with_the_time_of_all() -> None:
    first, second = (
        Origin("s", Transport.TCP, "192.0.2.7", 1),
        Origin("s", Transport.TCP, "192.0.2.8", 2),
    )
    arrival = Arrival([(2, first), (2, second), (5, first)], 1.5, 7.0)
    assert [*arrival.each()] == [
        (0, 2, first.received(1.5, 7.0)),
        (2, 2, second.received(1.5, 7.0)),
        (2, 5, first.received(1.5, 7.0)),
    ]
    assert [*Arrival([], 1.5, 7.0).each()] == []


def test_lines_of_one_origin_came_when_it_says() -> None:
    origin = Origin("s", Transport.TCP, received_at=1.5, monotonic_at=7.0)
    assert [*Arrival.of_one(3, origin).each()] == [(0, 3, origin)]


def test_frames_that_nothing_was_done_to_share_what_says_so() -> None:
    first, second = (Received([frame], Origin("s", Transport.TCP)) for frame in (b"a", b"b"))
    assert not first.cut and not first.pieces
    assert first.cut is second.cut
    with pytest.raises(TypeError):
        first.cut[0] = 1  # type: ignore[index]


def test_lines_are_chosen_by_origin() -> None:
    origins = [Origin("s", Transport.UDP, f"192.0.2.{number}") for number in range(4)]
    arrival = Arrival(
        ((2, origins[0]), (2, origins[1]), (5, origins[2]), (6, origins[3])), 1.0, 2.0
    )

    def chosen(indexes: list[int] | None) -> list[tuple[list[int], str]]:
        return [(list(run), origin.peer_host) for run, origin in arrival.chosen(indexes)]

    assert chosen(None) == [([0, 1], "192.0.2.0"), ([2, 3, 4], "192.0.2.2"), ([5], "192.0.2.3")]
    assert chosen([1, 4, 5]) == [([1], "192.0.2.0"), ([4], "192.0.2.2"), ([5], "192.0.2.3")]
    assert chosen([]) == []
