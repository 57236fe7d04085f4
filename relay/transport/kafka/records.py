"""Where a record goes in Kafka: its topic, its key and its headers.

What depends on the message stands before the payload in the queue, as one record key
(`relay/rewrite/forms/record_key.py`) of several parts:

    topic US key US header US header …

A part is empty where the configuration has no template for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from relay.rewrite.forms.record_key import PART_SEPARATOR, split_key


class Place(NamedTuple):
    """Where one record goes."""

    topic: str
    key: bytes | None
    """None = that of the run."""
    headers: list[tuple[str, str | bytes | None]]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Placing:
    """How records of one destination are placed.

    The simple case is a fixed topic and no templates: then records are payloads, and `read` is
    not needed.
    """

    topic: str
    """The only one, or the one of records whose own topic is no name or does not exist."""
    has_topics: bool = False
    """Records have topics of their own."""
    has_keys: bool = False
    """Records have keys of their own, and any partition."""
    fixed_headers: tuple[tuple[str, bytes], ...] = ()
    header_names: tuple[str, ...] = ()
    """Of the parts of record keys."""

    @property
    def is_simple(self) -> bool:
        return not (self.has_topics or self.has_keys or self.header_names)

    @property
    def is_spread(self) -> bool:
        """Records of one lineage go to several partitions."""
        return self.has_topics or self.has_keys

    def read(self, record: bytes, exists: Callable[[str], bool]) -> Place:
        """The place of a record, which may have been queued for another kind of destination.

        Args:
            exists: Whether a topic can be written to.
        """
        parts, payload = split_key(record)
        if parts is None:
            return Place(self.topic, None, [*self.fixed_headers], payload)
        topic, _, rest = parts.partition(PART_SEPARATOR)
        key, _, rest = rest.partition(PART_SEPARATOR)
        headers: list[tuple[str, str | bytes | None]] = [*self.fixed_headers]
        if self.header_names:
            headers += zip(self.header_names, rest.split(PART_SEPARATOR), strict=False)
        name = topic.decode("ascii", "replace")
        if not self.has_topics or not exists(name):
            name = self.topic
        return Place(name, key if self.has_keys else None, headers, payload)
