"""Action omkafka, and the input imkafka."""

from __future__ import annotations

from collections.abc import Iterable

from relay.cli.moving.imported import Imported
from relay.cli.moving.kafka import (
    FALLBACK,
    HAS_FALLBACK,
    ONE_PARTITION,
    REPLICAS,
    Client,
    kafka_url,
    read_client,
)
from relay.cli.moving.rsyslog.actions.output import Output, form_of_action
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import TomlValue

__all__ = ["kafka", "kafka_source"]

_LOCAL = ["localhost:9092"]


def kafka(settings: Settings, read: Reader) -> Output:
    """The destination for omkafka.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "RSYSLOG_FileFormat", wants_lines=False)
    client = Client(settings.imported, is_source=False)
    _settings(read, client, ("confparam", "topicconfparam"))
    topic, keys = read.text("topic"), client.finish()
    if not topic:
        raise NotSupported("an action without a topic")
    dynamic = read.is_on("dynatopic")
    if dynamic:
        keys["topic"], more = settings.path(topic)
        keys["topic_fallback"] = FALLBACK
        read.said.approximated(HAS_FALLBACK)
        form.steps += more.steps
        form.notes += more.notes
    key = read.text("key")
    if key and read.is_on("dynakey"):
        keys["key"], more = settings.path(key)
        form.steps += more.steps
        form.notes += more.notes
    elif key:
        keys["key"] = key.replace("$", "$$")
    else:
        read.said.approximated(ONE_PARTITION)
    read.approximate(
        ["partitions.number", "partitions.usefixed"], "the key decides on the partition"
    )
    read.ignore(
        [
            *("partitions.auto", "resubmitonfailure", "keepfailedmessages", "failedmsgfile"),
            *("errorfile", "statsfile", "statsname", "closetimeout", "reopenonhup"),
        ],
        "only the brokers' answer takes a message from the queue",
    )
    read.text("dynakey")
    read.text("dynatopic.cachesize")
    read.said.taken(REPLICAS)
    keys["connect"] = _url(read, "" if dynamic else topic, client)
    return Output("kafka", keys, form)


def kafka_source(imported: Imported, read: Reader) -> dict[str, TomlValue]:
    """The keys of the source for imkafka.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    client = Client(imported, is_source=True)
    _settings(read, client, ("confparam",))
    if group := read.text("consumergroup"):
        client.keys["group"] = group
    elif "group" not in client.keys:
        client.keys["group"] = "syslogrelay"
        read.said.approximated("it has no group: one is syslogrelay; or write partitions")
    client.keys.setdefault("read_from", "end")  # librdkafka's default
    read.ignore(["parsehostname", "split.json.records"], "the relay parses what is syslog")
    topic = read.text("topic")
    if not topic:
        raise NotSupported("an input without a topic")
    return {"listen": _url(read, topic, client), **client.finish()}


def _url(read: Reader, topic: str, client: Client) -> str:
    try:
        return kafka_url(read.texts("broker") or _LOCAL, topic, has_tls=client.has_tls)
    except ValueError as error:
        raise NotSupported(str(error)) from None


def _settings(read: Reader, client: Client, names: Iterable[str]) -> None:
    """Settings of librdkafka such as `linger.ms=5`."""
    texts = [text for name in names for text in read.texts(name)]
    pairs = [text.partition("=") for text in texts]
    read_client({name: value for name, _, value in pairs}, client, read.said)
