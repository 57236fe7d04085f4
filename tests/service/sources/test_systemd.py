from __future__ import annotations

import os
import socket
import stat
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from relay.model.parse_options import ParseOptions
from relay.service.configuration.model import Url
from relay.service.kinds import KINDS
from relay.service.process.systemd import Systemd
from relay.service.refusal import StartRefused
from relay.service.sources.service import DatagramSource, StreamSource
from tests.configurations import build_source, new_source
from tests.threads import Reactor

FAR = 1_000_000  # no descriptor of the tests


def built(kind: int, scheme: str) -> Any:
    with socket.socket(socket.AF_INET, kind) as bound:
        bound.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            bound.listen()
        systemd = Systemd({bound.fileno(): "a"})
        return build_source(new_source("in", Url(scheme, inherited="a")), systemd=systemd)


@pytest.mark.parametrize(
    ("kind", "scheme", "found"),
    [
        (socket.SOCK_STREAM, "systemd", "tcp"),
        (socket.SOCK_DGRAM, "systemd", "udp"),
        (socket.SOCK_STREAM, "relp", "relp"),
        (socket.SOCK_STREAM, "relp+tls", "relp+tls"),
    ],
)
def test_the_socket_decides_what_the_configuration_leaves_open(
    kind: int, scheme: str, found: str
) -> None:
    assert built(kind, scheme).url == Url(found, inherited="a")


def test_relp_needs_a_stream() -> None:
    with pytest.raises(StartRefused, match=r"'relp' needs a stream socket.*write ListenStream="):
        built(socket.SOCK_DGRAM, "relp")


def test_what_is_no_socket() -> None:
    configuration = new_source("in", Url("systemd", inherited="a"))
    with pytest.raises(StartRefused, match="is not open"):
        build_source(configuration, systemd=Systemd({FAR: "a"}))


def test_every_kind_of_socket_that_systemd_can_pass_has_keys_here() -> None:
    """Or one of them would be lost when the socket turns out to be of that kind."""
    known = KINDS.source("systemd").keys.keys()
    for scheme in ("udp", "tcp", "unix", "unixgram"):
        assert KINDS.source(scheme).keys.keys() - {"socket_mode"} <= known


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_inherited_socket_is_used_as_it_is(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(str(path))
        if kind == socket.SOCK_STREAM:
            made.listen()
        path.chmod(0o620)
        systemd = Systemd({os.dup(made.fileno()): "log.socket"})
        configuration = new_source("in", Url("systemd", inherited="log.socket"))
        reactor = Reactor()
        service = build_source(configuration, reactor=reactor, systemd=systemd)
        service.startService()
        scheme = "unixgram" if kind == socket.SOCK_DGRAM else "unix"
        assert service.address == f"{scheme}://{path}"
        assert service.report()["listen"] == "systemd://log.socket"
        assert len(reactor.getReaders()) == 1
        service.stopService()
    assert stat.S_IMODE(path.stat().st_mode) == 0o620


def test_an_inherited_unix_socket_has_no_addresses_to_allow() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        systemd = Systemd({made.fileno(): "log"})
        configuration = new_source(
            "in", Url("systemd", inherited="log"), deny=(ip_network("10.0.0.0/8"),)
        )
        with pytest.raises(StartRefused, match="is a unix socket, where senders have no address"):
            build_source(configuration, systemd=systemd)


def test_an_inherited_unix_stream_has_no_proxies_either() -> None:
    """`allow` has to name proxies, and cannot here: the text says to remove both."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(b"\0syslogrelay-proxied-%d" % os.getpid())
        made.listen()
        configuration = new_source(
            "in",
            Url("systemd", inherited="log"),
            allow=(ip_network("10.0.0.0/8"),),
            proxy_protocol=True,
        )
        with pytest.raises(StartRefused, match=r"no address; remove allow and proxy_protocol$"):
            build_source(configuration, systemd=Systemd({made.fileno(): "log"}))


def test_an_abstract_socket_has_an_address_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(b"\0syslogrelay-test-%d" % os.getpid())
        systemd = Systemd({os.dup(made.fileno()): "log"})
        service = build_source(new_source("in", Url("systemd", inherited="log")), systemd=systemd)
        service.startService()
        assert service.address == f"unixgram://@syslogrelay-test-{os.getpid()}"
        service.stopService()


def test_an_inherited_socket_that_is_not_there() -> None:
    configuration = new_source("in", Url("systemd", inherited="log"))
    with pytest.raises(StartRefused, match=r"source in: cannot use systemd://log: .*only net"):
        build_source(configuration, systemd=Systemd({3: "net"}))


def test_an_inherited_udp_socket_has_no_proxies() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        configuration = new_source("in", Url("systemd", inherited="net"), proxy_protocol=True)
        with pytest.raises(StartRefused, match=r"is a UDP socket.*remove proxy_protocol"):
            build_source(configuration, systemd=Systemd({made.fileno(): "net"}))


def test_an_inherited_stream_is_refused_if_its_text_cannot_be_cut() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as inherited:
        inherited.bind(("127.0.0.1", 0))
        inherited.listen()
        systemd = Systemd({inherited.fileno(): "a"})
        configuration = new_source(
            "in", Url("systemd", inherited="a"), parse=ParseOptions(encoding="utf-16")
        )
        with pytest.raises(StartRefused, match=r"parse.encoding: 'utf-16' is no superset"):
            build_source(configuration, systemd=systemd)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_inherited_unix_socket_does_not_authorise_by_network(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(b"\0syslogrelay-network-%d" % os.getpid())
        if kind == socket.SOCK_STREAM:
            made.listen()
        systemd = Systemd({made.fileno(): "log"})
        configuration = new_source("in", Url("systemd", inherited="log"), authorise=("network",))
        with pytest.raises(StartRefused) as caught:
            build_source(configuration, systemd=systemd)
    assert caught.value.text == (
        "source in: systemd://log is a unix socket, where senders have no address; remove network "
        "from authorise"
    )


def test_an_inherited_udp_socket_may_authorise_by_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        configuration = new_source(
            "in",
            Url("systemd", inherited="net"),
            authorise=("network",),
            allow=(ip_network("10.0.0.0/8"),),
        )
        service = build_source(configuration, systemd=Systemd({made.fileno(): "net"}))
    assert isinstance(service, DatagramSource)


def test_an_inherited_stream_may_have_proxies() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        configuration = new_source(
            "in",
            Url("systemd", inherited="net"),
            proxy_protocol=True,
            allow=(ip_network("10.0.0.0/8"),),
        )
        service = build_source(configuration, systemd=Systemd({made.fileno(): "net"}))
    assert isinstance(service, StreamSource)
