"""Messages to a server of OpenSearch's API that is not ours."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.central import numbered
from tests.end_to_end.test_http_destination import Edge
from tests.interop.search_server import SearchServer, UnavailableError, fetched
from tests.plain_senders import feed_lines
from tests.processes import Programs, running_programs, wait_until

COUNT = 300


@pytest.fixture
def programs() -> Iterator[Programs]:
    with running_programs() as running:
        yield running


@pytest.fixture
def server(programs: Programs, tmp_path: Path) -> SearchServer:
    try:
        program = fetched()
    except UnavailableError as error:
        pytest.skip(str(error))
    found = SearchServer(program, tmp_path / "server")
    programs.add(found)
    found.start()
    return found


def asked(server: SearchServer, path: str, body: bytes | None = None, method: str = "GET") -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}",
        body,
        {"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def stored(server: SearchServer, index: str = "logs") -> dict[str, str]:
    """The messages that can be found, by id."""
    asked(server, f"/{index}/_refresh", b"", "POST")
    hits = asked(server, f"/{index}/_search?size=10000")["hits"]["hits"]
    return {each["_id"]: each["_source"]["message"] for each in hits}


@pytest.mark.parametrize("operation", ["index", "create"])
@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_messages_are_stored_once_also_after_a_kill(
    programs: Programs, server: SearchServer, tmp_path: Path, operation: str, compress: str
) -> None:
    keys = {"operation": operation, "compress": compress, "batch_records": 20}
    relay = Edge(programs, tmp_path, f"http://127.0.0.1:{server.port}", **keys)
    relay.start()
    feed_lines(relay.port, numbered("web", COUNT))
    wait_until(lambda: relay.report()["received_records"] == COUNT, "all is in the queue")
    relay.kill()
    relay.start()
    wait_until(lambda: relay.report()["queued_records"] == 0, "all is delivered")
    assert sorted(stored(server).values()) == sorted(f"number {each}" for each in range(COUNT))
    relay.stop()


def test_a_document_that_does_not_fit_its_mapping_goes_alone(
    programs: Programs, server: SearchServer, tmp_path: Path
) -> None:
    mapping = b'{"mappings":{"properties":{"number":{"type":"integer"}}}}'
    asked(server, "/logs", mapping, "PUT")
    template = '{"message":"$MSG","number":"$MSG"}'
    relay = Edge(programs, tmp_path, f"http://127.0.0.1:{server.port}", template=template)
    relay.start()
    head = "<13>1 2026-10-11T22:14:15.003Z web-1 app - - - "
    feed_lines(relay.port, [f"{head}{text}".encode() for text in ("1", "two", "3")])
    wait_until(lambda: relay.report()["quarantined_records"] == 1, "one is quarantined")
    relay.wait_delivered(2)
    assert sorted(stored(server).values()) == ["1", "3"]
    assert "400 mapper_parsing_exception: failed to parse field [number]" in relay.log()
    relay.stop()


def test_an_index_that_the_server_does_not_take_holds_nobody_else(
    programs: Programs, server: SearchServer, tmp_path: Path
) -> None:
    relay = Edge(
        programs, tmp_path, f"http://127.0.0.1:{server.port}", index="logs-${HOST}-${PROGRAM}"
    )
    relay.start()
    start = "<13>1 2026-10-11T22:14:15.003Z"
    feed_lines(
        relay.port, [f"{start} WEB/1 A|B - - - one".encode(), f"{start} web x - - - two".encode()]
    )
    relay.wait_delivered(2)
    assert [*stored(server, "logs-web_1-a_b").values()] == ["one"]
    assert [*stored(server, "logs-web-x").values()] == ["two"]
    relay.stop()
