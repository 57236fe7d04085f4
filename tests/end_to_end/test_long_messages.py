"""Messages above the size limit, by every transport and under every policy."""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from relay.cli.control_client import ask
from relay.model.text import size
from relay.wire.framing.decoders import encode_newline, encode_octet_counted
from relay.wire.framing.long_frame import split_frame
from tests.certificate_files import CertificateFiles
from tests.plain_senders import feed_datagrams, feed_lines
from tests.processes import Programs, free_port, is_listening_unix, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender

LIMIT = 480  # the smallest
LONG_BYTES = 1500
COUNTED = ("counted", "tls", "unix")
SOURCES = ("udp", "unixgram", "lines", "relp", *COUNTED)


def messages_of(source: str) -> list[bytes]:
    """One that is too long, and its neighbours."""
    header = b"<13>Oct 11 22:14:15 host %s: " % source.encode()
    long = header + "é€𝄞0123456789".encode() * LONG_BYTES
    return [header + b"before", long[: LONG_BYTES - 1] + b".", header + b"after"]


class Relay:
    """A relay with a source for each transport; two files show what it took."""

    def __init__(
        self, programs: Programs, folder: Path, certificates: CertificateFiles, oversize: str
    ) -> None:
        self.certificates = certificates
        self.raw, self.wrapped = folder / "raw.log", folder / "wrapped.log"
        self.ports = {name: free_port() for name in ("udp", "lines", "counted", "tls", "relp")}
        self.paths = {name: str(folder / name) for name in ("unixgram", "unix")}
        schemes = {"lines": "tcp", "counted": "tcp"}
        listen = {
            **{name: f"{schemes.get(name, name)}://:{port}" for name, port in self.ports.items()},
            **{name: f"{name}://{path}" for name, path in self.paths.items()},
        }
        own = {
            "certificate": certificates.server_certificate,
            "private_key": certificates.server_key,
            "peer_verify": "none",
        }
        self.process = RelayProcess.started(
            programs,
            folder,
            sources={
                name: {
                    "listen": listen[name],
                    "frame_bytes_max": LIMIT,
                    "oversize": oversize,
                    **(own if name == "tls" else {}),
                }
                for name in SOURCES
            },
            destinations={
                "raw": {"connect": f"file://{self.raw}"},
                "wrapped": {"connect": f"file://{self.wrapped}", "rewrite": {"mode": "ewmm"}},
            },
            relay={"quarantine_bytes_max": "1 MiB"},
        )
        control = f"{self.process.state_dir}/control.sock"
        wait_until(lambda: is_listening_unix(control), "the relay can be asked")

    def send(self, source: str) -> None:
        messages = messages_of(source)
        if source == "udp":
            feed_datagrams(self.ports[source], messages)
        elif source == "lines":
            feed_lines(self.ports[source], messages)
        elif source == "relp":
            with RelpSender(self.ports[source]) as sender:
                sender.send(messages)
                sender.close()
            assert sender.answered == messages
        elif source == "unixgram":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
                local.connect(self.paths[source])
                for message in messages:
                    local.send(message)
        else:
            with self._connection(source) as connection:
                connection.sendall(encode_octet_counted(messages))
                wait_until(lambda: messages[-1] in received(self.raw), f"{source} has arrived")

    @contextmanager
    def _connection(self, source: str) -> Iterator[socket.socket]:
        if source == "unix":
            with socket.socket(socket.AF_UNIX) as local:
                local.connect(self.paths[source])
                yield local
            return
        with socket.create_connection(("127.0.0.1", self.ports[source]), timeout=20) as plain:
            if source != "tls":
                yield plain
                return
            context = ssl.create_default_context(cafile=self.certificates.ca)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                yield secure

    def arrived(self, path: Path, source: str) -> list[bytes]:
        return [line for line in received(path) if source.encode() + b": " in line]

    def reports(self) -> dict[str, dict[str, Any]]:
        sources = ask(str(self.process.state_dir), "status")["sources"]
        return {report["id"]: report for report in sources}

    def quarantined(self, source: str) -> list[tuple[dict[str, Any], bytes]]:
        """Labels and octets of what `source` has set aside; the relay has to be stopped."""
        path = os.path.join(self.process.state_dir, "queue")
        with lmdb.open(path, max_dbs=2048, map_size=2**34) as environment:
            database = environment.open_db(f"quarantine/source/{source}".encode(), create=False)
            with environment.begin(db=database) as txn:
                values = [bytes(value).partition(b"\n") for _, value in txn.cursor()]
        return [(json.loads(label), frame) for label, _, frame in values]


