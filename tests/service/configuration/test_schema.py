from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import pytest

from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    TlsConfiguration,
    Url,
)
from relay.service.configuration.schema import (
    DESTINATION,
    ID,
    RELAY,
    SOURCE,
    TLS,
    fitting_keys,
    foreign_keys,
)
from relay.service.configuration.table import Kind
from relay.service.sources.listener_set import PORT_KEYS


def names(value_type: type) -> set[str]:
    return {field.name for field in fields(value_type)}


def test_every_field_of_the_configuration_has_a_key_and_every_key_a_field() -> None:
    assert set(RELAY) == names(Configuration) - {
        *("sources", "destinations", "apps", "tests", "path", "warnings")
    }
    assert set(TLS) == names(TlsConfiguration)
    assert set(SOURCE) == names(SourceConfiguration) - {"id", "tls"} | (
        set(TLS) - {"server_name"} | {"protocol"} | set(PORT_KEYS)
    )
    assert set(DESTINATION) == names(DestinationConfiguration) - {"id", "tls"} | (
        set(TLS) - {"peer_names"} | {"template"}
    )


def test_defaults_are_in_their_ranges() -> None:
    source = SourceConfiguration("a", Url("udp"))
    destination = DestinationConfiguration("a", Url("relp"), sources=("a",))
    relay = Configuration("a", "/a")
    for value, schema in ((source, SOURCE), (destination, DESTINATION), (relay, RELAY)):
        for field in fields(value):
            if field.name.endswith(("_max", "_min", "_bytes", "_records", "_seconds", "_mode")):
                default = getattr(value, field.name)
                if default is not None:
                    schema[field.name].read(default)


@pytest.mark.parametrize("scheme", ["tcp", "tls", "relp", "relp+tls", "systemd", "default-network"])
def test_how_long_to_wait_for_a_proxy_can_be_said_where_there_may_be_one(scheme: str) -> None:
    table = {"proxy_protocol": True, "handshake_seconds_max": 5}
    assert foreign_keys(table, Url(scheme), "sources.a") == []


@pytest.mark.parametrize("scheme", ["udp", "unixgram", "unix"])
def test_where_nothing_is_opened_there_is_no_handshake(scheme: str) -> None:
    assert len(foreign_keys({"handshake_seconds_max": 5}, Url(scheme), "sources.a")) == 1


@pytest.mark.parametrize("id", ["a", "A1", "0", "web-1.example_x", "x" * 63])
def test_good_ids(id: str) -> None:
    assert ID.read(id) == id


@pytest.mark.parametrize("id", ["", "-a", ".a", "a b", "ä", "a/b", "x" * 64, "a\n"])
def test_bad_ids(id: str) -> None:
    with pytest.raises(ValueError, match="at most 63 ASCII letters, digits"):
        ID.read(id)


def test_a_set_of_listeners_takes_the_keys_of_its_members_and_its_own() -> None:
    table = {"udp_port": 1, "allow": (), "trusted_ca": "x", "connections_max": 5}
    assert foreign_keys(table, Url("default-network"), "sources.a") == []
    assert foreign_keys({"relp_port": 1, "socket_mode": 0}, Url("default-network"), "s.a") == [
        "s.a.relp_port: has no meaning for default-network, only for sematext-receiver; remove it "
        "or change the URL",
        "s.a.socket_mode: has no meaning for default-network, only for unixgram and unix; remove "
        "it or change the URL",
    ]


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_local_sockets_have_no_addresses_to_allow(scheme: str) -> None:
    table = {"allow": (), "deny": (), "rate_per_peer_max": 1, "connections_per_peer_max": 1}
    assert len(foreign_keys(table, Url(scheme, path="/x"), "s.a")) == 4


def test_only_the_journal_is_selected_from() -> None:
    table = {"matches": (), "read_from": "end", "fields": (), "oversize": "drop"}
    assert foreign_keys(table, Url("journald"), "s.a") == []
    assert len(foreign_keys(table, Url("udp", "h", 1), "s.a")) == 3
    table = dict.fromkeys(("allow", "connections_max", "socket_mode", "receive_buffer_bytes"), 1)
    assert len(foreign_keys({**table, "certificate": ""}, Url("journald"), "s.a")) == 5


def test_a_key_without_meaning_for_the_scheme_is_a_problem() -> None:
    table = {"window_records": 5, "framing": "newline", "retry_seconds_max": 1, "trusted_ca": "x"}
    assert foreign_keys(table, Url("tcp", "h", 1), "destinations.a") == [
        "destinations.a.window_records: has no meaning for tcp, only for relp and relp+tls; "
        "remove it or change the URL",
        "destinations.a.trusted_ca: has no meaning for tcp, only for tls and relp+tls; "
        "remove it or change the URL",
    ]


@pytest.mark.parametrize("scheme", ["file", "journald"])
def test_what_is_read_locally_is_not_split(scheme: str) -> None:
    problems = foreign_keys({"oversize": "split"}, Url(scheme), "sources.a")
    assert problems == [
        f"sources.a.oversize: what is read by {scheme} cannot be split; write "
        "'truncate', 'drop' or 'quarantine'"
    ]
    assert foreign_keys({"oversize": "quarantine"}, Url(scheme), "sources.a") == []
    assert foreign_keys({"oversize": "split"}, Url("tcp"), "sources.a") == []


@pytest.mark.parametrize(
    ("schema", "values", "fit", "do_not"),
    [
        (SOURCE, {"listen": "udp://:514"}, "receive_buffer_bytes", "certificate"),
        (SOURCE, {"listen": "TLS://:514"}, "certificate", "socket_mode"),
        (SOURCE, {"listen": "file:///a"}, "multi_line", "allow"),
        (SOURCE, {"listen": "default-network://"}, "certificate", "relp_port"),
        (SOURCE, {"listen": "systemd://a", "protocol": "tls"}, "certificate", "udp_port"),
        (DESTINATION, {"connect": "file:///a"}, "format", "window_records"),
    ],
)
def test_only_keys_that_fit_the_scheme_are_suggested(
    schema: Mapping[str, Kind], values: dict[str, object], fit: str, do_not: str
) -> None:
    keys = fitting_keys(schema, values)
    assert fit in keys
    assert do_not not in keys
    assert fitting_keys(schema, {}) == list(schema)
    assert fitting_keys(schema, {**values, "listen": "nope:", "connect": 5}) == list(schema)
