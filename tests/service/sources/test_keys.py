from __future__ import annotations

import pytest

from relay.service.configuration.model import Url
from relay.service.sources.listening import (
    Connections,
    Peers,
    connection_problems,
    split_problems,
)
from tests.configurations import new_source


@pytest.mark.parametrize(("connections", "of_peer"), [(1000, 100), (25, 2), (9, 1), (1, 1)])
def test_one_peer_gets_a_tenth_of_the_connections_unless_told_otherwise(
    connections: int, of_peer: int
) -> None:
    assert Peers().of_peer_max(connections) == of_peer
    assert Peers(connections_per_peer_max=0).of_peer_max(connections) == 0


def test_one_message_fits_into_the_memory_for_unfinished_ones() -> None:
    source = new_source("in", Url("tcp"), frame_bytes_max=1024)
    assert list(connection_problems(source, Connections(unfinished_bytes_max=0), str)) == []
    assert list(connection_problems(source, Connections(unfinished_bytes_max=1024), str)) == []
    (problem,) = connection_problems(source, Connections(unfinished_bytes_max=1023), str)
    assert problem.startswith("unfinished_bytes_max: 1,023 bytes is less than one message may")


@pytest.mark.parametrize("scheme", ["file", "journald"])
def test_what_is_read_locally_is_not_split(scheme: str) -> None:
    problems = new_source("in", Url(scheme), oversize="split").problems(str, {})
    assert list(problems) == [
        f"oversize: what is read by {scheme} cannot be split; write 'truncate', 'drop' or "
        "'quarantine'"
    ]
    assert list(new_source("in", Url(scheme), oversize="drop").problems(str, {})) == []
    assert list(split_problems(new_source("in", Url("tcp")), str)) == []
