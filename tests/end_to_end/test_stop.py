"""SIGTERM ends the relay within five seconds, whatever its peers and upstreams do."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.certificate_files import CertificateFiles
from tests.end_to_end.central import numbered
from tests.plain_senders import feed_stream
from tests.processes import Programs, connecting_tcp, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

STOP_SECONDS_MAX = 5.0
FULL_BACKLOG = 16


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts and then neither reads nor answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


@pytest.mark.parametrize("scheme", ["relp", "relp+tls", "tcp", "tls"])
def test_a_stop_does_not_wait_for_an_upstream_that_never_reads(
    programs: Programs,
    tmp_path: Path,
    certificates: CertificateFiles,
    silent: socket.socket,
    scheme: str,
) -> None:
    feed = free_port()
    trust = {"trusted_ca": certificates.ca} if scheme.endswith("tls") else {}
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"tcp://127.0.0.1:{feed}"}},
        destinations={
            "silent": {"connect": f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", **trust}
        },
    )
    feed_stream(feed, [message + b"x" * 1000 for message in numbered("app", 20000)])
    connection, _ = silent.accept()
    with connection:
        relay.stop(STOP_SECONDS_MAX)


def test_a_stop_does_not_wait_for_an_upstream_that_takes_no_connections(
    programs: Programs, tmp_path: Path
) -> None:
    feed = free_port()
    with ExitStack() as open_sockets, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for _ in range(FULL_BACKLOG):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        stuck = connecting_tcp(port)
        assert stuck, "the backlog is not full"
        relay = RelayProcess.started(
            programs,
            tmp_path,
            sources={"feed": {"listen": f"tcp://127.0.0.1:{feed}"}},
            destinations={"nowhere": {"connect": f"relp://127.0.0.1:{port}"}},
        )
        wait_until(lambda: connecting_tcp(port) > stuck, "the relay tries to connect")
        relay.stop(STOP_SECONDS_MAX)


def test_a_stop_does_not_wait_for_silent_clients(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    ports = {scheme: free_port() for scheme in ("tcp", "tls", "relp")}
    own = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "peer_verify": "none",
    }
    unix = str(tmp_path / "log.sock")
    sources = {
        scheme: {
            "listen": f"{scheme}://127.0.0.1:{port}",
            **(own if scheme == "tls" else {}),
        }
        for scheme, port in ports.items()
    }
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={**sources, "unix": {"listen": f"unix://{unix}"}},
        destinations={"file": {"connect": f"file://{tmp_path / 'received.log'}"}},
    )
    context = ssl.create_default_context(cafile=certificates.ca)
    with ExitStack() as clients:
        for port in ports.values():  # for TLS and RELP: not even a handshake
            clients.enter_context(socket.create_connection(("127.0.0.1", port)))
        raw = clients.enter_context(socket.create_connection(("127.0.0.1", ports["tls"])))
        clients.enter_context(context.wrap_socket(raw, server_hostname="127.0.0.1"))
        clients.enter_context(RelpSender(ports["relp"])).send([])
        local = clients.enter_context(socket.socket(socket.AF_UNIX))
        local.connect(unix)
        relay.stop(STOP_SECONDS_MAX)
    assert not Path(unix).exists()


def test_a_stop_in_the_middle_of_traffic_takes_no_longer(
    programs: Programs, tmp_path: Path, silent: socket.socket
) -> None:
    feed = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"tcp://127.0.0.1:{feed}"}},
        destinations={
            "file": {"connect": f"file://{tmp_path / 'received.log'}"},
            "silent": {"connect": f"relp://127.0.0.1:{silent.getsockname()[1]}"},
        },
    )
    frames = numbered("app", 1000)
    stream = b"".join(b"%d %s" % (len(frame), frame) for frame in frames)
    with socket.create_connection(("127.0.0.1", feed)) as client:
        client.setblocking(False)
        for _ in range(1000):  # as much as it takes just now
            try:
                client.send(stream)
            except BlockingIOError:
                break
        relay.stop(STOP_SECONDS_MAX)


def test_a_stop_does_not_wait_for_a_name_server(programs: Programs, tmp_path: Path) -> None:
    """The resolver's thread hangs in a system call; the interpreter would wait for it."""
    if os.geteuid() != 0:
        pytest.skip("only root can take port 53 and give a process another resolv.conf")
    address = "127.0.53.53"
    (tmp_path / "resolv.conf").write_text(f"nameserver {address}\n")
    python = tmp_path / "python"  # in a mount namespace of its own
    python.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind "{tmp_path}/resolv.conf" '
        f'/etc/resolv.conf && exec "$@"\' sh {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server:
        name_server.bind((address, 53))
        name_server.settimeout(20)
        relay = RelayProcess.started(
            programs,
            tmp_path,
            sources={"feed": {"listen": f"udp://127.0.0.1:{free_port()}"}},
            destinations={"far": {"connect": "relp://central.example.test:20514"}},
            interpreter=str(python),
        )
        assert b"central" in name_server.recv(512)
        relay.stop(STOP_SECONDS_MAX)
