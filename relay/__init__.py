"""syslogrelay: a syslog relay whose answers mean "on disk"."""

import os
import sys
from glob import glob

__version__ = "0.1.0"

_LAYERS = ("wire", "rewrite", "queue")


def _is_stale(package: str) -> bool:
    """Whether something compiled is older than its source, which lies beside it in a checkout."""
    sources = glob(f"{package}/*/*.p[yx][xd]")
    modules = glob(f"{package}/*/compiled.*.so")
    return bool(sources and modules) and (
        min(map(os.path.getmtime, modules)) < max(map(os.path.getmtime, sources))
    )


if os.environ.get("SYSLOGRELAY_PURE") or _is_stale(os.path.dirname(__file__)):
    # Python alone: what is compiled cannot be imported then.
    for _name in ("codec", *[f"{_layer}.compiled" for _layer in _LAYERS]):
        sys.modules[f"relay.{_name}"] = None  # type: ignore[assignment]
