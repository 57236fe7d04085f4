from __future__ import annotations

import pytest

from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.sources.listener_set import (
    PORT_KEYS,
    SET_SCHEMES,
    missing_certificate,
    opened_members,
    schemes_of,
    with_members,
)


def opened(scheme: str, host: str = "", **ports: int) -> dict[str, str]:
    return {
        name: str(url) for name, (_, url) in opened_members(Url(scheme, host=host), ports).items()
    }


def test_what_syslog_ng_opens() -> None:
    assert opened("default-network") == {
        "udp": "udp://:514",
        "tcp": "tcp://:514",
        "rfc5424-tcp": "tcp://:601",
        "rfc5424-tls": "tls://:6514",
    }


def test_what_sematext_offers() -> None:
    assert opened("sematext-receiver", "::1") == {
        "udp": "udp://[::1]:514",
        "tcp": "tcp://[::1]:514",
        "tls": "tls://[::1]:10514",
        "relp": "relp://[::1]:20514",
    }


def test_ports_can_be_changed_and_left_out() -> None:
    assert opened("default-network", udp_port=5514, tcp_port=0, rfc5424_tls_port=0) == {
        "udp": "udp://:5514",
        "rfc5424-tcp": "tcp://:601",
    }


def test_the_port_keys_are_taken_out_of_the_table() -> None:
    table = {"udp_port": 1, "connections_max": 5}
    opened_members(Url("default-network"), table)
    assert table == {"connections_max": 5}


def test_nothing_left_to_open() -> None:
    with pytest.raises(ValueError, match="every port of sematext-receiver is 0; open at least one"):
        opened("sematext-receiver", udp_port=0, tcp_port=0, tls_port=0, relp_port=0)


def test_each_port_key_belongs_to_a_set() -> None:
    assert PORT_KEYS == {
        "udp_port": SET_SCHEMES,
        "tcp_port": SET_SCHEMES,
        "rfc5424_tcp_port": ("default-network",),
        "rfc5424_tls_port": ("default-network",),
        "tls_port": ("sematext-receiver",),
        "relp_port": ("sematext-receiver",),
    }


def test_what_a_source_listens_with() -> None:
    assert schemes_of("tcp") == ("tcp",)
    assert set(schemes_of("sematext-receiver")) == {*SET_SCHEMES[1:], "udp", "tcp", "tls", "relp"}


def test_tls_needs_a_certificate() -> None:
    members = opened_members(Url("default-network"), {})
    assert missing_certificate(members, TlsConfiguration()) == [
        "is missing; the TLS listener on port 6514 needs certificate and private_key: give both, "
        "or write rfc5424_tls_port = 0 to leave it out"
    ]
    assert missing_certificate(members, TlsConfiguration(certificate="x")) == []
    without = opened_members(Url("default-network"), {"rfc5424_tls_port": 0})
    assert missing_certificate(without, TlsConfiguration()) == []


def test_a_set_stands_for_its_members() -> None:
    members = {"net": ("net.udp", "net.tcp")}
    assert with_members(("a", "net", "net.tcp"), members) == ("a", "net.udp", "net.tcp")
