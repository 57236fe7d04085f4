"""Log lines: selection and format of events.

In the journal a line begins with its priority, ``<4>`` for a warning (sd-daemon(3)), and
has no time, which the journal knows.  Elsewhere it has the time and, unless it is plain
information, the level in a word.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from twisted.logger import LogEvent, LogLevel, eventAsText, formatTime

from relay.observe.log_levels import LOG_LEVELS

_LEVELS: Mapping[object, tuple[int, str]] = {
    LogLevel.debug: (7, "debug: "),
    LogLevel.info: (6, ""),
    LogLevel.warn: (4, "warning: "),
    LogLevel.error: (3, "error: "),
    LogLevel.critical: (2, "critical: "),
}
"""Priority in the journal, and the word elsewhere."""
_REMARKS = (None, LogLevel.debug, LogLevel.info)
_OURS = ("relay", "stdout", "stderr")


def is_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Whether `descriptor` leads to the journal, as systemd.exec(5) says of JOURNAL_STREAM."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def journal_line(event: LogEvent) -> str | None:
    """`event` for the journal, each line with its priority; None = it is not written."""
    text = _text(event)
    if text is None:
        return None
    priority, _ = _level_of(event)
    return "".join(f"<{priority}>{line}\n" for line in text.splitlines())


def file_line(
    event: LogEvent, format_time: Callable[[float | None], str] = formatTime
) -> str | None:
    """`event` for a file or terminal; None = it is not written."""
    text = _text(event)
    if text is None:
        return None
    _, word = _level_of(event)
    lines = "\n\t".join(text.splitlines())
    return f"{format_time(event.get('log_time'))} {word}{lines}\n"


def as_message(event: LogEvent) -> tuple[int, str] | None:
    """Severity (RFC 5424 §6.2.1) and text of `event`; None = it becomes no message."""
    if event.get("log_level") is LogLevel.debug:
        return None  # a message about a commit would cause the next commit
    text = _text(event)
    return None if text is None else (_level_of(event)[0], text)


def _level_of(event: LogEvent) -> tuple[int, str]:
    return _LEVELS.get(event.get("log_level"), _LEVELS[LogLevel.info])


def _text(event: LogEvent) -> str | None:
    """The text of `event`; None if its level is not written, and for Twisted's own messages.

    They name classes and ports, and the relay logs the same about sources and destinations;
    whoever sets a level for their namespace gets them.
    """
    namespace = str(event.get("log_namespace", ""))
    level = event.get("log_level")
    if not LOG_LEVELS.shows(namespace, getattr(level, "name", "info")):
        return None
    is_ours = namespace.partition(".")[0] in _OURS or LOG_LEVELS.names(namespace)
    if not is_ours and level in _REMARKS:
        return None
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return text if text.strip() else None
