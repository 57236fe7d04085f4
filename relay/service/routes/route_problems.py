"""What is wrong with filters, steps and formats: found by making the routes once."""

from __future__ import annotations

from datetime import UTC

from relay.service.configuration.model import Configuration
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting

__all__ = ["route_problems"]


def route_problems(configuration: Configuration) -> list[str]:
    """One line for each thing that keeps a route from being made."""
    problems: list[str] = []
    rewriting = Rewriting(
        named_filters=configuration.filters,
        sources=[source.id for source in configuration.sources],
        apps=configuration.apps,
        relay_name=configuration.name,
        zone=UTC,
        now=float,
        lookup=LookupFile,
        base_dir=configuration.base_dir,
        problems=problems,
    )
    for name, value in configuration.filters.items():
        rewriting.check_filter(name, value)
    for destination in configuration.destinations:
        rewriting.route(destination)
    return list(dict.fromkeys(problems))  # a named filter is read wherever it is used
