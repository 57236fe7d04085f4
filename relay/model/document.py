"""JSON documents: answers of the control socket, status."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Document"]

Document: TypeAlias = dict[str, Any]
"""A JSON object.  `relay.observe.status` lists the keys of status; values are JSON."""
