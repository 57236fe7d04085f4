from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from relay.service.configuration.model import DtlsConfiguration, Url
from relay.service.probes.dtls import probe_dtls
from relay.service.probes.probe import Probe
from relay.transport.datagram.dtls_session import DtlsSession
from tests.dtls import material, new_listener


@contextmanager
def server() -> Iterator[int]:
    """The port of a server that takes one client, and its end of the session."""
    listener = new_listener(Clock(), peer_verify="none")
    listener.asking = b"client"
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    bound.settimeout(20)

    def serve() -> None:
        datagram, address = bound.recvfrom(65535)
        bound.connect(address)
        session = DtlsSession(listener.serverConnectionForTLS, clock=Clock(), send=bound.send)
        while not session.listen(datagram):
            datagram = bound.recv(65535)
        while not session.is_over:
            session.feed(bound.recv(65535))

    thread = threading.Thread(target=serve)
    thread.start()
    with bound:
        yield bound.getsockname()[1]
        thread.join()


def keys(folder: Path, **values: str) -> DtlsConfiguration:
    path = folder / "ca.pem"
    path.write_bytes(material("server").trusted_ca_pem)
    return DtlsConfiguration(trusted_ca=str(path), **values)


def probed(port: int, tls: DtlsConfiguration, seconds_max: float = 20) -> Probe:
    probe = Probe("up", seconds_max)
    probe_dtls(probe, Url("dtls", host="127.0.0.1", port=port), tls)
    return probe


def test_a_handshake_is_made_and_ended(tmp_path: Path) -> None:
    with server() as port:
        probe = probed(port, keys(tmp_path))
    assert f"127.0.0.1:{port} speaks DTLSv1.2 (" in probe.findings[0].text
    assert {each.fault for each in probe.findings} == {"", "tls-expires-soon"}


def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    with server() as port:
        probe = probed(port, keys(tmp_path, server_name="other.example.com"))
    assert [each.fault for each in probe.findings] == ["tls-wrong-name"]


def test_a_port_where_nobody_listens_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    probe = probed(port, keys(tmp_path))
    assert [each.fault for each in probe.findings] == ["dtls-refused"]


def test_a_port_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        probe = probed(silent.getsockname()[1], keys(tmp_path), seconds_max=0.1)
    assert [each.fault for each in probe.findings] == ["dtls-no-answer"]


def test_no_handshake_is_tried_without_the_files(tmp_path: Path) -> None:
    tls = DtlsConfiguration(trusted_ca=str(tmp_path / "nowhere.pem"))
    assert probed(9, tls).findings == []


@pytest.mark.parametrize(("bind", "fault"), [("192.0.2.1", "bind-unknown"), ("::1", "bind-family")])
def test_an_address_of_this_host_that_does_not_fit(tmp_path: Path, bind: str, fault: str) -> None:
    probe = Probe("up", 1)
    probe_dtls(probe, Url("dtls", host="127.0.0.1", port=9), keys(tmp_path), bind=bind)
    assert [each.fault for each in probe.findings if each.step != "certificate"] == [fault]
