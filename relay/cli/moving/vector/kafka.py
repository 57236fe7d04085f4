"""Vector's source of Kafka, and what its sink has in common with it."""

from __future__ import annotations

from collections.abc import Mapping

from relay.cli.moving.imported import Imported
from relay.cli.moving.kafka import Client, kafka_url, read_client
from relay.cli.moving.report import Statement
from relay.cli.moving.structured import Keys
from relay.cli.moving.vector.sources import Tables, read_sources, tls_keys

__all__ = ["client_of", "tables_of_source", "url_of_topic"]

_OF_FIELDS = "the fields of a message have the names of syslog"
_NEEDS_NONE = {
    **dict.fromkeys(
        ("key_field", "topic_key", "partition_key", "offset_key", "headers_key"), _OF_FIELDS
    ),
    **dict.fromkeys(("decoding", "framing"), "a record is a message"),
    **dict.fromkeys(
        ("commit_interval_ms", "drain_timeout_ms"), "positions are stored with the messages"
    ),
    **dict.fromkeys(("fetch_wait_max_ms", "socket_timeout_ms"), "see options"),
    "metrics": "see lag_records in status",
}


def tables_of_source(kind: str, keys: Keys, imported: Imported, statement: Statement) -> Tables:
    """The sources for a table of the type `kind`; none if there is nothing like it."""
    if kind != "kafka":
        return read_sources(kind, keys, statement)
    tables = _tables(keys, imported, statement)
    keys.pass_over(_NEEDS_NONE)
    keys.finish()
    return tables


def _tables(keys: Keys, imported: Imported, statement: Statement) -> Tables:
    client = client_of(keys, imported, statement, is_source=True)
    names = {"group_id": "group.id", "auto_offset_reset": "auto.offset.reset"}
    names |= {"session_timeout_ms": "session.timeout.ms"}
    settings = {}
    for name, setting in names.items():
        given = keys.take(name)
        if given is not None:
            settings[setting] = given.text
            given.taken("is a key, or in options")
    read_client(settings, client, statement)
    client.keys.setdefault("read_from", "end")  # Vector's default
    topics = keys.take("topics")
    found = topics.texts if topics is not None else []
    if topics is not None:
        topics.taken("are in the URLs")
    servers = keys.take("bootstrap_servers")
    if servers is not None:
        servers.taken("are the hosts of the URL")
    try:
        brokers = [servers.text if servers is not None else ""]
        urls = [kafka_url(brokers, topic, has_tls=client.has_tls) for topic in found]
    except ValueError as error:
        statement.unsupported(str(error))
        return []
    if not urls or "group" not in client.keys:
        statement.unsupported("it has no topics, or no group_id")
    tables: Tables = [{"listen": url, **client.finish()} for url in urls]
    for url in urls:
        statement.taken(f"listen = {url}")
    return tables if "group" in client.keys else []


def client_of(keys: Keys, imported: Imported, statement: Statement, *, is_source: bool) -> Client:
    """TLS, SASL and settings of librdkafka, which source and sink have alike."""
    client = Client(imported, is_source=is_source)
    tls = tls_keys(keys, is_source=False)
    if tls is not None:
        client.tls(tls)
    options = keys.take("librdkafka_options")
    if options is not None:
        options.taken("are keys, and options")
        settings: Mapping[str, str] = {
            name: entry.text for name, entry in options.entry.table.items()
        }
        read_client(settings, client, statement)
    sasl = keys.inner("sasl", hidden=("password",))
    if sasl is not None:
        enabled = sasl.take("enabled")
        user, password = sasl.take("username"), sasl.take("password")
        mechanism = sasl.text("mechanism")
        for each in (enabled, user, password):
            if each is not None:
                each.taken("is in the table sasl")
        if enabled is not None and enabled.flag is True:
            name, secret = (each.text if each is not None else "" for each in (user, password))
            client.sasl(mechanism, name, secret, statement)
        sasl.finish()
    return client


def url_of_topic(keys: Keys, topic: str, client: Client) -> str:
    """The URL of `bootstrap_servers`; raises ValueError with what is wrong."""
    servers = keys.take("bootstrap_servers")
    if servers is None:
        raise ValueError("it names no broker")
    servers.taken("are the hosts of the URL")
    return kafka_url([servers.text], topic, has_tls=client.has_tls)
