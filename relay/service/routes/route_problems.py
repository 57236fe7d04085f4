"""What is wrong with rewrites beyond their text: found by making the routes once."""

from __future__ import annotations

from datetime import UTC

from relay.service.configuration.model import Configuration
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting

__all__ = ["route_problems"]


def route_problems(configuration: Configuration) -> list[str]:
    """One line for each thing that keeps a route from being made."""
    rewriting = Rewriting(configuration, zone=UTC, now=float, lookup=LookupFile)
    for destination in configuration.destinations:
        rewriting.route(destination)
    return rewriting.problems
