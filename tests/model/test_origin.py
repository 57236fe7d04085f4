from __future__ import annotations

import pytest

from relay.model.origin import Origin


@pytest.mark.parametrize(
    ("origin", "peer"),
    [
        (Origin("s", "tcp", "192.0.2.7", 4711), "192.0.2.7:4711"),
        (Origin("s", "tls", "2001:db8::7", 4711), "[2001:db8::7]:4711"),
        (Origin("s", "unix", pid=815), "local process 815"),
        (Origin("s", "unixgram"), "a local process"),
    ],
)
def test_peers_in_words(origin: Origin, peer: str) -> None:
    assert origin.peer == peer


def test_a_batch_gets_its_time_and_keeps_the_rest() -> None:
    connection = Origin("s", "tls", "192.0.2.7", 4711, tls_identity="web-1")
    batch = connection.received(1.5, 7.0)
    assert batch == connection._replace(received_at=1.5, monotonic_at=7.0)
    assert isinstance(batch, Origin)
    assert connection.received_at == 0.0
