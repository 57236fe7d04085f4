from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.service.web.test_pages import Client

pytestmark = pytest.mark.usefixtures("relays_end")

TOKEN = b"12345678-9abc-4def-8123-456789abcdef"


def texts(client: Client, wire: Any) -> list[str]:
    return [
        message["text"] for event in client.events(wire) for message in event if "text" in message
    ]


def pass_time(client: Client, seconds: float = 1.0) -> None:
    for _ in range(int(seconds * 4)):
        client.relay.reactor.advance(0.25)


def test_messages_are_shown_as_they_pass_and_harmless(tmp_path: Path) -> None:
    client = Client(tmp_path)
    wire = client.connect("/tap?stage=received&id=app")
    client.send(b"<13>host a: one \x1b[2J<script>", b"<13>host a: two")
    pass_time(client)
    assert texts(client, wire) == ["<13>host a: one \\x1b[2J<script>", "<13>host a: two"]


def test_a_filter_is_for_text_that_is_shown(tmp_path: Path) -> None:
    client = Client(tmp_path)
    wires = [client.connect(f"/tap?stage=received&text={text}") for text in ("ONE", "9abc-4def")]
    masked = b'<13>host a:@cee: {"logsene-app-token": "%b", "message": "one"}' % TOKEN
    client.send(masked, b"<13>host a: two")
    pass_time(client)
    (shown,) = texts(client, wires[0])
    assert "1234…cdef" in shown
    assert texts(client, wires[1]) == []


def test_nothing_is_read_for_who_has_gone(tmp_path: Path) -> None:
    client = Client(tmp_path)
    for _ in range(3):  # there are eight taps at most
        wires = [client.connect("/tap?stage=received") for _ in range(8)]
        assert client.get("/tap?stage=received")[0] == 409
        assert wires[0].value().startswith(b"HTTP/1.1 200 ")
        for channel in list(client.service._factory.connections):
            channel.connectionLost()


def test_who_does_not_read_is_let_go(tmp_path: Path) -> None:
    client = Client(tmp_path)
    wire = client.connect("/tap?stage=received")
    wire.producer.pauseProducing()
    client.send(b"<13>host a: a message")
    pass_time(client, 17)
    assert wire.disconnected
    assert b"a message" not in wire.value()


def test_a_sign_of_life_comes_where_nothing_passes(tmp_path: Path) -> None:
    client = Client(tmp_path)
    wire = client.connect("/tap?stage=received")
    pass_time(client, 12)
    assert wire.value().count(b":\n\n") == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("stage=nope", 409),
        ("stage=received&id=nope", 409),
        ("", 409),
        (f"stage=received&text={'x' * 201}", 400),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, query: str, status: int) -> None:
    assert Client(tmp_path).get(f"/tap?{query}")[0] == status
