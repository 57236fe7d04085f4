from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relay.model.origin import Origin, Transport
from relay.service.configuration.model import Url, WebConfiguration
from relay.service.sources.service import DatagramSource
from relay.service.web.service import WebService
from tests.assembled_relay import Relay, reached
from tests.connections import Wire

pytestmark = pytest.mark.usefixtures("relays_end")

ANY_PORT = WebConfiguration(Url("http", host="127.0.0.1"))
ADMIN = "admin-0123456789"


class Client:
    """A started relay, and requests to its web server."""

    def __init__(self, folder: Path, *, admin: bool = False, **keywords: Any) -> None:
        web = ANY_PORT
        if admin:
            token = folder / "admin.token"
            token.write_text(ADMIN)
            web = WebConfiguration(Url("http", host="127.0.0.1"), admin_token_file=str(token))
        self.relay = Relay(folder, web=web, **keywords)
        self.relay.start()
        (self.service,) = [each for each in self.relay.service if isinstance(each, WebService)]
        self.relay.reactor.advance(1)

    def connect(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Wire:
        channel: Any = self.service._factory.buildProtocol(None)
        channel.makeConnection(wire := Wire())
        given = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {given[name]}\r\n" for name in given)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return wire

    def get(self, path: str, **keywords: Any) -> tuple[int, Any]:
        """Status, and the JSON or text of the answer."""
        wire = self.connect(path, **keywords)
        while not wire.value():
            self.relay.reactor.run_next()
        head, _, body = wire.value().partition(b"\r\n\r\n")
        text = body.decode()
        return int(head.split()[1]), json.loads(text) if b"/json" in head else text.strip()

    def act(self, name: str, token: str = ADMIN, **body: object) -> tuple[int, Any]:
        return self.get(
            f"/actions/{name}",
            method="POST",
            body=json.dumps(body).encode(),
            Content_Type="application/json",
            Authorization=f"Bearer {token}",
        )

    def events(self, wire: Wire) -> list[Any]:
        parts = wire.value().split(b"data: ")[1:]
        return [json.loads(part.partition(b"\n")[0]) for part in parts]

    @property
    def app(self) -> DatagramSource:
        """The source of this id."""
        found = (each for _, each in reached(self.relay.service))
        return next(each for each in found if isinstance(each, DatagramSource))

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self.relay.send("app", message)
        for reader in self.relay.reactor.getReaders():
            reader.doRead()


def test_the_page_is_at_the_root(tmp_path: Path) -> None:
    status, text = Client(tmp_path).get("/")
    assert status == 200
    assert text.startswith("<!doctype html>")


def test_events_show_the_relay_each_second(tmp_path: Path) -> None:
    client = Client(tmp_path)
    app = client.app
    wire = client.connect("/events")
    client.relay.reactor.advance(0)
    app.counters.received_records += 7
    app.counters.peers.of(Origin("app", Transport.UNIX)).records += 7
    for _ in range(3):
        client.relay.reactor.advance(1)
    first, *_, last = client.events(wire)
    assert last["totals"]["messages"] - first["totals"]["messages"] == 7
    assert [each["sources"] for each in last["destinations"]] == [["app", "system"], ["app"]]
    assert last["actions"] is False
    assert client.relay.ask("status")["web"]["readers"] == 1


def test_history_has_what_the_recorder_noted(tmp_path: Path) -> None:
    client = Client(tmp_path)
    app = client.app
    app.counters.received_records += 7
    app.counters.peers.of(Origin("app", Transport.UNIX)).severities[3] += 5
    for _ in range(10):
        client.relay.reactor.advance(1)
    status, columns = client.get("/history?seconds=600")
    assert status == 200
    assert columns["messages"] == [7]
    assert columns["severity3"] == columns["errors"] == [5]
    assert columns["seconds"] == [10.0]
    assert {len(column) for column in columns.values()} == {1}
    assert client.get("/history")[0] == 200
    assert client.get("/history?seconds=7")[0] == 400


def test_samples_are_those_of_the_control_socket(tmp_path: Path) -> None:
    client = Client(tmp_path)
    app = client.app
    app.counters.samples.note("too-long", [b"\x1b[2J<script>"], peer="local")
    status, found = client.get("/samples")
    assert status == 200
    assert found == client.relay.ask("samples")
    assert found["app"]["too-long"][0]["text"] == "\\x1b[2J<script>"


def test_without_the_key_there_are_no_actions(tmp_path: Path) -> None:
    client = Client(tmp_path)
    assert client.act("pause", destination="all")[0] == 404
    assert not client.relay.ask("status")["destinations"][0]["paused"]


def test_wrong_tokens_are_counted(tmp_path: Path) -> None:
    client = Client(tmp_path, admin=True)
    assert client.act("pause", "wrong", destination="all")[0] == 401
    assert client.relay.ask("status")["web"]["wrong_tokens"] == 1


def test_refused_requests_are_counted_by_reason(tmp_path: Path) -> None:
    client = Client(tmp_path, admin=True)
    assert client.get("/nowhere")[0] == 404
    assert client.act("pause", "wrong", destination="all")[0] == 401
    assert client.relay.ask("status")["web"]["requests_refused"] == {"path": 1, "token": 1}
    assert 'web_refused_requests_total{reason="path"} 1.0' in client.get("/metrics")[1]
