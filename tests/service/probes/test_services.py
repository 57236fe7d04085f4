from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import dns
from twisted.names.error import DNSNameError

from relay.model.errors import UpstreamError
from relay.service.probes import services
from relay.service.probes.services import servers_of

NAME = "_syslog._tcp.example.com"


class Zone:
    """Answers some names, and none while it is silent."""

    def __init__(self, *, is_silent: bool = False) -> None:
        self._is_silent = is_silent

    def lookupService(self, name: str, timeout: object) -> Deferred[Any]:
        if self._is_silent:
            return Deferred()
        if name != NAME:
            return fail(DNSNameError())
        ranks = ((2, 20516, b"b.example.com"), (1, 20515, b"a.example.com"))
        servers = [dns.Record_SRV(priority, 0, port, host) for priority, port, host in ranks]
        return succeed(
            ([dns.RRHeader(name, type=dns.SRV, payload=each) for each in servers], [], [])
        )

    def lookupAddress(self, name: str, timeout: object) -> Deferred[Any]:
        address = {"a.example.com": "192.0.2.1", "b.example.com": "192.0.2.2"}[name]
        return succeed(([dns.RRHeader(name, payload=dns.Record_A(address))], [], []))

    def lookupIPV6Address(self, name: str, timeout: object) -> Deferred[Any]:
        return succeed(([], [], []))


def test_the_servers_of_all_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "new_dns", lambda reactor: Zone())
    assert servers_of(NAME, 5.0) == (("192.0.2.1", 20515), ("192.0.2.2", 20516))
    with pytest.raises(UpstreamError, match="name no server"):
        servers_of("_syslog._tcp.example.org", 5.0)


def test_a_name_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "new_dns", lambda reactor: Zone(is_silent=True))
    with pytest.raises(UpstreamError, match="no answer from DNS for _syslog"):
        servers_of(NAME, 0.0)
