"""Topics as brokers describe them: partitions, replicas, and the worth of an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from relay.model.errors import UpstreamError
from relay.model.text import counted, printable
from relay.transport.kafka.library import LibraryLog, load_library, text_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata

_IN_SYNC = "min.insync.replicas"
_UNCLEAN = "unclean.leader.election.enable"
_BYTES_MAX = "max.message.bytes"
_THREAD = re.compile(r"\A\[thrd:[^\]]*\]: ")
_QUESTION_SECONDS_MIN = 0.5
_SETTINGS_SECONDS_MAX = 2.0  # what the brokers do not tell is no reason to wait


class TopicFacts(NamedTuple):
    """One topic."""

    name: str
    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    in_sync: int
    """Of the partition that has the fewest in sync now."""
    in_sync_min: int | None = None
    """`min.insync.replicas`: without so many in sync nothing is acknowledged; None = the brokers
    do not tell."""
    is_unclean: bool = False
    """A replica that has not everything may become the leader."""
    message_bytes_max: int | None = None
    """The largest batch that is taken; None = the brokers do not tell."""

    @property
    def promised(self) -> int:
        """The replicas that have a record when it is acknowledged, at least."""
        return min(self.replicas, self.replicas if self.in_sync_min is None else self.in_sync_min)

    @property
    def text(self) -> str:
        """For people."""
        found = f"topic {self.name}: {counted(self.partitions, 'partition')}, "
        found += counted(self.replicas, "replica")
        if self.in_sync_min is not None:
            found += f", {_IN_SYNC} = {self.in_sync_min}"
        return found

    def trouble(self) -> str:
        """Why the topic acknowledges nothing at present; empty = nothing of that is known."""
        if not self.in_sync:
            return f"a partition of topic {self.name} has no leader"
        if self.in_sync_min is not None and self.in_sync < self.in_sync_min:
            return (
                f"a partition of topic {self.name} has {counted(self.in_sync, 'replica')} in sync, "
                f"and {_IN_SYNC} is {self.in_sync_min}"
            )
        return ""


def missing_topic(name: str) -> str:
    """A topic is not there, in words."""
    return (
        f"the brokers know no topic {name}, or the user may not see it; make it, with all the "
        "partitions that it will ever need, or give the user Describe and Write"
    )


def weak_topic(facts: TopicFacts, replicas_min: int) -> str:
    """Why a topic promises less than `replicas_min`; empty = it does not."""
    if facts.promised >= replicas_min:
        return ""
    return (
        f"{facts.text}: an answer means {counted(facts.promised, 'replica')}, and replicas_min is "
        f"{replicas_min}; raise {_IN_SYNC} and the replicas of the topic, or write "
        f"replicas_min = {facts.promised}"
    )


def look_up(
    settings: Mapping[str, str],
    names: list[str],
    seconds_max: float,
    is_wanted: Callable[[], bool] = lambda: True,
) -> list[TopicFacts]:
    """Ask brokers for topics; blocks.

    It asks for all topics: asked for one that is missing, some brokers make it.

    Args:
        settings: librdkafka's, of a client.
        seconds_max: Of each of two questions.
        is_wanted: Asked from time to time; false = the answer is not needed any more.

    Raises:
        UpstreamError: There is no answer, or one of the topics is missing; the text says which.
    """
    from confluent_kafka.admin import AdminClient

    library, told = load_library(), _Told()
    try:
        client = AdminClient(
            {**settings, "error_cb": told.error},  # type: ignore[dict-item]  # its own way
            logger=LibraryLog(told.texts.append),
        )
        metadata = _metadata(client, library, seconds_max, lambda: is_wanted() and not told.is_vain)
    except library.KafkaException as error:
        raise UpstreamError(told.last or text_of(error.args[0])) from None
    found = [facts_of(metadata, name) for name in names]
    configured = _configured(client, metadata, names, min(seconds_max, _SETTINGS_SECONDS_MAX))
    return [_with_settings(each, configured.get(each.name, {})) for each in found]


class _Told:
    """Errors and log lines of a client while it asks: the reason why there is no answer.

    Attributes:
        is_vain: None of the brokers can be reached.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.is_vain = False

    def error(self, error: KafkaError) -> None:
        if error.name() == "_ALL_BROKERS_DOWN":
            self.is_vain = True
        else:
            self.texts.append(text_of(error))

    @property
    def last(self) -> str:
        """In its words, without the name of its thread."""
        return _THREAD.sub("", self.texts[-1]) if self.texts else ""


def _metadata(
    client: AdminClient,
    library: ModuleType,
    seconds_max: float,
    is_wanted: Callable[[], bool],
) -> ClusterMetadata:
    seconds = _QUESTION_SECONDS_MIN
    while True:
        try:
            return client.list_topics(timeout=min(seconds, seconds_max))
        except library.KafkaException:
            client.poll(0)  # it tells why
            seconds_max -= seconds
            if seconds_max <= 0 or not is_wanted():
                raise
            seconds *= 2  # a request that takes longer is not to be given up each time


def facts_of(metadata: ClusterMetadata, name: str) -> TopicFacts:
    """A topic as metadata of the whole cluster have it; UpstreamError = it is missing."""
    topic: TopicMetadata | None = metadata.topics.get(name)
    if topic is None or not topic.partitions:
        raise UpstreamError(missing_topic(name))
    if topic.error is not None:
        raise UpstreamError(f"topic {name}: {text_of(topic.error)}")
    partitions = topic.partitions.values()
    return TopicFacts(
        name,
        len(partitions),
        min(len(each.replicas) for each in partitions),
        min(len(each.isrs) if each.leader >= 0 else 0 for each in partitions),
    )


def _configured(
    client: AdminClient, metadata: ClusterMetadata, names: list[str], seconds_max: float
) -> dict[str, dict[str, str]]:
    """Settings of topics; empty where brokers do not tell them, or the user may not ask."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin._config import ConfigResource
    from confluent_kafka.admin._resource import ResourceType

    if metadata.controller_id < 0:
        return {}
    topics = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found = {}
    for topic, answer in client.describe_configs(topics, request_timeout=seconds_max).items():
        try:
            entries = answer.result(seconds_max + 1)
        except (KafkaException, TimeoutError):
            continue
        found[topic.name] = {name: entry.value for name, entry in entries.items() if entry.value}
    return found


def _with_settings(facts: TopicFacts, settings: Mapping[str, str]) -> TopicFacts:
    return facts._replace(
        in_sync_min=_number(settings.get(_IN_SYNC)),
        is_unclean=printable(settings.get(_UNCLEAN, "")) == "true",
        message_bytes_max=_number(settings.get(_BYTES_MAX)),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
