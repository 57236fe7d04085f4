from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.service.configuration.model import Url
from relay.service.probes import listener
from relay.service.probes.listener import (
    probe_datagram_port,
    probe_stream_port,
    probe_unix_socket,
)
from relay.service.probes.probe import Probe

TCP = Url("tcp", host="127.0.0.1", port=514)
UDP = Url("udp", host="127.0.0.1", port=514)


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


def failing(number: int) -> Callable[..., socket.socket]:
    def bind(*_: object, **__: object) -> socket.socket:
        raise OSError(number, os.strerror(number))

    return bind


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.EADDRINUSE, "port-taken"),
        (errno.EACCES, "port-privileged"),
        (errno.EADDRNOTAVAIL, "address-unknown"),
        (errno.ENOBUFS, "port-unusable"),
    ],
)
def test_a_port_that_cannot_be_bound(
    monkeypatch: pytest.MonkeyPatch, number: int, fault: str
) -> None:
    monkeypatch.setattr(listener, "bind_stream", failing(number))
    monkeypatch.setattr(listener, "bind_datagram", failing(number))
    probe = Probe("source", 1)
    probe_stream_port(probe, TCP, None)
    probe_datagram_port(probe, UDP, buffer_bytes=4096)
    assert faults(probe) == [fault, fault]


def test_who_holds_a_port() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        url = Url("tcp", host="127.0.0.1", port=held.getsockname()[1])
        stranger, own = Probe("source", 1), Probe("source", 1, relay_pid=os.getpid())
        probe_stream_port(stranger, url, None)
        probe_stream_port(own, url, None)
    assert faults(stranger) == ["port-taken"]
    assert f"(process {os.getpid()})" in stranger.findings[0].text
    assert faults(own) == ["port"]


def test_the_holder_closes_another_descriptor_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What /proc lists may be gone when its link is read."""
    gone, readlink = set[str](), os.readlink

    def first_is_gone(path: str) -> str:
        folder = os.path.dirname(path)
        if folder in gone:
            return readlink(path)
        gone.add(folder)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(os, "readlink", first_is_gone)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        probe = Probe("source", 1)
        probe_stream_port(probe, Url("tcp", host="127.0.0.1", port=held.getsockname()[1]), None)
    assert f"(process {os.getpid()})" in probe.findings[0].text


def test_a_buffer_that_is_not_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "receive_buffer_bytes", lambda bound: 4096)
    probe = Probe("source", 1)
    probe_datagram_port(probe, Url("udp", host="127.0.0.1"), buffer_bytes=4096)
    probe_datagram_port(probe, Url("udp", host="127.0.0.1"), buffer_bytes=8192)
    assert faults(probe) == ["port", "buffer", "port", "buffer-not-granted"]
    assert "net.core.rmem_max=8192" in probe.findings[-1].remedy


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "log"
    url = Url("unixgram", path=str(path))
    probe = Probe("source", 1)
    probe_unix_socket(probe, url)
    path.write_text("")
    probe_unix_socket(probe, url)
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        held.bind(str(path))
        probe_unix_socket(probe, url)
    probe_unix_socket(probe, url)  # nobody is there any more
    assert faults(probe) == ["path", "path-taken", "port-taken", "path"]
    assert f"(process {os.getpid()})" in probe.findings[2].text


def test_a_running_relay_may_hide_that_it_holds_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_holders", lambda inodes: {})
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(path))
        for pid, fault in ((0, "port-taken"), (7, "port-holder-hidden")):
            probe = Probe("source", 1, relay_pid=pid)
            probe_unix_socket(probe, Url("unixgram", path=str(path)))
            assert faults(probe) == [fault]


def test_a_low_port_that_the_running_relay_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "bind_stream", failing(errno.EACCES))
    monkeypatch.setattr(listener, "_inet_inodes", lambda kind, port: ["1"])
    monkeypatch.setattr(listener, "_holders", lambda inodes: {})
    for pid, fault in ((0, "port-privileged"), (7, "port-holder-hidden")):
        probe = Probe("source", 1, relay_pid=pid)
        probe_stream_port(probe, TCP, None)
        assert faults(probe) == [fault]
