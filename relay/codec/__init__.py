"""Compiled code for what is done for each message; Python modules of the other layers are the
reference.

This is the switch: nobody else asks whether there is compiled code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from glob import glob
from typing import TYPE_CHECKING, Any, Protocol

from relay.codec.reference import TXNR_MAX
from relay.model.message import SyslogMessage

__all__ = [
    "IS_COMPILED",
    "TXNR_MAX",
    "Lines",
    "beginning_with",
    "built",
    "cut_records",
    "cut_run",
    "cut_slots",
    "encode_consecutive_answers",
    "encode_records",
    "encode_syslog",
    "fitting",
    "joined",
    "native",
    "new_frames",
    "node_of",
    "octets_of",
    "runs",
]


def _is_stale(package: str) -> bool:
    """Whether something compiled is older than its source, which lies beside it in a checkout."""
    sources = glob(f"{package}/*.p[yx][xd]")
    modules = glob(f"{package}/*.so")
    return bool(sources and modules) and (
        min(map(os.path.getmtime, modules)) < max(map(os.path.getmtime, sources))
    )


if os.environ.get("SYSLOGRELAY_PURE") or _is_stale(os.path.dirname(__file__)):
    sys.modules[f"{__name__}.native"] = None  # type: ignore[assignment]

try:
    from relay.codec import native
except ImportError:  # no compiler when it was built, another Python now, or not wanted
    native = None  # type: ignore[assignment]

IS_COMPILED = native is not None

if TYPE_CHECKING or not IS_COMPILED:
    from relay.codec.node import node_of
    from relay.codec.reference import (
        beginning_with,
        built,
        cut_records,
        cut_run,
        cut_slots,
        encode_consecutive_answers,
        encode_records,
        encode_syslog,
        fitting,
        joined,
        new_frames,
        octets_of,
        runs,
    )
else:
    from relay.codec.blocks import cut_records, encode_records, node_of, runs
    from relay.codec.frames import (
        beginning_with,
        cut_run,
        cut_slots,
        encode_consecutive_answers,
        encode_syslog,
        fitting,
        octets_of,
    )
    from relay.codec.payloads import built, joined, new_frames


class Lines(Protocol):
    """The lines of one batch: `relay.codec.lines.Lines`, or `relay.codec.messages.Messages`."""

    @property
    def frames(self) -> Sequence[bytes]:
        """The frames, as they were received."""
        ...

    def __len__(self) -> int: ...

    def message(self, index: int) -> SyslogMessage:
        """The message of one line."""
        ...

    def messages(self, indexes: Sequence[int] | None = None) -> list[SyslogMessage]:
        """The messages of all lines, or of those at `indexes`."""
        ...

    def column(self, name: str, indexes: Sequence[int] | None = None) -> list[Any]:
        """What all lines, or those at `indexes`, have as the field `name` of `SyslogMessage`:
        any field but timestamp, raw, pairs and is_utf8."""
        ...

    def where(
        self, name: str, values: frozenset[object], indexes: Sequence[int] | None = None
    ) -> list[int]:
        """The indexes of all lines, or those of `indexes`, whose value in the column `name` is one
        of `values`."""
        ...

    def edited(
        self,
        indexes: Sequence[int] | None,
        values: dict[str, bytes | None],
        tags: tuple[bytes, ...],
        change: Callable[[SyslogMessage], SyslogMessage],
    ) -> Lines:
        """Lines like these, of which those at `indexes` (None = all) have other values and tags.

        Args:
            values: By field, None for no value; of hostname, app_name, procid, msgid and msg.
            tags: To be added, but for those that are there.
            change: Does the same to a message.
        """
        ...

    def odd(self) -> list[int]:
        """The indexes of lines that have tags, or may have some."""
        ...
