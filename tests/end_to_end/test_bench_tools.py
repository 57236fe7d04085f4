from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.load import BenchError, Tools
from tests.bench.traffic import framed, messages
from tests.processes import free_port, wait_until

SECONDS_MAX = 20.0


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def tools(compiled: Tools) -> Iterator[Tools]:
    yield compiled
    compiled.corpus = None


@pytest.fixture
def corpus(tools: Tools, tmp_path: Path) -> list[bytes]:
    """Eight messages of mixed traffic, which the generator is to send."""
    found = messages("mixed", 8)
    tools.corpus = tmp_path / "corpus"
    tools.corpus.write_bytes(b"\n\n".join(found))  # empty lines, and no LF at the end
    return found


def received(listener: socket.socket, connections: int) -> list[bytes]:
    """All that came on each connection."""
    found = []
    for _ in range(connections):
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(SECONDS_MAX)
            found.append(stream.read())
    return found


@pytest.mark.parametrize(("protocol", "framing"), [("lines", "lines"), ("counted", "counted")])
def test_the_generator_sends_the_lines_of_a_corpus_as_they_are_and_begins_again(
    tools: Tools, corpus: list[bytes], protocol: str, framing: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS_MAX)
        with tools.generator(protocol, listener.getsockname()[1], 20) as generator:
            (stream,) = received(listener, 1)
            generator.wait_report(SECONDS_MAX)
    again = (corpus * 3)[:20]
    assert stream == b"".join(framed(message, framing) for message in again)


def test_each_connection_begins_at_another_line(tools: Tools, corpus: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS_MAX)
        port = listener.getsockname()[1]
        with tools.generator("lines", port, 4, connections=2) as generator:
            streams = received(listener, 2)
            generator.wait_report(SECONDS_MAX)
    parts = [corpus[0:2], corpus[4:6]]
    assert streams == [b"".join(framed(each, "lines") for each in part) for part in parts]


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(("protocol", "sent_with"), [("syslog", "counted"), ("relp", "relp")])
def test_the_sink_counts_the_messages_of_a_corpus(
    tools: Tools, protocol: str, sent_with: str
) -> None:
    with tools.sink(protocol, free_port(), 20) as sink:
        with tools.generator(sent_with, sink.port, 20) as generator:
            generator.wait_report(SECONDS_MAX)
        with tools.generator(sent_with, sink.port, 3) as generator:
            generator.wait_report(SECONDS_MAX)
        wait_until(lambda: not sink.has_connections, "the sink has read everything", SECONDS_MAX)
        found = sink.end_and_report()
    assert (found["unique"], found["missing"], found["duplicates"]) == (20, 0, 3)


def test_a_corpus_without_messages_is_refused(tools: Tools, tmp_path: Path) -> None:
    tools.corpus = tmp_path / "empty"
    tools.corpus.write_bytes(b"\n\n")
    generator = tools.generator("lines", free_port(), 1)
    with generator, pytest.raises(BenchError, match="found 0 lines"):
        generator.wait_report(SECONDS_MAX)
