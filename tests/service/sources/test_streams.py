from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay import __version__
from relay.model.origin import Origin, Transport
from relay.model.parse_options import ParseOptions
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.sources.service import SourceService, StreamSource
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.stream.connection import InboundFactory
from relay.transport.stream.inbound import SyslogStreamProtocol
from relay.transport.stream.shared_reads import SharedReads
from tests.certificate_files import make_certificate_files
from tests.configurations import build_source, new_source
from tests.connections import RecordingNotices


def factory_of(service: SourceService) -> InboundFactory:
    assert isinstance(service, StreamSource)
    return service._factory


@pytest.mark.parametrize(
    ("scheme", "protocol"), [("tls", SyslogStreamProtocol), ("relp+tls", RelpServerProtocol)]
)
def test_connections_over_tls(scheme: str, protocol: type, tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    service = build_source(new_source("in", Url(scheme, host="127.0.0.1"), tls=tls))
    factory = factory_of(service)
    assert factory.secure
    assert isinstance(factory.buildProtocol(None), protocol)
    assert isinstance(service, StreamSource)
    wrapped = service._wrap(factory)._inner
    assert isinstance(wrapped, TLSMemoryBIOFactory)
    assert wrapped.wrappedFactory is factory


@pytest.mark.parametrize(
    ("url", "seconds"), [(Url("unix", path="/run/x"), 2.5), (Url("tcp", host="127.0.0.1"), 0.0)]
)
def test_only_local_programs_are_not_blocked_for_long(url: Url, seconds: float) -> None:
    limits = factory_of(build_source(new_source("in", url), local_block_seconds_max=2.5)).limits
    assert limits.block_seconds_max == seconds


def test_unless_it_is_given_more_a_source_is_plain() -> None:
    bare = build_source(new_source("in", Url("unix", path="/x")))
    factory = factory_of(bare)
    assert factory.limits.block_seconds_max == 0.0
    assert bare.report()["quarantine"] is None


@pytest.mark.parametrize("scheme", ["tcp", "relp"])
def test_connections_belong_to_their_source(scheme: str) -> None:
    lineages: Any = object()
    service = build_source(
        new_source("in", Url(scheme, host="127.0.0.1"), parse=ParseOptions(empty_lines=True)),
        lineages=lineages,
    )
    factory = factory_of(service)
    assert isinstance(factory.reads, SharedReads)
    assert factory.reads._answers is (scheme == "relp")
    assert factory._origin == Origin("in", Transport.TCP)
    assert factory.limits.keep_empty_lines is True
    assert isinstance(service, StreamSource)
    assert factory.clock is service._reactor
    assert factory.admission is not None
    assert isinstance(factory.reception.notices, RecordingNotices)
    protocol: Any = factory.buildProtocol(None)
    if scheme == "relp":
        assert protocol._software == b"syslogrelay," + __version__.encode()
        assert protocol._lineages is lineages