def expected(source: str, oversize: str) -> list[bytes]:
    before, long, after = messages_of(source)
    between = {
        "truncate": [long[:LIMIT]],
        "drop": [],
        "split": split_frame(long, frame_bytes_max=LIMIT),
        "quarantine": [],
    }
    return [before, *between[oversize], after]


@pytest.mark.parametrize("oversize", ["truncate", "drop", "split", "quarantine"])
def test_long_messages_and_their_neighbours(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles, oversize: str
) -> None:
    relay = Relay(programs, tmp_path, certificates, oversize)
    for source in SOURCES:
        relay.send(source)
    count = sum(len(expected(source, oversize)) for source in SOURCES)
    wait_for_lines(relay.raw, count)
    wrapped = wait_for_lines(relay.wrapped, count)
    for source in SOURCES:
        lines = expected(source, oversize)
        assert relay.arrived(relay.raw, source) == lines
        assert all(0 < len(line) <= LIMIT for line in lines)
    assert (len(received(relay.raw)), len(wrapped)) == (count, count)
    each = len(SOURCES)
    pair = b'"original_bytes":"%d"' % LONG_BYTES
    assert sum(pair in line for line in wrapped) == (each if oversize == "truncate" else 0)
    for report in relay.reports().values():
        assert report["truncated_records"] == (oversize == "truncate")
        assert report["split_records"] == (oversize == "split")
        assert report["quarantined_records"] == (oversize == "quarantine")
        assert report["dropped_records"] == ({"too-long": 1} if oversize == "drop" else {})
        assert report["protocol_errors"] == 0
    words = {"truncate": "cut there", "drop": "dropped", "quarantine": "set aside"}
    text = f"1 longer than frame_bytes_max ({size(LIMIT)}): {words.get(oversize, 'split')}"
    assert relay.process.log().count(text) == each
    relay.process.stop()
    if oversize != "quarantine":
        return
    for source in SOURCES:
        ((label, frame),) = relay.quarantined(source)
        assert (label["reason"], label["original_bytes"]) == ("too-long", LONG_BYTES)
        assert frame == messages_of(source)[1][:LIMIT]


def test_a_quarantine_has_an_end(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    relay = Relay(programs, tmp_path, certificates, "quarantine")
    before, long, after = messages_of("lines")
    with socket.create_connection(("127.0.0.1", relay.ports["lines"]), timeout=20) as sender:
        sender.sendall(encode_newline([before, *[long] * 3000, after]))
        assert wait_for_lines(relay.raw, 2) == [before, after]
    report = relay.reports()["lines"]
    quarantine = report["quarantine"]
    assert 2**20 - 1000 < quarantine["bytes"] <= 2**20
    assert quarantine["dropped_records"] == {"quarantine-full": 3000 - quarantine["records"]}
    assert report["quarantined_records"] == 3000
    assert "source lines: " in relay.process.log()
    full = "dropped: its quarantine is full (quarantine_bytes_max)"
    wait_until(lambda: full in relay.process.log(), "a warning")


def test_pieces_come_before_the_message_is_over(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    """So a message without an end takes no memory, and what has come of it is on disk."""
    relay = Relay(programs, tmp_path, certificates, "split")
    long = messages_of("relp")[1]
    with socket.create_connection(("127.0.0.1", relay.ports["relp"]), timeout=20) as sender:
        sender.sendall(b"1 open 15 commands=syslog\n2 syslog 999999999 " + long)
        pieces = split_frame(long, frame_bytes_max=LIMIT)
        assert wait_for_lines(relay.raw, len(pieces) - 1) == pieces[:-1]
        # Nobody answers for it; a hard end, so that the relay's words are not waited for.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert relay.reports()["relp"]["split_records"] == 1
