from __future__ import annotations

from collections.abc import Iterable

import pytest

from relay.service.configuration.url import Role
from relay.service.kinds import KINDS


def foreign(keys: Iterable[str], scheme: str, path: str) -> list[str]:
    role: Role = "connect" if path.startswith("destinations") else "listen"
    table = {role: f"{scheme}://", **dict.fromkeys(keys, 1)}
    return list(KINDS.foreign_keys(table, role, path))


@pytest.mark.parametrize("scheme", ["tcp", "tls", "relp", "relp+tls", "systemd", "default-network"])
def test_how_long_to_wait_for_a_proxy_can_be_said_where_there_may_be_one(scheme: str) -> None:
    table = {"proxy_protocol": True, "handshake_seconds_max": 5}
    assert foreign(table, scheme, "sources.a") == []


@pytest.mark.parametrize("scheme", ["udp", "unixgram", "unix"])
def test_where_nothing_is_opened_there_is_no_handshake(scheme: str) -> None:
    assert len(foreign({"handshake_seconds_max": 5}, scheme, "sources.a")) == 1


def test_a_set_of_listeners_takes_the_keys_of_its_members_and_its_own() -> None:
    table = {"udp_port": 1, "allow": (), "trusted_ca": "x", "connections_max": 5}
    assert foreign(table, "default-network", "sources.a") == []
    assert foreign({"relp_port": 1, "socket_mode": 0}, "default-network", "s.a") == [
        "s.a.relp_port: has no meaning for default-network, only for sematext-receiver; remove it "
        "or change the URL",
        "s.a.socket_mode: has no meaning for default-network, only for unixgram and unix and "
        "system; remove it or change the URL",
    ]


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_local_sockets_have_no_addresses_to_allow(scheme: str) -> None:
    table = {"allow": (), "deny": (), "rate_per_peer_max": 1, "connections_per_peer_max": 1}
    assert len(foreign(table, scheme, "s.a")) == 4


def test_only_the_journal_is_selected_from() -> None:
    table = {"matches": (), "read_from": "end", "fields": (), "oversize": "drop"}
    assert foreign(table, "journald", "s.a") == []
    assert len(foreign(table, "udp", "s.a")) == 3
    table = dict.fromkeys(("allow", "connections_max", "socket_mode", "receive_buffer_bytes"), 1)
    assert len(foreign({**table, "certificate": ""}, "journald", "s.a")) == 5


def test_a_key_without_meaning_for_the_scheme_is_a_problem() -> None:
    table = {"window_records": 5, "framing": "newline", "retry_seconds_max": 1, "trusted_ca": "x"}
    assert foreign(table, "tcp", "destinations.a") == [
        "destinations.a.window_records: has no meaning for tcp, only for relp and relp+tls and "
        "sematext; remove it or change the URL",
        "destinations.a.trusted_ca: has no meaning for tcp, only for dtls and tls and "
        "relp+tls and sematext and https and nats+tls and kafka+tls; remove it or change the URL",
    ]


@pytest.mark.parametrize(
    ("role", "values", "fit", "do_not"),
    [
        ("listen", {"listen": "udp://:514"}, "receive_buffer_bytes", "certificate"),
        ("listen", {"listen": "TLS://:514"}, "certificate", "socket_mode"),
        ("listen", {"listen": "file:///a"}, "multi_line", "allow"),
        ("listen", {"listen": "default-network://"}, "certificate", "relp_port"),
        ("listen", {"listen": "systemd://a", "protocol": "tls"}, "certificate", "udp_port"),
        ("connect", {"connect": "file:///a"}, "format", "window_records"),
    ],
)
def test_only_keys_that_fit_the_scheme_are_suggested(
    role: Role, values: dict[str, object], fit: str, do_not: str
) -> None:
    keys = KINDS.fitting_keys(role, KINDS.named_in(values, role))
    assert fit in keys
    assert do_not not in keys
    unknown = {**values, "listen": "nope:", "connect": 5}
    assert KINDS.named_in(unknown, role) is None
    assert {fit, do_not} <= set(KINDS.fitting_keys(role, None))
