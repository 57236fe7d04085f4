"""syslogrelay: a syslog relay whose answers mean "on disk"."""

import os
import sys

__version__ = "0.1.0"

if os.environ.get("SYSLOGRELAY_PURE"):  # Python alone: what is compiled cannot be imported then
    for _layer in ("wire", "rewrite", "queue"):
        sys.modules[f"relay.{_layer}.compiled"] = None  # type: ignore[assignment]
