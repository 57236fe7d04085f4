"""The details that a topic of the log says, while it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from relay.model.debug import Topic

__all__ = ["details"]


@contextmanager
def details(topic: Topic) -> Iterator[list[str]]:
    """Turn `topic` on; yields its lines as they come."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_namespace"] == topic.namespace:
            lines.append(formatEvent(event))

    topic.is_on = True
    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
        topic.is_on = False
