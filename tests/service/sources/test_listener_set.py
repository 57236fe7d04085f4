from __future__ import annotations

from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from tests.certificate_files import make_certificate_files

TLS = """
certificate = "{0.server_certificate}"
private_key = "{0.server_key}"
trusted_ca = "{0.ca}"
"""


def opened(folder: Path, url: str, keys: str = "", *, fed: str = "") -> dict[str, str]:
    path = folder / "relay.toml"
    path.write_text(
        f'[sources.net]\nlisten = "{url}"\n{keys}\n[sources.other]\nlisten = "udp://:1"\n'
        f'[destinations.out]\nconnect = "tcp://far:514"\n{fed}'
    )
    configuration = read_configuration(str(path), KINDS)
    fed_by = configuration.destinations[0].sources
    assert set(fed_by) == {source.id for source in configuration.sources}
    assert len(fed_by) == len(set(fed_by))
    return {each.id: str(each.listen) for each in configuration.sources if each.id != "other"}


def test_what_syslog_ng_opens(tmp_path: Path) -> None:
    keys = TLS.format(make_certificate_files(tmp_path))
    assert opened(tmp_path, "default-network://", keys) == {
        "net.udp": "udp://:514",
        "net.tcp": "tcp://:514",
        "net.rfc5424-tcp": "tcp://:601",
        "net.rfc5424-tls": "tls://:6514",
    }


def test_what_sematext_offers(tmp_path: Path) -> None:
    keys = TLS.format(make_certificate_files(tmp_path))
    assert opened(tmp_path, "sematext-receiver://[::1]", keys) == {
        "net.udp": "udp://[::1]:514",
        "net.tcp": "tcp://[::1]:514",
        "net.tls": "tls://[::1]:10514",
        "net.relp": "relp://[::1]:20514",
    }


def test_ports_can_be_changed_and_left_out(tmp_path: Path) -> None:
    keys = "udp_port = 5514\ntcp_port = 0\nrfc5424_tls_port = 0"
    assert opened(tmp_path, "default-network://", keys) == {
        "net.udp": "udp://:5514",
        "net.rfc5424-tcp": "tcp://:601",
    }


def test_nothing_left_to_open(tmp_path: Path) -> None:
    keys = "udp_port = 0\ntcp_port = 0\ntls_port = 0\nrelp_port = 0"
    with pytest.raises(
        ConfigurationError, match="every port of sematext-receiver is 0; open at least one of udp_"
    ):
        opened(tmp_path, "sematext-receiver://", keys)


def test_each_port_key_belongs_to_a_set() -> None:
    default_network, sematext = KINDS.sets
    ports = ("udp_port", "tcp_port", "rfc5424_tcp_port", "rfc5424_tls_port")
    assert [key for key in default_network.keys if key.endswith("_port")] == [*ports]
    ports = ("udp_port", "tcp_port", "tls_port", "relp_port")
    assert [key for key in sematext.keys if key.endswith("_port")] == [*ports]


def test_tls_needs_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path, "default-network://")
    (problem,) = [each for each in caught.value.problems if ".certificate: " in each]
    assert problem.endswith(
        "sources.net.certificate: is missing; the TLS listener on port 6514 needs certificate and "
        "private_key: give both, or write rfc5424_tls_port = 0 to leave it out"
    )
    assert opened(tmp_path, "default-network://", "rfc5424_tls_port = 0")


def test_a_set_stands_for_its_members(tmp_path: Path) -> None:
    keys = "rfc5424_tls_port = 0\nrfc5424_tcp_port = 0"
    fed = 'sources = ["other", "net", "net.tcp"]'
    assert list(opened(tmp_path, "default-network://", keys, fed=fed)) == ["net.udp", "net.tcp"]
