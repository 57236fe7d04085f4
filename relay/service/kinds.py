"""All kinds of sources and destinations.  A new one is a module, and a line here."""

from __future__ import annotations

from typing import Any

from relay.service.checks.warnings import configuration_warnings
from relay.service.checks.whole import problems_of_whole
from relay.service.configuration.kinds import Checks, Kinds
from relay.service.destinations import datagrams as datagrams_out
from relay.service.destinations import files as files_out
from relay.service.destinations import http as http_out
from relay.service.destinations import local, sematext
from relay.service.destinations import streams as streams_out
from relay.service.destinations.kind import DestinationKind
from relay.service.kafka import destination as kafka_out
from relay.service.kafka import source as kafka_in
from relay.service.nats import destination as nats_out
from relay.service.nats import source as nats_in
from relay.service.sources import datagrams, files, http, journal, kernel, streams, system, systemd
from relay.service.sources import local as local_in
from relay.service.sources.kind import SourceKind
from relay.service.tls.files import file_problems, listener_problems, upstream_problems

RelayKinds = Kinds[SourceKind[Any], DestinationKind[Any]]

KINDS: RelayKinds = Kinds(
    sources=(
        datagrams.UDP,
        datagrams.DTLS,
        streams.TCP,
        streams.TLS,
        streams.RELP,
        streams.RELP_TLS,
        http.HTTP,
        http.HTTPS,
        kafka_in.KAFKA,
        kafka_in.KAFKA_TLS,
        datagrams.UNIXGRAM,
        streams.UNIX,
        files.FILE,
        systemd.SYSTEMD,
        system.SYSTEM,
        journal.JOURNALD,
        kernel.KMSG,
        local_in.PIPE,
        local_in.PROGRAM,
        local_in.INTERNAL,
        nats_in.NATS,
        nats_in.NATS_TLS,
    ),
    destinations=(
        datagrams_out.UDP,
        datagrams_out.DTLS,
        streams_out.TCP,
        streams_out.TLS,
        streams_out.RELP,
        streams_out.RELP_TLS,
        files_out.FILE,
        local.UNIX,
        local.UNIXGRAM,
        local.PIPE,
        local.PROGRAM,
        local.USERTTY,
        sematext.SEMATEXT,
        http_out.HTTP,
        http_out.HTTPS,
        nats_out.NATS,
        nats_out.NATS_TLS,
        kafka_out.KAFKA,
        kafka_out.KAFKA_TLS,
    ),
    sets=(streams.DEFAULT_NETWORK, streams.SEMATEXT_RECEIVER),
    checks=Checks(
        listener_problems,
        upstream_problems,
        file_problems,
        problems_of_whole,
        configuration_warnings,
    ),
)
