"""Attacks on listeners: good senders have their answers, and nothing is left behind.

One relay for the whole module.  What was measured is printed (``pytest -rP``).
"""

from __future__ import annotations

import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.certificate_files import CertificateFiles
from tests.end_to_end.siege import Besieged
from tests.plain_senders import feed_stream
from tests.processes import running_programs, wait_until
from tests.relp_sender import RelpSender

LORIS, LORIS_ROUNDS = 200, 6
FLOOD, CONNECTIONS_MAX = 2000, 500
HALF_OPEN = 100
HANDSHAKE_SECONDS_MAX = 2.0
DEAF_BYTES_MAX = 64 * 2**20
FLOOD_BYTES = 50 * 10**6
OPEN = b"1 open 30 relp_version=0\ncommands=syslog\n"


@pytest.fixture(scope="module")
def besieged(
    tmp_path_factory: pytest.TempPathFactory, certificates: CertificateFiles
) -> Iterator[Besieged]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 20000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, 20000)), hard))
    limited = {"handshake_seconds_max": HANDSHAKE_SECONDS_MAX}
    sources = {
        "loris-tcp": {"scheme": "tcp"},
        "loris-relp": {"scheme": "relp", **limited},
        "flood": {
            "scheme": "relp",
            "connections_max": CONNECTIONS_MAX,
            "connections_per_peer_max": 0,
        },
        "tls": {"scheme": "tls", **limited},
        "relp-tls": {"scheme": "relp+tls", **limited},
        "relp": {"scheme": "relp", **limited},
        "deaf": {"scheme": "relp"},
        "much": {"scheme": "tcp"},
    }
    with running_programs() as programs:
        yield (
            target := Besieged(programs, tmp_path_factory.mktemp("siege"), certificates, sources)
        )
        target.relay.stop()


def connect(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))


def is_closed_by_relay(connection: socket.socket, seconds_max: float) -> bool:
    """Read until the relay hangs up."""
    connection.settimeout(seconds_max)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_slow_loris(besieged: Besieged) -> None:
    message = b"<13>1 - slow loris - - - one octet a second"
    plain, opening = b"%d %s" % (len(message), message), OPEN
    pace = threading.Event()  # of the attack; nothing waits for it to be over
    with besieged.good_sender("slow loris"), ExitStack() as stack:
        tcp = [connect(stack, besieged.ports["loris-tcp"]) for _ in range(LORIS // 2)]
        relp = [connect(stack, besieged.ports["loris-relp"]) for _ in range(LORIS // 2)]
        for number in range(LORIS_ROUNDS):
            for connection, stream in [(one, plain) for one in tcp] + [
                (one, opening) for one in relp
            ]:
                try:
                    connection.send(stream[number : number + 1])
                except OSError:
                    assert connection in relp, "a slow sender of plain syslog does nothing wrong"
            pace.wait(1.0)
        assert all(is_closed_by_relay(connection, 1.0) for connection in relp)
        report = besieged.report("loris-relp")
        assert report["protocol_errors"] == LORIS // 2
        assert report["connections_open"] == 0
        assert besieged.report("loris-tcp")["connections_open"] == LORIS // 2
        for connection in tcp:
            connection.sendall(plain[LORIS_ROUNDS:])
        wait_until(
            lambda: besieged.report("loris-tcp")["stored_records"] == LORIS // 2,
            "what the slow senders have sent",
        )


def test_connection_flood(besieged: Besieged) -> None:
    with besieged.good_sender("connection flood", "flood"), ExitStack() as stack:
        for _ in range(FLOOD):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", besieged.ports["flood"]))

        def all_seen() -> bool:
            report = besieged.report("flood")
            seen: int = report["connections_accepted"] + report["connections_refused"]
            return seen == FLOOD + 1

        wait_until(all_seen, "all connections are accepted or refused", 30)
        report = besieged.report("flood")
        assert report["connections_accepted"] == report["connections_open"] == CONNECTIONS_MAX
        assert report["connections_refused"] == FLOOD + 1 - CONNECTIONS_MAX
    wait_until(lambda: besieged.report("flood")["connections_open"] == 0, "the flood is over", 30)
    with RelpSender(besieged.ports["flood"]) as sender:  # there is room again
        sender.send([b"<13>1 - web-1 good - - - after the flood"])
        sender.close()


def half_a_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()[:100]


@pytest.mark.parametrize("source", ["tls", "relp-tls", "relp"])
def test_half_open(besieged: Besieged, source: str) -> None:
    start = OPEN[:10] if source == "relp" else half_a_hello()
    with besieged.good_sender(f"half-open {source}"), ExitStack() as stack:
        began = time.monotonic()
        connections = [connect(stack, besieged.ports[source]) for _ in range(HALF_OPEN)]
        for connection in connections[::2]:
            connection.sendall(start)
        assert all(
            is_closed_by_relay(connection, HANDSHAKE_SECONDS_MAX + 3) for connection in connections
        )
        assert time.monotonic() - began >= HANDSHAKE_SECONDS_MAX - 0.1, "closed too early"
        report = besieged.report(source)
        assert report["protocol_errors"] == HALF_OPEN
        assert report["connections_open"] == 0


def test_a_tls_session_without_relp(besieged: Besieged, certificates: CertificateFiles) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    before = besieged.report("relp-tls")["protocol_errors"]
    with besieged.good_sender("RELP over TLS without open"), ExitStack() as stack:
        for _ in range(10):
            raw = connect(stack, besieged.ports["relp-tls"])
            stack.enter_context(context.wrap_socket(raw, server_hostname="127.0.0.1"))
        wait_until(
            lambda: besieged.report("relp-tls")["connections_open"] == 0,
            "all closed",
            HANDSHAKE_SECONDS_MAX + 5,
        )
        assert besieged.report("relp-tls")["protocol_errors"] == before + 10


def test_a_relp_client_that_never_reads(besieged: Besieged) -> None:
    """The relay stops reading from it when it does not take its answers."""
    with besieged.good_sender("deaf RELP client"), socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", besieged.ports["deaf"]))
        deaf.settimeout(1.5)
        deaf.sendall(OPEN)
        sent, txnr = 0, 2
        try:
            while sent < DEAF_BYTES_MAX:
                frames = b"".join(b"%d syslog 1 x\n" % number for number in range(txnr, txnr + 500))
                deaf.sendall(frames)
                sent += len(frames)
                txnr += 500
        except TimeoutError:
            pass
        print(f"deaf RELP client: blocked after {sent:,} octets")
        assert sent < DEAF_BYTES_MAX, "the relay goes on reading"
        assert besieged.report("deaf")["connections_open"] == 1
    wait_until(lambda: besieged.report("deaf")["connections_open"] == 0, "the client is gone")
    report = besieged.report("deaf")
    assert report["received_records"] == report["stored_records"]


def test_fifty_megabytes_on_one_connection(besieged: Besieged) -> None:
    message = b"<13>1 - web-1 much - - - " + b"x" * 1000
    count = FLOOD_BYTES // len(message)
    with besieged.good_sender("50 MB on one connection"):
        feed_stream(besieged.ports["much"], [message] * count)
        wait_until(
            lambda: besieged.report("much")["stored_records"] == count, "all of it is stored", 40
        )
        report = besieged.report("much")
        assert report["received_records"] == count
        assert not report["dropped_records"]
