from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.bench.load import FAULTS, BenchError, Tools, arrived
from tests.bench.measuring import latenesses
from tests.bench.traffic import KINDS, framed, messages, write
from tests.processes import free_port, wait_until

SECONDS_MAX = 20.0
LOOPBACK = ip_network("127.0.0.0/8")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def sent() -> list[bytes]:
    """Eight messages of mixed traffic."""
    return messages("mixed", 8)


@pytest.fixture
def corpus(sent: list[bytes], tmp_path: Path) -> Path:
    """A file with them, with empty lines and no LF at the end."""
    path = tmp_path / "corpus"
    path.write_bytes(b"\n\n".join(sent))
    return path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as found:
        found.settimeout(SECONDS_MAX)
        yield found


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def received(listener: socket.socket, connections: int = 1) -> list[bytes]:
    """All that came on each connection."""
    found = []
    for _ in range(connections):
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(SECONDS_MAX)
            found.append(stream.read())
    return found


@pytest.mark.parametrize("rate", [0, 2000])
@pytest.mark.parametrize("framing", ["lines", "counted"])
def test_the_generator_sends_the_lines_of_a_corpus_as_they_are_and_begins_again(
    tools: Tools,
    sent: list[bytes],
    corpus: Path,
    listener: socket.socket,
    framing: str,
    rate: int,
) -> None:
    with tools.generator(framing, port_of(listener), 20, corpus=corpus, rate=rate) as generator:
        (stream,) = received(listener)
        generator.wait_report(SECONDS_MAX)
    again = (sent * 3)[:20]
    assert stream == b"".join(framed(message, framing) for message in again)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_sends_what_the_file_of_a_kind_holds(
    tools: Tools, tmp_path: Path, listener: socket.socket, kind: str
) -> None:
    path = tmp_path / kind
    write(path, kind, 500)
    with tools.generator("lines", port_of(listener), 500, corpus=path) as generator:
        assert received(listener) == [path.read_bytes()]
        generator.wait_report(SECONDS_MAX)


@pytest.mark.parametrize("rate", [0, 2000])
def test_each_connection_begins_at_another_line(
    tools: Tools, sent: list[bytes], corpus: Path, listener: socket.socket, rate: int
) -> None:
    options = {"connections": 2, "rate": rate}
    with tools.generator("lines", port_of(listener), 4, corpus=corpus, **options) as generator:
        streams = received(listener, 2)
        generator.wait_report(SECONDS_MAX)
    parts = [sent[0:2], sent[4:6]]
    assert streams == [b"".join(framed(each, "lines") for each in part) for part in parts]


