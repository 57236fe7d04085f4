from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay.model.parse_options import ParseOptions
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.sources.service import StreamSource
from relay.transport.http.inbound import HttpServerProtocol
from tests.certificate_files import make_certificate_files
from tests.configurations import build_source, new_source

LOCAL = "127.0.0.1"


def protocol_of(scheme: str = "http", **keys: Any) -> HttpServerProtocol:
    service = build_source(new_source("in", Url(scheme, host=LOCAL), **keys))
    assert isinstance(service, StreamSource)
    protocol = service._factory.buildProtocol(None)
    assert isinstance(protocol, HttpServerProtocol)
    return protocol


def test_its_keys_reach_the_protocol() -> None:
    http = protocol_of(body_bytes_max=2**20, request_seconds_max=7.5).http
    assert (http.body_bytes_max, http.request_seconds_max) == (2**20, 7.5)


def test_over_tls(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(certificate=files.server_certificate, private_key=files.server_key)
    service = build_source(new_source("in", Url("https", host=LOCAL), tls=tls))
    assert isinstance(service, StreamSource)
    assert service._factory.secure
    assert isinstance(service._wrap(service._factory)._inner, TLSMemoryBIOFactory)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"oversize": "split"}, "what is read by http cannot be split"),
        ({"body_bytes_max": 64 * 2**20, "unfinished_bytes_max": 2**20}, "change one of them"),
    ],
)
def test_problems(keys: dict[str, Any], problem: str) -> None:
    source = new_source("in", Url("http", host=LOCAL), **keys)
    assert problem in "".join(source.problems(lambda name: name, ()))


def test_there_is_one_encoding() -> None:
    source = new_source("in", Url("http", host=LOCAL), parse=ParseOptions(encoding="latin-1"))
    assert "UTF-8" in source.encoding_problem()
