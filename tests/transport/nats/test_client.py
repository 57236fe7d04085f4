"""Connections to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.model.errors import UpstreamError
from relay.transport.nats.client import Connection, Login
from relay.wire.nats.answers import Fate, StreamError
from relay.wire.nats.messages import Message
from tests.engines.nats import NatsCluster
from tests.processes import Programs, free_port, running_programs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with running_programs() as running:
        yield running


@pytest.fixture(scope="module")
def server(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> NatsCluster:
    cluster = NatsCluster.started(programs, tmp_path_factory.mktemp("nats"), size=1)
    cluster.add_stream("LOGS", ["logs.>"])
    cluster.add_stream("FULL", ["full.>"], max_msgs=2, discard="new")
    cluster.add_stream("PLAIN", ["plain.>"], allow_atomic=False)
    cluster.add_stream("SMALL", ["small.>"], max_msg_size=1000)
    return cluster


def stored(server: NatsCluster, *batches: list[Message]) -> list[int | StreamError]:
    """Numbers or errors of batches, one after the other."""

    async def run() -> list[int | StreamError]:
        connection = Connection(login(server.ports[0]), on_lost=lambda why: None)
        await connection.open()
        found: list[int | StreamError] = []
        for batch in batches:
            try:
                found.append((await connection.store(batch)).seq)
            except StreamError as error:
                found.append(error)
        await connection.close()
        return found

    return asyncio.run(run())


def login(*ports: int, seconds: float = 5.0) -> Login:
    return Login(
        servers=[("127.0.0.1", port) for port in ports],
        name="test",
        connect_seconds_max=seconds,
        answer_seconds_max=seconds,
    )


def messages(subject: bytes, count: int, expected: int | None = None) -> list[Message]:
    first, *others = [Message(subject, b"", b"%d" % number) for number in range(count)]
    return [first._replace(expected=expected), *others]


def test_a_batch_is_stored_as_a_whole_or_not_at_all(server: NatsCluster) -> None:
    before = server.state("LOGS")["last_seq"]
    one, two, three = stored(
        server,
        messages(b"logs.a", 3, 0) + messages(b"logs.b", 2, 0),
        messages(b"logs.a", 2, before + 3) + messages(b"logs.b", 2, 0),
        messages(b"logs.a", 2, before + 3) + messages(b"logs.b", 2, before + 5),
    )
    assert one == before + 5
    assert isinstance(two, StreamError)
    assert two.fate is Fate.MISMATCH
    assert three == before + 9


@pytest.mark.parametrize(
    ("batch", "fate"),
    [
        (messages(b"full.a", 3), Fate.FULL),
        (messages(b"plain.a", 2), Fate.UNUSABLE),
        ([Message(b"small.a", b"", b"x" * 2000)], Fate.TOO_LARGE),
        (messages(b"nobody.a", 1), Fate.UNKNOWN),
    ],
)
def test_what_the_server_refuses(server: NatsCluster, batch: list[Message], fate: Fate) -> None:
    (error,) = stored(server, batch)
    assert isinstance(error, StreamError)
    assert error.fate is fate, str(error)


def test_a_stream_that_is_full_takes_nothing_of_a_batch(server: NatsCluster) -> None:
    stored(server, messages(b"full.a", 3))
    assert server.state("FULL")["messages"] == 0


def test_servers_that_are_away_are_passed_over(server: NatsCluster) -> None:
    async def run() -> str:
        for _ in range(5):
            connection = Connection(login(free_port(), *server.ports), on_lost=lambda why: None)
            info = await connection.open()
            await connection.close()
        return info.place

    assert asyncio.run(run()) == f"127.0.0.1:{server.ports[0]}"


def test_all_servers_are_named_that_refuse() -> None:
    ports = free_port(), free_port()

    async def run() -> None:
        await Connection(login(*ports), on_lost=lambda why: None).open()

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    for port in ports:
        assert f"127.0.0.1:{port}: refused" in str(caught.value)


def test_a_greeting_that_is_cut_off_is_a_failure_as_others() -> None:
    async def run(greeting: bytes) -> str:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            writer.close()

        other = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        try:
            await Connection(login(port), on_lost=lambda why: None).open()
        except UpstreamError as error:
            return str(error)
        finally:
            other.close()
        return ""

    whole = b'INFO {"server_id":"x","version":"2.12.0","max_payload":1000}\r\n'
    for length in (0, 3, 4, 5, 6, 7, 20):
        assert asyncio.run(run(whole[:length])), length


def test_a_lost_connection_is_told_and_fails_what_waits(programs: Programs, tmp_path: Path) -> None:
    own = NatsCluster.started(programs, tmp_path, size=1)

    async def run() -> tuple[str, str]:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection = Connection(login(*own.ports), on_lost=lost.set_result)
        await connection.open()
        waiting = asyncio.ensure_future(connection.ask_api("logs.nobody.answers", b"", False))
        own.servers[0].kill()
        with pytest.raises(StreamError) as caught:
            await asyncio.wait_for(waiting, 5)
        return await asyncio.wait_for(lost, 5), str(caught.value)

    why, text = asyncio.run(run())
    assert "the connection ended" in why
    assert text