def test_datagrams_come_from_500_addresses_in_turn(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "mixed"
    write(path, "mixed", 1000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(SECONDS_MAX)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        options = {"connections": 500, "rate": 100_000}
        with tools.generator("udp", port_of(receiver), 1000, corpus=path, **options) as generator:
            found = [receiver.recvfrom(65536) for _ in range(1000)]
            generator.wait_report(SECONDS_MAX)
    addresses = [address for _, (address, _) in found]
    assert len(set(addresses)) == 500
    assert addresses[:500] == addresses[500:]
    assert all(ip_address(address) in LOOPBACK for address in addresses)
    assert sorted(message for message, _ in found) == sorted(messages("mixed", 1000))


def test_each_tcp_connection_comes_from_an_address_of_its_own(
    tools: Tools, corpus: Path, listener: socket.socket
) -> None:
    options = {"connections": 60, "rate": 100_000, "settle": 300}
    with tools.generator("lines", port_of(listener), 60, corpus=corpus, **options) as generator:
        generator.wait_connected(SECONDS_MAX)
        accepted = [listener.accept() for _ in range(60)]
        generator.wait_report(SECONDS_MAX)
    for connection, _ in accepted:
        connection.close()
    assert len({address for _, (address, _) in accepted}) == 60


def test_a_thousand_connections_lose_nothing(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "devices"
    write(path, "devices", 2000)
    with tools.sink("syslog", free_port(), 6000, connections=1000, corpus=path) as sink:
        options = {"connections": 1000, "rate": 100_000}
        with tools.generator("lines", sink.port, 6000, corpus=path, **options) as generator:
            report = generator.wait_report(SECONDS_MAX)
        wait_until(lambda: not sink.has_connections, "the sink has read everything", SECONDS_MAX)
        found = sink.end_and_report()
    assert (found["missing"], found["accepted"]) == (0, 1000)
    assert found["checksum"] == report["checksum"] != 0


@pytest.mark.parametrize(("protocol", "sent_with"), [("syslog", "counted"), ("relp", "relp")])
def test_the_sink_counts_the_messages_of_a_corpus(
    tools: Tools, corpus: Path, protocol: str, sent_with: str
) -> None:
    with tools.sink(protocol, free_port(), 20, corpus=corpus) as sink:
        for count in (20, 3):
            with tools.generator(sent_with, sink.port, count, corpus=corpus) as generator:
                generator.wait_report(SECONDS_MAX)
        wait_until(lambda: not sink.has_connections, "the sink has read everything", SECONDS_MAX)
        found = sink.end_and_report()
    assert (found["unique"], found["missing"], found["duplicates"]) == (20, 0, 3)


def taken(tools: Tools, corpus: Path, lines: list[bytes], is_ordered: bool) -> dict[str, int]:
    """What the sink, which waits for the 200 messages of `corpus`, finds in `lines`."""
    with tools.sink("syslog", free_port(), 200, corpus=corpus, is_ordered=is_ordered) as sink:
        with socket.create_connection(("127.0.0.1", sink.port)) as connection:
            connection.sendall(b"".join(framed(line, "lines") for line in lines))
        wait_until(lambda: not sink.has_connections, "the sink has read everything", SECONDS_MAX)
        report = sink.end_and_report()
    return {name: report[name] for name in (*FAULTS, "checksum", "compared")}


NO_FAULTS = dict.fromkeys(FAULTS, 0)


@pytest.mark.parametrize("kind", ["host3164", "central5424", "json5424", "devices", "mixed"])
def test_the_sink_sees_another_message_in_the_place_of_one(
    tools: Tools, tmp_path: Path, kind: str
) -> None:
    path, lines = tmp_path / kind, messages(kind, 200)
    write(path, kind, 200)
    good = taken(tools, path, lines, True)
    assert good.items() >= NO_FAULTS.items()
    assert good["compared"] > 150
    # One that comes twice hides that another one is missing, as far as they are counted.
    one_twice = taken(tools, path, [*lines[:50], *lines[49:150], *lines[151:]], True)
    assert one_twice.items() >= {**NO_FAULTS, "unknown": one_twice["unknown"]}.items()
    assert one_twice["unknown"] > 50
    assert one_twice["checksum"] != good["checksum"]
    backwards = taken(tools, path, lines[::-1], False)
    assert backwards == {**good, "compared": 0}


def test_what_becomes_of_a_message_is_known_by_its_last_word(tools: Tools, tmp_path: Path) -> None:
    path, lines = tmp_path / "json5424", messages("json5424", 200)
    write(path, "json5424", 200)
    changed = [
        json.dumps({"token": "x", "message": line.decode("latin-1")}).encode() for line in lines
    ]
    assert taken(tools, path, changed, True).items() >= NO_FAULTS.items()


def test_the_sink_says_when_each_message_came(tools: Tools, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "arrivals"
    with tools.sink("syslog", free_port(), 20, corpus=corpus, arrivals=path) as sink:
        with tools.generator("lines", sink.port, 20, corpus=corpus, rate=1000) as generator:
            report = generator.wait_report(SECONDS_MAX)
        wait_until(lambda: not sink.has_connections, "the sink has read everything", SECONDS_MAX)
        found = sink.end_and_report()
    times = arrived(path)
    assert list(times) == sorted(times)
    assert (times[0], times[-1]) == (found["first_us"], found["last_us"])
    assert latenesses(times, report["began_us"], 1000)[0] >= 0


def test_the_tools_pass_their_own_check(tools: Tools) -> None:
    assert tools.check() > 0


@pytest.mark.parametrize("text", [b"\n\n", b"x" * 70_000])
def test_a_corpus_that_cannot_be_sent_is_refused(tools: Tools, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(text)
    generator = tools.generator("udp", free_port(), 1, corpus=path)
    with generator, pytest.raises(BenchError, match="allowed 1 or more lines of at most 60000"):
        generator.wait_report(SECONDS_MAX)
