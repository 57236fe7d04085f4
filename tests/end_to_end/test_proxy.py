"""Connections through a proxy that says whom it speaks for."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import pytest

from tests.certificate_files import CertificateFiles
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

VERSION_1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 514\r\n"
VERSION_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x9c\x40\x02\x02"


def proxied_relay(
    programs: Programs, folder: Path, scheme: str, **keys: object
) -> tuple[int, Path]:
    """A relay that writes down who sent each message."""
    port = free_port()
    received = folder / "received.log"
    RelayProcess.started(
        programs,
        folder,
        sources={
            "feed": {
                "listen": f"{scheme}://127.0.0.1:{port}",
                "proxy_protocol": True,
                "allow": ["127.0.0.1"],
                **keys,
            }
        },
        destinations={"file": {"connect": f"file://{received}", "rewrite": {"mode": "ewmm"}}},
    )
    return port, received


def sender_in(line: bytes) -> str:
    """What an EWMM line says of the sender's address."""
    return str(json.loads(line[line.index(b"{") :]))


@pytest.mark.parametrize("header", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_octet_by_octet(programs: Programs, tmp_path: Path, header: bytes) -> None:
    port, received = proxied_relay(programs, tmp_path, "tcp")
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in header + b"<13>app: hello\n":
            sender.sendall(bytes([octet]))
    (line,) = wait_for_lines(received, 1)
    assert "192.0.2.7" in sender_in(line)


def test_below_tls(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> None:
    port, received = proxied_relay(
        programs,
        tmp_path,
        "tls",
        certificate=certificates.server_certificate,
        private_key=certificates.server_key,
        peer_verify="none",
    )
    context = ssl.create_default_context(cafile=certificates.ca)
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(VERSION_2)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as sender:
            sender.sendall(b"14 <13>app: hello")
            (line,) = wait_for_lines(received, 1)
    assert "192.0.2.7" in sender_in(line)


def test_without_a_header_nothing_is_taken(programs: Programs, tmp_path: Path) -> None:
    port, received = proxied_relay(programs, tmp_path, "tcp")
    log = tmp_path / "relay.log"
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.sendall(b"<13>app: hello\n")
        wait_until(lambda: "expected a PROXY header" in log.read_text(), "a warning")
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.sendall(VERSION_1 + b"<13>app: after\n")
        (line,) = wait_for_lines(received, 1)
    assert b"after" in line
