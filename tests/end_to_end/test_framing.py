"""Octet counting and lines as the field mixes them up, from the socket to the file.

The cases over TCP of `field.json`, and others of each kind, through one relay with a source and
a file for each of them.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.plain_senders import feed_datagrams
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

VECTORS = Path(__file__).parents[1] / "wire" / "vectors" / "field.json"
CASES = {case["name"]: case for case in json.loads(VECTORS.read_text())}
OK = b"<13>Oct 11 22:14:15 h app: okay"
COUNTED_OK = b"31 " + OK
TOKEN = "0f8fad5b-d9cb-469f-a165-70867728950e"

FIELD = {
    "epoch": "tcp-first-line-begins-with-epoch",
    "day": "tcp-first-line-begins-with-day",
    "characters": "tcp-count-in-characters-with-lf",
    "mixed": "tcp-mixed-framings-on-one-connection",
    "mark": "bom-then-counted-frames",
    "separators": "ok-count-with-crlf-between",
}
OURS: dict[str, tuple[bytes, list[bytes]]] = {
    "huge": (b"9999999999 x\n" + OK + b"\n", [b"9999999999 x", OK]),
    "files": (
        COUNTED_OK + b"\n25 files copied\n" + COUNTED_OK,
        [OK, b"25 files copied", OK],
    ),
    "cut": (
        b"64 <13>Oct 11 22:14:15 h app: cut\n" + (COUNTED_OK + b"\n") * 2,
        [b"<13>Oct 11 22:14:15 h app: cut", OK, OK],
    ),
    "unfinished": (COUNTED_OK + b"40 " + OK, [OK, OK]),
}


def expected_of(name: str) -> list[bytes]:
    lines = CASES[name]["expected"]["raw"]
    return [line.encode("latin-1") for line in lines]


def send(port: int, octets: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(octets)
    return connection


def read_all(connection: socket.socket) -> bytes:
    octets = b""
    with contextlib.suppress(ConnectionResetError):  # what it sent was not read to its end
        while chunk := connection.recv(4096):
            octets += chunk
    return octets


def report_of(relay: RelayProcess, source: str) -> dict[str, Any]:
    reports = ask(str(relay.state_dir), "status")["sources"]
    report: dict[str, Any] = next(each for each in reports if each["id"] == source)
    return report


def test_each_frame_is_taken_for_what_it_is(programs: Programs, tmp_path: Path) -> None:
    names = [*FIELD, *OURS, "json", "open"]
    ports = {name: free_port() for name in names}
    out = {name: tmp_path / f"{name}.out" for name in names}
    (tmp_path / "token").write_text(TOKEN)
    cee = {"rewrite": {"mode": "cee", "token_file": str(tmp_path / "token")}}
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={name: {"listen": f"tcp://127.0.0.1:{port}"} for name, port in ports.items()},
        destinations={
            name: {
                "connect": f"file://{out[name]}",
                "sources": [name],
                **(cee if name == "json" else {}),
            }
            for name in names
        },
    )
    octets = {short: CASES[name]["bytes_latin1"].encode("latin-1") for short, name in FIELD.items()}
    octets.update({name: stream for name, (stream, _) in OURS.items()})
    octets["json"] = CASES["ok-json-numbers-and-bad-json"]["bytes_latin1"].encode("latin-1")
    for name, stream in octets.items():
        send(ports[name], stream).close()
    expected = {short: expected_of(name) for short, name in FIELD.items() if short != "characters"}
    expected.update({name: lines for name, (_, lines) in OURS.items()})
    for name, lines in expected.items():
        assert wait_for_lines(out[name], len(lines)) == lines, name

    last_two = CASES[FIELD["characters"]]["expected"]["raw_last_two"]
    found = wait_for_lines(out["characters"], 4)
    assert [line.decode("latin-1") for line in found[-2:]] == last_two
    assert b"".join(found[:2]).endswith("café 表".encode())
    (line,) = [
        line for line in relay.log().splitlines() if "source characters" in line and "wrong" in line
    ]
    assert "127.0.0.1" in line
    objects = [json.loads(line.partition(b"@cee: ")[2]) for line in wait_for_lines(out["json"], 3)]
    assert [*objects[0]] == ["logsene-app-token", "a", "e"]

    # A connection that stays open: a complete line waits for two seconds at most.
    with send(ports["open"], COUNTED_OK + b"\n25 files copied\n") as connection:
        assert wait_for_lines(out["open"], 2) == [OK, b"25 files copied"]
        connection.sendall(COUNTED_OK)
        assert wait_for_lines(out["open"], 3)[2:] == [OK]
    for name, errors in {"characters": 1, "cut": 1, "unfinished": 1, "mixed": 0, "day": 0}.items():
        report = report_of(relay, name)
        assert (report["framing_errors"], report["protocol_errors"]) == (errors, 0), name


def test_relp_and_tls_at_a_plain_port_are_refused_in_words(
    programs: Programs, tmp_path: Path
) -> None:
    plain, arrived = free_port(), tmp_path / "received.log"
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"plain": {"listen": f"tcp://127.0.0.1:{plain}"}},
        destinations={"file": {"connect": f"file://{arrived}"}},
    )
    opening = b"1 open 85 relp_version=0\nrelp_software=librelp,1.2.14,http://l\ncommands=syslog\n"
    for octets in (opening, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"):
        with send(plain, octets) as connection:
            assert read_all(connection) == b""
    send(plain, OK + b"\n").close()
    assert wait_for_lines(arrived, 1) == [OK]
    report = report_of(relay, "plain")
    assert report["connections_closed"] == {"relp-protocol": 1, "tls-protocol": 1}
    assert report["received_records"] == 1
    for words in ("this is RELP; use a relp:// source", "the peer speaks TLS; use a tls:// source"):
        (line,) = [line for line in relay.log().splitlines() if words in line]
        assert "source plain, 127.0.0.1" in line


def test_lines_that_begin_with_numbers_pass_from_relay_to_relay(
    programs: Programs, tmp_path: Path
) -> None:
    case = CASES["relay-to-relay-tcp-newline-raw-line-with-number"]
    first, *others = (text.encode() for text in case["bytes_latin1"][:2])
    sent = [first, *(others[0][:-1] + b"%d" % number for number in range(2000))]
    begins, second = free_port(), free_port()
    arrived = tmp_path / "received.log"
    RelayProcess.started(
        programs,
        tmp_path / "second",
        sources={"s": {"listen": f"tcp://127.0.0.1:{second}"}},
        destinations={"raw": {"connect": f"file://{arrived}"}},
        name="second",
    )
    RelayProcess.started(
        programs,
        tmp_path / "first",
        sources={"s": {"listen": f"udp://127.0.0.1:{begins}"}},
        destinations={"b": {"connect": f"tcp://127.0.0.1:{second}"}},
        name="first",
    )
    for start in range(0, len(sent), 100):
        feed_datagrams(begins, sent[start : start + 100])
        wait_until(
            lambda start=start: len(received(arrived)) >= min(start + 100, len(sent)),  # type: ignore[misc]
            "what was sent",
        )
    assert received(arrived) == [b"<13>" + first, *sent[1:]]
