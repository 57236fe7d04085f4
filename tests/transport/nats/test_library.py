"""nats-py as the relay uses it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from relay.model.errors import UpstreamError
from relay.transport.nats.library import library_problem, new_library_client


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_problem() == ""
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    assert "pip install 'syslogrelay[nats]'" in library_problem()
    with pytest.raises(UpstreamError, match="syslogrelay"):
        new_library_client()


@pytest.mark.parametrize(
    ("wants", "info", "problem"),
    [
        (True, {}, "does not offer TLS"),
        (False, {"tls_required": True}, "asks for TLS"),
    ],
)
def test_nothing_is_sent_in_the_clear_that_was_to_be_encrypted(
    wants: bool, info: dict[str, object], problem: str
) -> None:
    client = new_library_client()
    client.options["tls"] = object() if wants else None
    with pytest.raises(UpstreamError, match=problem):
        asyncio.run(client._process_info(info, True))


def test_messages_are_taken_as_they_are() -> None:
    client = new_library_client()
    taken: list[tuple[bytes, ...]] = []
    client._raw[1] = lambda *message: taken.append(message)
    asyncio.run(client._process_msg(1, b"a", b"r", b"data", b"NATS/1.0\r\n\r\n"))
    assert taken == [(b"a", b"r", b"NATS/1.0\r\n\r\n", b"data")]
