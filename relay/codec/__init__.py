"""Compiled code for the work per message; Python modules of the other layers are the reference.

This module decides whether compiled code is used.
"""

from __future__ import annotations

import os
import sys
from glob import glob
from typing import TYPE_CHECKING

from relay.codec.messages import Messages
from relay.codec.reference import TXNR_MAX


def _is_stale(package: str) -> bool:
    """Whether a compiled module is older than a source beside it, as in a checkout."""
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
        containing,
        cut_records,
        cut_run,
        cut_slots,
        encode_consecutive_answers,
        encode_records,
        encode_syslog,
        fitting,
        joined,
        new_frames,
        runs,
        tally,
        total_bytes,
    )
else:
    from relay.codec.blocks import cut_records, encode_records, node_of, runs
    from relay.codec.frames import (
        beginning_with,
        containing,
        cut_run,
        cut_slots,
        encode_consecutive_answers,
        encode_syslog,
        fitting,
        tally,
        total_bytes,
    )
    from relay.codec.payloads import built, joined, new_frames

if TYPE_CHECKING:
    from relay.codec.lines import Lines as CompiledLines

    Lines = Messages | CompiledLines
else:
    Lines = Messages | native.lines.Lines if IS_COMPILED else Messages
"""The lines of one batch; `Messages` says what they can do."""
