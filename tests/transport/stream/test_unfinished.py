from __future__ import annotations

from relay.transport.stream.unfinished import UnfinishedFrames


class Connection:
    def __init__(self) -> None:
        self.unfinished_bytes = 0
        self.closed: list[tuple[str, str]] = []

    def cut_off(self, reason: str, why: str) -> None:
        self.closed.append((reason, why))


class Source:
    """Some connections and what they keep."""

    def __init__(self, count: int, *, bytes_max: int) -> None:
        self.unfinished = UnfinishedFrames(bytes_max=bytes_max)
        self.connections = [Connection() for _ in range(count)]

    def receive(self, number: int, size: int, *, completes: bool = False) -> None:
        connection = self.connections[number]
        connection.unfinished_bytes = size + (0 if completes else connection.unfinished_bytes)
        self.unfinished.note(connection, size + completes)

    @property
    def closed(self) -> list[int]:
        return [number for number, each in enumerate(self.connections) if each.closed]


def test_who_has_kept_the_rest_of_a_frame_back_for_longest_goes_first() -> None:
    source = Source(3, bytes_max=250)
    for number in (1, 0, 2):
        source.receive(number, 60)
    source.receive(1, 60)
    assert (source.closed, source.unfinished.bytes) == ([], 240)
    source.receive(2, 20)
    assert (source.closed, source.unfinished.bytes) == ([1], 140)
    ((reason, why),) = source.connections[1].closed
    assert reason == "unfinished-frames"
    assert why == (
        "frames that are not complete take 260 bytes on this source, which is more than "
        "unfinished_bytes_max, and it has sent 120 of them"
    )


def test_who_completes_frames_is_not_the_slowest() -> None:
    source = Source(2, bytes_max=110)
    source.receive(0, 40)
    source.receive(1, 60)
    source.receive(0, 40, completes=True)
    source.receive(0, 20)
    assert source.closed == [1]


def test_who_keeps_little_stays() -> None:
    source = Source(4, bytes_max=100)
    source.receive(0, 1)
    source.receive(1, 2)
    source.receive(2, 60)
    source.receive(3, 60)
    assert (source.closed, source.unfinished.bytes) == ([2], 63)


def test_one_that_keeps_more_than_all_may_goes_itself() -> None:
    source = Source(1, bytes_max=100)
    source.receive(0, 101)
    assert (source.closed, source.unfinished.bytes) == ([0], 0)


def test_what_is_complete_or_gone_keeps_nothing() -> None:
    source = Source(2, bytes_max=100)
    source.receive(0, 50)
    source.receive(0, 0, completes=True)
    source.receive(1, 50)
    source.unfinished.forget(source.connections[1])
    source.unfinished.forget(source.connections[1])
    assert source.unfinished.bytes == 0
    assert source.closed == []


def test_without_a_limit_nobody_is_closed() -> None:
    source = Source(2, bytes_max=0)
    source.receive(0, 10**9)
    assert source.closed == []
