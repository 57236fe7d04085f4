"""`sematext://` as a process: the receiver is away, dies, is another server, or takes little."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from relay.service.tls.certificates import make_authority, make_leaf
from tests.certificate_files import CertificateFiles
from tests.end_to_end.bulk_program import Server
from tests.end_to_end.central import Central, numbered, without_repetition
from tests.end_to_end.full_disk import small_mount
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

TOKEN = "01234567-89ab-cdef-0123-456789abcdef"
RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.5}


class Edge(RelayProcess):
    """A relay that sends to a receiver on this host."""

    def __init__(self, programs: Programs, folder: Path, receiver: int, **keys: Any) -> None:
        self.port = free_port()
        folder.mkdir()
        token = folder / "token"
        token.write_text(TOKEN)
        source = {"listen": f"tcp://127.0.0.1:{self.port}", "frame_bytes_max": 400_000}
        destination = {
            "connect": "sematext://eu",
            "token_file": str(token),
            "host": "127.0.0.1",
            "port": receiver,
            **RETRY,
            **keys,
        }
        super().__init__(
            folder, sources={"feed": {**source}}, destinations={"sematext": destination}
        )
        programs.add(self)

    def status(self) -> dict[str, Any]:
        (found,) = ask(str(self.state_dir), "status")["destinations"]
        return dict(found)


def texts(lines: list[bytes]) -> list[bytes]:
    """The messages that were sent, out of their objects."""
    assert all(line.count(TOKEN.encode()) == 1 for line in lines)
    return [line.rpartition(b'"message": "')[2].removesuffix(b'"}') for line in lines]


def test_over_relp_all_arrives_whoever_dies(programs: Programs, tmp_path: Path) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", central.port, via="relp")
    edge.start()
    for part, victim in enumerate((central, central, edge)):  # at first the receiver is away
        feed_stream(edge.port, numbered("tcp", 300, start=300 * part))
        count = 300 * (part + 1)
        wait_until(lambda count=count: edge.status()["received_records"] >= count, "it is stored")
        if victim.is_running:
            victim.kill()
        victim.start()
    wait_for_lines(central.arrived, 900)
    wait_until(lambda: edge.status()["queued_records"] == 0, "the queue is empty")
    expected = [b"number %d" % number for number in range(900)]
    assert without_repetition(texts(wait_for_lines(central.arrived, 900))) == expected
    words = "WARNING: the token is sent in clear text to 127.0.0.1"
    assert edge.status()["details"][0].startswith(words)
    assert "the token is sent in clear text to 127.0.0.1" in edge.log()


def test_over_tls_another_server_gets_nothing(programs: Programs, tmp_path: Path) -> None:
    authority = make_authority("test", days=2)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())
    port = free_port()
    arrived = tmp_path / "received.log"

    def receiver(name: str) -> RelayProcess:
        leaf = make_leaf(authority, [name], purpose="server", days=1)
        (tmp_path / f"{name}.pem").write_bytes(leaf.certificate_pem())
        (tmp_path / f"{name}-key.pem").write_bytes(leaf.private_key_pem())
        made = RelayProcess(
            tmp_path / f"receiver-{name}",
            sources={
                "tls": {
                    "listen": f"tls://127.0.0.1:{port}",
                    "certificate": str(tmp_path / f"{name}.pem"),
                    "private_key": str(tmp_path / f"{name}-key.pem"),
                    "peer_verify": "none",
                }
            },
            destinations={"file": {"connect": f"file://{arrived}"}},
        )
        programs.add(made)
        made.start()
        return made

    other = receiver("localhost")
    edge = Edge(programs, tmp_path / "edge", port, trusted_ca=str(tmp_path / "ca.pem"))
    edge.start()
    feed_stream(edge.port, numbered("tcp", 100))
    words = "the certificate is for localhost, expected 127.0.0.1"
    wait_until(lambda: words in edge.log(), words)
    assert edge.status()["delivered_records"] == 0
    other.stop()
    assert not arrived.exists() or not arrived.read_bytes()
    receiver("127.0.0.1")
    lines = wait_for_lines(arrived, 100)
    assert texts(lines) == [b"number %d" % number for number in range(100)]


@pytest.mark.parametrize("policy", ["truncate", "quarantine"])
def test_a_long_event_holds_up_no_other(programs: Programs, tmp_path: Path, policy: str) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    central.start()
    edge = Edge(programs, tmp_path / "edge", central.port, via="relp", oversize=policy)
    edge.start()
    long = b"<13>1 2026-10-11T22:14:15.003Z web-1 long - - - " + b"x" * 300_000
    feed_stream(edge.port, [*numbered("tcp", 50), long, *numbered("tcp", 50, start=50)])
    whole = 100 if policy == "quarantine" else 101
    lines = wait_for_lines(central.arrived, whole)
    assert len(lines) == whole
    found = [text for text in texts(lines) if text.startswith(b"number")]
    assert found == [b"number %d" % number for number in range(100)]
    status = edge.status()
    if policy == "quarantine":
        assert status["quarantined_records"] == 1
        assert "too-long: 300," in edge.log()
    else:
        assert status["truncated_records"] == 1
        assert max(map(len, lines)) == 64_000
        assert "1 message truncated: longer than 64,000 bytes" in edge.log()


def server_keys(folder: Path) -> dict[str, str]:
    """Keys of a source with a certificate for 127.0.0.1; its authority is `ca.pem` in `folder`."""
    authority = make_authority("test", days=2)
    (folder / "ca.pem").write_bytes(authority.certificate_pem())
    leaf = make_leaf(authority, ["127.0.0.1"], purpose="server", days=1)
    (folder / "own.pem").write_bytes(leaf.certificate_pem())
    (folder / "own-key.pem").write_bytes(leaf.private_key_pem())
    return {
        "certificate": str(folder / "own.pem"),
        "private_key": str(folder / "own-key.pem"),
        "peer_verify": "none",
    }


@pytest.mark.parametrize("via", ["relp", "https"])
def test_a_receiver_whose_disk_is_full_gets_the_rest_once_it_has_room(
    programs: Programs, tmp_path: Path, via: str
) -> None:
    """It stores what it can; its own upstream is away, so that its queue fills the disk."""
    count = 20_000
    messages = [message + b" " + b"x" * 250 for message in numbered("tcp", count)]
    with small_mount(tmp_path / "receiver" / "state", 3 * 1024 * 1024) as small:
        if small is None:
            pytest.skip("file systems can be mounted by root only")
        central, port = Central(programs, tmp_path / "central", free_port()), free_port()
        tls = server_keys(tmp_path) if via == "https" else {}
        receiver = RelayProcess.started(
            programs,
            tmp_path / "receiver",
            name="receiver",
            sources={"in": {"listen": f"{via}://127.0.0.1:{port}", **tls}},
            destinations={"central": {"connect": central.url, **RETRY}},
            relay={"min_free_bytes": 0},
        )
        trust = {"trusted_ca": str(tmp_path / "ca.pem")} if tls else {}
        edge = Edge(programs, tmp_path / "edge", port, via=via, **trust)
        edge.start()
        feed_stream(edge.port, messages)
        wait_until(lambda: edge.status()["received_records"] == count, "all is stored here", 60)

        def admission() -> Any:
            return ask(str(receiver.state_dir), "status")["admission"]

        wait_until(lambda: not admission()["open"], "the receiver's disk is full", 60)
        assert "No space left on device" in admission()["reason"]
        edge.kill()
        edge.start()
        assert edge.status()["queued_records"] > 0
        small.enlarge(receiver)
        central.start()
        lines = central.arrived
        wait_until(lambda: edge.status()["queued_records"] == 0, "the rest is delivered", 90)
        assert edge.status()["quarantined_records"] == 0
        assert not edge.status()["dropped_records"]

        def arrived() -> set[int]:
            """Over HTTPS a message is in a document of another form."""
            found = [re.search(rb"number ([0-9]+) x{250}\b", each) for each in received(lines)]
            return {int(each[1]) for each in found if each}

        wait_until(lambda: arrived() == {*range(count)}, "each message")
        for relay in (edge, receiver, central):
            relay.stop()


def test_over_https_each_message_is_confirmed(programs: Programs, tmp_path: Path) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    receiver = RelayProcess(
        tmp_path / "receiver",
        sources={
            "bulk": {
                "listen": f"https://127.0.0.1:{port}",
                **server_keys(tmp_path),
            }
        },
        destinations={"file": {"connect": f"file://{arrived}", "template": "$MSG"}},
    )
    programs.add(receiver)
    edge = Edge(
        *(programs, tmp_path / "edge", port), via="https", trusted_ca=str(tmp_path / "ca.pem")
    )
    edge.start()
    feed_stream(edge.port, numbered("tcp", 200))
    wait_until(lambda: edge.status()["queued_records"] == 200, "they wait for the receiver")
    edge.kill()
    receiver.start()
    edge.start()
    lines = wait_for_lines(arrived, 200)
    assert sorted(set(lines)) == sorted(b"number %d" % number for number in range(200))
    wait_until(lambda: edge.status()["queued_records"] == 0, "all are confirmed")
    assert TOKEN not in edge.log() + receiver.log()


@pytest.mark.parametrize(
    ("steps", "documents", "quarantined", "reason"),
    [
        (["items=429,201,503"], [10, 2], 0, "item 429 1, item 503 1"),
        (["poison=number 4"], [10], 1, "item 400 1"),
        (["413=3"], [10, 5, 2, 3, 5, 2, 3], 0, "status 413 20"),
        (["unknown-token"], [10, 1, 9], 0, "unknown token 10"),
        (["limit"], [10, 1, 9], 0, "limit 10"),
        (["502"], [10, 10], 0, "status 502 10"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_over_https_whatever_sematext_answers_nothing_is_lost(
    programs: Programs,
    tmp_path: Path,
    certificates: CertificateFiles,
    steps: list[str],
    documents: list[int],
    quarantined: int,
    reason: str,
) -> None:
    tls = ("--tls", certificates.server_certificate, certificates.server_key)
    server = Server(programs, tmp_path, *tls, *steps)
    server.start()
    keys = {"via": "https", "trusted_ca": certificates.ca, "batch_seconds": 0.5}
    edge = Edge(programs, tmp_path / "edge", server.port, requests_max=1, **keys)
    edge.start()
    feed_stream(edge.port, numbered("tcp", 10))
    if steps[0] in ("unknown-token", "limit"):
        wait_until(lambda: "held: " in edge.status()["state"], "a hold")
        assert edge.status()["queued_records"] == 10
        ask(str(edge.state_dir), "connect")
    wait_until(
        lambda: edge.status()["delivered_records"] == 10 - quarantined, "what is taken is delivered"
    )
    status = edge.status()
    assert (status["queued_records"], status["quarantined_records"]) == (0, quarantined)
    assert status["details"] == [f"not delivered by a request: {reason}"]
    expected = {b"number %d" % number for number in range(10)}
    assert {*server.messages} == expected - ({b"number 4"} if quarantined else set())
    assert {each["_index"] for each in server.taken} == {TOKEN}
    assert [each["documents"] for each in server.requests] == documents
    assert TOKEN not in edge.log()
