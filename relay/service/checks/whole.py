"""Find what is wrong with a configuration whose parts are right."""

from __future__ import annotations

from datetime import UTC

from relay.service.checks.apps import app_policy_problems, app_problems
from relay.service.checks.conflicts import control_socket_problems, find_conflicts, web_conflicts
from relay.service.configuration.kinds import AnyKinds, Places
from relay.service.configuration.model import Configuration
from relay.service.configuration.table import join_path
from relay.service.queue.limits import limit_problems
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting


def problems_of_whole(
    configuration: Configuration, places: Places, kinds: AnyKinds, is_right: bool
) -> list[str]:
    """One line for each problem.

    Args:
        is_right: Nothing is wrong with a part; half a picture would show conflicts that are
            not there.
    """
    problems = [*app_policy_problems(configuration.apps)]
    if is_right and not problems:
        problems += find_conflicts(
            configuration.sources,
            configuration.destinations,
            kinds,
            name_source=places.listen,
            name_destination=lambda id: f"{join_path('destinations', id)}.connect",
        )
        problems += web_conflicts(configuration, kinds, places.listen)
        problems += app_problems(configuration, places, kinds)
    problems += control_socket_problems("relay.state_dir", configuration.state_dir)
    problems += route_problems(configuration)
    problems += limit_problems(configuration)
    if any(source.answered_by for source in configuration.sources):
        from relay.service.direct.fitness import direct_problems

        problems += direct_problems(configuration, places, kinds)
    return problems


def route_problems(configuration: Configuration) -> list[str]:
    """One line for each thing that keeps a route from being made: found by making them once."""
    rewriting = Rewriting(configuration, zone=UTC, now=float, lookup=LookupFile)
    for destination in configuration.destinations:
        rewriting.route(destination)
    return rewriting.problems
