"""Tests of `check --connect` for Kafka, the same for a source and a destination."""

from __future__ import annotations

from relay.model.errors import UpstreamError
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.kafka.keys import BrokerCertificates, ClientKeys, client_settings
from relay.service.probes.probe import Probe
from relay.transport.kafka.library import load_library
from relay.transport.kafka.topics import TopicFacts, look_up


def probe_topic(
    probe: Probe, url: Url, keys: ClientKeys, tls: TlsConfiguration | None, topic: str
) -> TopicFacts | None:
    """Ask the brokers of `url` for a topic; None = something has failed, which was told."""
    try:
        load_library()
        certificates = None if tls is None else BrokerCertificates(None, tls=tls)
        settings = client_settings(url, keys, certificates)
    except (ImportError, UpstreamError) as error:
        probe.fail("kafka", "kafka-settings", str(error), "correct the configuration")
        return None
    try:
        (facts,) = look_up(settings, [topic], probe.seconds_max)
    except UpstreamError as error:
        remedy = "compare hosts, ports, TLS and sasl with the brokers' listeners, and the topic"
        probe.fail("kafka", "kafka-unusable", str(error), remedy)
        return None
    probe.passed("kafka", facts.text)
    return facts
