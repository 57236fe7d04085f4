from __future__ import annotations

from typing import Any

import pytest

from relay.model.parse_options import ParseOptions
from relay.queue.ledger import Ledger
from relay.service.configuration.model import Url
from relay.service.kinds import KINDS
from relay.service.sources.service import StreamSource
from tests.configurations import build_source, new_source


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_source_tells_its_service_what_it_reports(scheme: str) -> None:
    ledger: Any = Ledger()
    service = build_source(
        new_source("in", Url(scheme, host="127.0.0.1")), quarantine=lambda: ledger
    )
    assert (service.id, service.url) == ("in", Url(scheme, host="127.0.0.1"))
    assert service.report()["quarantine"]["records"] == 0
    if isinstance(service, StreamSource):
        assert service.counters is service._factory.counters


@pytest.mark.parametrize(
    ("encoding", "schemes"),
    [
        ("ISO-8859-1", {"udp", "unixgram", "relp", "relp+tls", "systemd", "tcp", "unix", "file"}),
        ("utf-16le", {"udp", "unixgram", "relp", "relp+tls", "systemd", "file"}),
        ("cp037", {"udp", "unixgram", "relp", "relp+tls", "systemd", "file"}),
        ("iso2022_jp", {"udp", "unixgram", "relp", "relp+tls", "systemd", "file"}),
        ("unicode_escape", {"udp", "unixgram", "relp", "relp+tls", "systemd"}),
    ],
)
def test_which_sources_take_text_in_an_encoding(encoding: str, schemes: set[str]) -> None:
    parse = ParseOptions(encoding=encoding)
    problems = {
        kind.scheme: new_source("in", Url(kind.scheme), parse=parse).encoding_problem()
        for kind in KINDS.sources
    }
    taken = {scheme for scheme, problem in problems.items() if not problem}
    others = {"dtls", "tls", "pipe", "program"}  # as tcp
    logs = {"kafka", "kafka+tls", "nats", "nats+tls"}  # records have their limits
    assert taken - others == schemes | logs
    assert taken & others == (others if "tcp" in taken else set())
    assert "has no meaning" in problems["journald"]
    assert "has no meaning" in problems["internal"]
