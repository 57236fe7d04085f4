"""What alerts remember over a restart, in the file `alerts.json` of the state directory.

A JSON object: `version`, 1; `baselines`, what is usual for each source; `idle`, the senders that
are known, each with its source and its seconds of silence; `running` and `ended`, alerts as in
status; `waiting`, messages that were not told yet, by receiver.  Nothing in it grows with what
peers send: at most 4,096 senders, 50 running alerts of each rule, 100 ended ones, 100 messages of
each receiver.

It is written as a whole under another name and then renamed, so a process that is killed leaves the
old or the new one.  A file that is damaged, or of another version, is no reason not to start;
nor is a named pipe or a folder in its place.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from relay.model.text import Document
from relay.observe.alerts.baseline import Baseline
from relay.observe.alerts.incidents import Alert
from relay.service.configuration.reading import content_of

VERSION = 1
_BYTES_MAX = 16 * 2**20  # far above what it can be


class Memory(msgspec.Struct):
    """The content of the file."""

    version: int = VERSION
    baselines: dict[str, Baseline] = msgspec.field(default_factory=dict)
    idle: list[tuple[str, str, float]] = msgspec.field(default_factory=list)
    running: list[Alert] = msgspec.field(default_factory=list)
    ended: list[Alert] = msgspec.field(default_factory=list)
    waiting: dict[str, list[Document]] = msgspec.field(default_factory=dict)


def load(path: str) -> Memory:
    """What the file at `path` holds; nothing if there is none.

    Raises:
        ValueError: It is damaged, or cannot be read.
    """
    try:
        data = content_of(path, bytes_max=_BYTES_MAX)
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
    try:
        memory = msgspec.json.decode(data, type=Memory)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is damaged: {error}") from error
    if memory.version != VERSION:
        raise ValueError(f"is of version {memory.version}, and this relay knows {VERSION}")
    return memory


def save(path: str, memory: Memory) -> None:
    """Replace the file at `path`.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    new = f"{path}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(new)  # what stands there may be anything
        with open(new, "wb", opener=_for_its_owner) as file:
            file.write(msgspec.json.encode(memory))
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)
