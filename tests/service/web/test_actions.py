from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.web.test_pages import Client

pytestmark = pytest.mark.usefixtures("relays_end")


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path, admin=True)


def is_paused(client: Client) -> bool:
    found: bool = client.relay.ask("status")["destinations"][0]["paused"]
    return found


def test_pause_and_resume(client: Client) -> None:
    assert client.act("pause", destination="all") == (200, {"result": None})
    assert is_paused(client)
    assert client.act("resume", destination="all") == (200, {"result": None})
    assert not is_paused(client)


def test_connect_and_requeue(client: Client) -> None:
    status, answer = client.act("connect", destination="all")
    assert (status, set(answer["result"])) == (200, {"all"})
    assert client.act("requeue", destination="all") == (200, {"result": 0})


def test_purge_deletes_what_is_queued(client: Client) -> None:
    client.act("pause", destination="all")
    assert client.relay.ask("queue-append", destination="all", payloads=["YQ==", "Yg=="]) == 2
    status, answer = client.act("purge", destination="all")
    assert (status, answer["result"]["records"], answer["result"]["left"]) == (200, 2, 0)
    assert client.relay.ask("status")["destinations"][0]["queued_records"] == 0


def test_a_destination_that_is_not_there_is_a_conflict(client: Client) -> None:
    status, text = client.act("pause", destination="nope")
    assert (status, text) == (409, "there is no destination 'nope'; there is: all, wrapped")


def test_a_body_that_does_not_fit_is_refused(client: Client) -> None:
    assert client.act("pause")[0] == 400
    assert client.act("pause", destination="all", more=1)[0] == 400
    assert client.act("pause", destination=1)[0] == 400
    assert not is_paused(client)


def test_other_commands_are_out_of_reach(client: Client) -> None:
    assert client.act("queue-append", destination="all")[0] == 404
