"""Events over HTTP: bulk requests, Splunk's collector, OpenTelemetry, JSON and lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from relay.service.configuration.keys import group, key
from relay.service.configuration.model import KiB, MiB, TlsConfiguration, Where, frame_bytes_key
from relay.service.configuration.table import Seconds, Size, size_text
from relay.service.configuration.url import HostPort
from relay.service.probes.listener import probe_stream_port
from relay.service.probes.probe import Probe
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    LISTENER_TLS_WITHOUT,
    NetworkSource,
    new_stream_source,
    split_problems,
)
from relay.service.sources.service import Receiving, StreamSource
from relay.transport.http.inbound import HttpLimits, HttpServerProtocol


@dataclass(frozen=True, slots=True)
class HttpSource(NetworkSource):
    # A frame with its pairs is JSON, and cut JSON is no JSON.
    frame_bytes_max: int = frame_bytes_key(256 * KiB)
    body_bytes_max: int = key(
        Size(64 * KiB, 64 * MiB),
        16 * MiB,
        "longest body of a request, also after it was decompressed; longer ones are answered 413",
    )
    request_seconds_max: float = key(
        Seconds(0.1, 3600),
        60.0,
        "time limit for a whole request to come in; slower connections are closed with 408",
    )

    def encoding_problem(self) -> str:
        if self.parse.encoding is None:
            return ""
        return f"messages over {self.listen.scheme} are UTF-8; remove it"

    def problems(self, where: Where, given: object) -> Iterable[str]:
        yield from NetworkSource.problems(self, where, given)
        yield from split_problems(self, where)
        unfinished = self.connections.unfinished_bytes_max
        if 0 < unfinished < self.body_bytes_max:
            yield (
                f"{where('body_bytes_max')}: {size_text(self.body_bytes_max)} is more than "
                f"unfinished_bytes_max, {size_text(unfinished)}; change one of them"
            )


@dataclass(frozen=True, slots=True)
class HttpsSource(HttpSource):
    tls: TlsConfiguration = group(TlsConfiguration, without=LISTENER_TLS_WITHOUT)


def _make(source: HttpSource, receiving: Receiving, parts: SourceParts) -> StreamSource:
    limits = HttpLimits(source.body_bytes_max, source.request_seconds_max)
    authorise = receiving.authorise
    new_protocol = partial(
        HttpServerProtocol,
        limits,
        app_of=None if authorise is None else authorise.app_of_sender,
        wants_token="token" in source.authorise,
    )
    return new_stream_source(source, receiving, parts, new_protocol, answers=True)


def _probe(source: HttpSource, probe: Probe) -> None:
    probe_stream_port(probe, source.listen, source.tls)


HTTP = SourceKind(
    scheme="http",
    address=HostPort(80),
    configuration=HttpSource,
    delivered="bulk requests, Splunk HEC, OTLP, JSON and lines; answers after the commit",
    medium="tcp",
    answers=True,
    make=_make,
    probe=_probe,
)
HTTPS = replace(
    HTTP,
    scheme="https",
    address=HostPort(443),
    configuration=HttpsSource,
    delivered="the same, encrypted",
)
