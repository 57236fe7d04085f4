"""Who may send and how fast, and what the kernel drops, with real sockets."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.plain_senders import feed_datagrams, feed_lines
from tests.processes import Programs, free_port, is_listening_unix, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender

FRIEND, STRANGER = "127.0.0.1", "127.0.0.2"


class Listener:
    """A relay with one source that writes what it gets to a file."""

    def __init__(self, programs: Programs, folder: Path, scheme: str, **keys: Any) -> None:
        self.port = free_port()
        self.arrived = folder / "received.log"
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"in": {"listen": f"{scheme}://:{self.port}", **keys}},
            destinations={"file": {"connect": f"file://{self.arrived}"}},
        )
        control = f"{self.relay.state_dir}/control.sock"
        wait_until(lambda: is_listening_unix(control), "the relay can be asked")

    def connect(self, address: str) -> socket.socket:
        upstream = ("127.0.0.1", self.port)
        return socket.create_connection(upstream, timeout=10, source_address=(address, 0))

    def refuses(self, address: str) -> bool:
        """Whether a connection from `address` ends without a word.

        The relay may have hung up before `connect` has come back, which then says so.
        """
        try:
            with self.connect(address) as connection:
                return connection.recv(100) == b""
        except ConnectionResetError:
            return True

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(str(self.relay.state_dir), "status")["sources"][0]
        return found


def tls_keys(certificates: CertificateFiles) -> dict[str, str]:
    return {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "peer_verify": "none",
    }


@pytest.mark.parametrize("scheme", ["tcp", "relp", "tls"])
def test_strangers_are_hung_up_on_before_anything_is_read(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles, scheme: str
) -> None:
    own = tls_keys(certificates) if scheme == "tls" else {}
    listener = Listener(programs, tmp_path, scheme, allow=["127.0.0.0/8"], deny=[STRANGER], **own)
    assert listener.refuses(STRANGER)
    with listener.connect(FRIEND) as friend:
        if scheme == "tls":
            context = ssl.create_default_context(cafile=certificates.ca)
            friend = context.wrap_socket(friend, server_hostname="127.0.0.1")
        friend.settimeout(0.3)
        with pytest.raises(TimeoutError):
            friend.recv(1)
        assert listener.report()["connections_open"] == 1
    assert listener.report()["connections_refused"] == 1
    assert f"source in, {STRANGER}:" in listener.relay.log()
    assert "refused: not allowed by allow and deny" in listener.relay.log()


def test_datagrams_of_strangers_are_dropped(programs: Programs, tmp_path: Path) -> None:
    listener = Listener(programs, tmp_path, "udp", allow=[FRIEND])
    for address in (STRANGER, FRIEND):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((address, 0))
            sender.sendto(b"<13>app: from " + address.encode(), ("127.0.0.1", listener.port))
    assert wait_for_lines(listener.arrived, 1) == [b"<13>app: from " + FRIEND.encode()]
    assert listener.report()["dropped_records"] == {"not-allowed": 1}


def test_each_peer_has_its_own_number_of_connections(programs: Programs, tmp_path: Path) -> None:
    listener = Listener(programs, tmp_path, "tcp", connections_per_peer_max=2)
    with listener.connect(FRIEND), listener.connect(FRIEND):
        assert listener.refuses(FRIEND)
        with listener.connect(STRANGER) as other:
            other.sendall(b"<13>app: one\n")
            assert wait_for_lines(listener.arrived, 1) == [b"<13>app: one"]


@pytest.mark.parametrize("scheme", ["tcp", "relp", "tls"])
def test_who_sends_too_fast_is_slowed_down_and_loses_nothing(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles, scheme: str
) -> None:
    own = tls_keys(certificates) if scheme == "tls" else {}
    listener = Listener(programs, tmp_path, scheme, rate_per_peer_max=1000, **own)
    sent = [b"<13>app: number %d %s" % (number, b"x" * 400) for number in range(4000)]
    began = time.monotonic()
    if scheme == "tcp":
        feed_lines(listener.port, sent)
    elif scheme == "tls":
        context = ssl.create_default_context(cafile=certificates.ca)
        with context.wrap_socket(listener.connect(FRIEND), server_hostname=FRIEND) as connection:
            connection.settimeout(20)
            connection.sendall(b"".join(message + b"\n" for message in sent))
            wait_for_lines(listener.arrived, len(sent))
    else:
        with RelpSender(listener.port) as sender:
            sender.send(sent)
            sender.close()
    assert wait_for_lines(listener.arrived, len(sent)) == sent
    # One second is the burst; the last chunk, of some 1,200 messages, is not waited for.
    assert 1.5 < time.monotonic() - began < 10
    assert listener.report()["dropped_records"] == {}


def test_datagrams_above_the_rate_are_dropped(programs: Programs, tmp_path: Path) -> None:
    listener = Listener(programs, tmp_path, "udp", rate_per_peer_max=10)
    feed_datagrams(listener.port, [b"<13>app: %d" % number for number in range(100)])
    wait_until(lambda: listener.report()["received_records"] == 100, "all are counted")
    report = listener.report()
    dropped = report["dropped_records"]["rate-limit"]
    assert 85 <= dropped <= 90
    assert len(wait_for_lines(listener.arrived, 100 - dropped)) == 100 - dropped


def test_what_the_kernel_drops_is_counted_without_another_datagram(
    programs: Programs, tmp_path: Path
) -> None:
    listener = Listener(programs, tmp_path, "udp", receive_buffer_bytes=65536)
    assert listener.report()["receive_buffer_bytes"] == 65536
    listener.relay.signal(signal.SIGSTOP)
    sent = [b"<13>app: number %d %s" % (number, b"x" * 400) for number in range(2000)]
    feed_datagrams(listener.port, sent)
    listener.relay.signal(signal.SIGCONT)
    wait_until(lambda: listener.report()["received_records"] == len(sent), "all are counted")
    report = listener.report()
    dropped = report["dropped_records"]["kernel-buffer"]
    assert report["dropped_records"] == {"kernel-buffer": dropped}
    assert 0 < dropped < len(sent)
    assert wait_for_lines(listener.arrived, len(sent) - dropped) == sent[: len(sent) - dropped]
    assert f"the kernel dropped {dropped:,} datagrams" in listener.relay.log()


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_messages_that_are_too_long_are_dropped_whole(
    programs: Programs, tmp_path: Path, scheme: str
) -> None:
    listener = Listener(programs, tmp_path, scheme, frame_bytes_max=1000, oversize="drop")
    sent = [b"<13>app: one", b"<13>app: " + b"x" * 992, b"<13>app: " + b"x" * 991, b"<13>app: two"]
    (feed_lines if scheme == "tcp" else feed_datagrams)(listener.port, sent)
    assert wait_for_lines(listener.arrived, 3) == [sent[0], sent[2], sent[3]]
    report = listener.report()
    assert (report["received_records"], report["stored_records"]) == (4, 3)
    assert report["dropped_records"] == {"too-long": 1}
    assert len(received(listener.arrived)) == 3
