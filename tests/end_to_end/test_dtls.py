"""DTLS (RFC 6012) against openssl, and between two relays over a bad network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.service.configuration.model import YEAR_SECONDS
from tests.certificate_files import CertificateFiles
from tests.lossy_proxy import APPLICATION_DATA, LossyProxy, Treatment
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines


def listener(port: int, files: CertificateFiles, **keys: Any) -> dict[str, Any]:
    return {
        "listen": f"dtls://127.0.0.1:{port}",
        "certificate": files.server_certificate,
        "private_key": files.server_key,
        "trusted_ca": files.ca,
        **keys,
    }


def upstream(port: int, files: CertificateFiles, **keys: Any) -> dict[str, Any]:
    return {
        "connect": f"dtls://127.0.0.1:{port}",
        "certificate": files.client_certificate,
        "private_key": files.client_key,
        "trusted_ca": files.ca,
        "retry_seconds_max": 1,
        **keys,
    }


def receiving_relay(
    programs: Programs, folder: Path, port: int, files: CertificateFiles, **keys: Any
) -> RelayProcess:
    return RelayProcess.started(
        programs,
        folder / "receiver",
        name="receiver",
        sources={"in": listener(port, files, **keys)},
        destinations={"file": {"connect": f"file://{folder}/received.log"}},
    )


def sending_relay(
    programs: Programs, folder: Path, port: int, files: CertificateFiles, **keys: Any
) -> tuple[RelayProcess, int]:
    """A relay, and the TCP port where it takes lines."""
    own = free_port()
    relay = RelayProcess.started(
        programs,
        folder / "sender",
        name="sender",
        sources={"in": {"listen": f"tcp://127.0.0.1:{own}"}},
        destinations={"up": upstream(port, files, **keys)},
    )
    return relay, own


def client_arguments(files: CertificateFiles, *, certificate: bool = True) -> list[str]:
    own = ["-cert", files.client_certificate, "-key", files.client_key] if certificate else []
    return ["-CAfile", files.ca, "-verify_return_error", *own]


@contextmanager
def openssl_client(port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["openssl", "s_client", "-dtls1_2", "-quiet", "-connect", f"127.0.0.1:{port}"]
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, bufsize=0) as client:
        try:
            yield client
        finally:
            client.kill()


@contextmanager
def proxy(port: int, treat: Treatment) -> Iterator[int]:
    between = LossyProxy(port, treat)
    try:
        yield between.port
    finally:
        between.close()


def say(client: subprocess.Popen[bytes], text: bytes) -> None:
    assert client.stdin is not None
    client.stdin.write(text)


def test_openssl_sends_frames_in_records(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    relay = receiving_relay(programs, tmp_path, port, certificates)
    with openssl_client(port, *client_arguments(certificates)) as client:
        say(client, b"7 <13>one7 <13>two")
        wait_for_lines(arrived, 2)
        say(client, b"<13>without a length")
        wait_for_lines(arrived, 3)
    assert received(arrived) == [b"<13>one", b"<13>two", b"<13>without a length"]
    relay.stop()


def test_a_sender_without_the_certificate_that_is_required_is_refused(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port = free_port()
    relay = receiving_relay(programs, tmp_path, port, certificates)
    with openssl_client(port, *client_arguments(certificates, certificate=False)) as client:
        assert client.wait(20) != 0
    wait_until(lambda: "the peer sent no certificate" in relay.log(), "the reason")
    relay.stop()
    assert received(tmp_path / "received.log") == []


def test_openssl_receives_frames_in_records(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port, said = free_port(), tmp_path / "said"
    command = [
        *("openssl", "s_server", "-dtls1_2", "-listen", "-accept", str(port), "-quiet"),
        *("-cert", certificates.server_certificate, "-key", certificates.server_key),
        *("-CAfile", certificates.ca, "-Verify", "1", "-verify_return_error"),
    ]
    with (
        said.open("wb") as output,
        # It ends with its standard input.
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output) as server,
    ):
        try:
            relay, own = sending_relay(programs, tmp_path, port, certificates)
            feed_lines(own, [b"<13>one", b"<13>three"])
            wait_until(lambda: said.read_bytes() == b"7 <13>one9 <13>three", "the messages")
            relay.stop()
        finally:
            server.kill()


def numbered(count: int) -> list[bytes]:
    return [b"<13>message %d" % number for number in range(count)]


def forwarded(
    programs: Programs,
    folder: Path,
    files: CertificateFiles,
    treat: Treatment,
    messages: Sequence[bytes],
    expected: int,
) -> list[bytes]:
    """What arrives of `messages` through a proxy that treats datagrams so."""
    port = free_port()
    receiver = receiving_relay(programs, folder, port, files)
    with proxy(port, treat) as between:
        sender, own = sending_relay(programs, folder, between, files)
        feed_lines(own, messages)
        arrived = wait_for_lines(folder / "received.log", expected)
        sender.stop()
    receiver.stop()
    return arrived


def test_a_handshake_gets_over_losses(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    lost: list[int] = []

    def first_ones(number: int, datagram: bytes) -> Sequence[bytes]:
        if number in (0, 2):
            lost.append(number)
            return []
        return [datagram]

    messages = numbered(3)
    arrived = forwarded(programs, tmp_path, certificates, first_ones, messages, 3)
    assert (sorted(lost), arrived) == ([0, 0, 2, 2], messages)


def test_messages_come_once_over_a_network_that_duplicates_and_reorders(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    held: list[bytes] = []

    def shuffled(number: int, datagram: bytes) -> Sequence[bytes]:
        if datagram[0] != APPLICATION_DATA:
            return [datagram, datagram]
        held.append(datagram)
        if len(held) < 4:
            return []
        sent = [held[2], held[0], held[0], held[3], held[1], held[2]]
        held.clear()
        return sent

    messages = numbered(200)
    arrived = forwarded(programs, tmp_path, certificates, shuffled, messages, 200)
    assert sorted(arrived) == sorted(messages)
    assert arrived != messages


def test_a_lost_record_loses_its_message_and_no_other(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    counts = {"data": 0, "lost": 0}

    def tenth(number: int, datagram: bytes) -> Sequence[bytes]:
        if datagram[0] != APPLICATION_DATA:
            return [datagram]
        counts["data"] += 1
        if counts["data"] % 10:
            return [datagram]
        counts["lost"] += 1
        return []

    messages = numbered(200)
    arrived = forwarded(programs, tmp_path, certificates, tenth, messages, 180)
    assert counts == {"data": 200, "lost": 20}
    assert arrived == [each for index, each in enumerate(messages, 1) if index % 10]


def test_a_receiver_that_stops_says_so_and_the_rest_waits(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    receiver = receiving_relay(programs, tmp_path, port, certificates)
    sender, own = sending_relay(programs, tmp_path, port, certificates)
    feed_lines(own, [b"<13>before"])
    wait_for_lines(arrived, 1)
    receiver.stop()
    wait_until(lambda: "the receiver ended the session" in sender.log(), "the end")
    feed_lines(own, [b"<13>meanwhile"])
    receiver.start()
    assert wait_for_lines(arrived, 2) == [b"<13>before", b"<13>meanwhile"]
    sender.stop()
    receiver.stop()


def test_a_new_session_finds_a_receiver_that_has_forgotten_the_old_one(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    receiver = receiving_relay(programs, tmp_path, port, certificates)
    sender, own = sending_relay(
        programs, tmp_path, port, certificates, session_seconds_max=2, connect_seconds_max=20
    )
    feed_lines(own, [b"<13>before"])
    wait_for_lines(arrived, 1)
    receiver.kill()
    receiver.start()

    def gets_through() -> bool:
        feed_lines(own, [b"<13>after"])
        return b"<13>after" in received(arrived)

    wait_until(gets_through, "a message in a new session")
    sender.stop()
    receiver.stop()


def test_a_receiver_that_was_killed_tells_its_senders_when_they_send(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    receiver = receiving_relay(programs, tmp_path, port, certificates)
    sender, own = sending_relay(
        programs, tmp_path, port, certificates, session_seconds_max=YEAR_SECONDS
    )
    with openssl_client(port, *client_arguments(certificates)) as client:
        feed_lines(own, [b"<13>before"])
        say(client, b"<13>openssl")
        wait_for_lines(arrived, 2)
        receiver.kill()
        receiver.start()

        def gets_through() -> bool:
            feed_lines(own, [b"<13>after"])
            return b"<13>after" in received(arrived)

        wait_until(gets_through, "a message in a new session")
        say(client, b"<13>lost")
        feed_lines(own, [b"<13>last"])
        wait_until(lambda: b"<13>last" in received(arrived), "the last message")
        assert client.poll() is None  # other senders ignore the alert
    assert "has no session with this relay" in sender.log()
    sender.stop()
    receiver.stop()


@pytest.mark.parametrize("accepted", [True, False])
def test_check_connect_shakes_hands(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles, accepted: bool
) -> None:
    port = free_port()
    keys = {} if accepted else {"server_name": "other.example.com"}
    receiver = receiving_relay(programs, tmp_path, port, certificates)
    checked = RelayProcess(
        tmp_path / "checked",
        sources={"in": listener(free_port(), certificates)},
        destinations={"up": upstream(port, certificates, **keys)},
    )
    program = str(Path(sys.executable).with_name("syslogrelay"))
    done = subprocess.run(
        [sys.executable, program, "check", "--connect", str(checked.config_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if accepted:
        assert "speaks DTLSv1.2" in done.stdout
    else:
        assert "expected other.example.com" in done.stdout
    receiver.stop()
