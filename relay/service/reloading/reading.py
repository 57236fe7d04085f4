"""Read a configuration for a relay that runs with another one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import tzinfo

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import examine_file
from relay.service.configuration.model import Configuration
from relay.service.kinds import RelayKinds
from relay.service.reloading.difference import ADDED, CHANGED, Difference, difference
from relay.service.routes.explanation import failures_of


def read_difference(
    path: str,
    old: Configuration,
    *,
    kinds: RelayKinds,
    now: float,
    zone: tzinfo,
    queue_bytes_limit: int | None = None,
) -> Difference:
    """Read the file at `path` and all that it includes, and compare it with what is in use.

    Takes as long as its tests and tables: call it in a thread.

    Args:
        now: Seconds since 1970-01-01 UTC, for the tests.
        queue_bytes_limit: As of `difference`.

    Raises:
        ConfigurationError: Something is wrong with it, a test has failed, or a certificate, key or
            token cannot be used that is named in a part that has changed.  Such files in other
            parts are missing already, and their sources and destinations wait for them.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # one that waits would wait for ever
        raise ConfigurationError([f"{path}: cannot read it: it is not a regular file"])
    found = examine_file(path, kinds)
    configuration = found.configuration
    if configuration is None or not found.is_whole:
        raise ConfigurationError(found.problems)
    result = difference(old, configuration, queue_bytes_limit=queue_bytes_limit)
    problems = [*_of_changed(found.problems, result)]
    problems += [f"{path}: {failure}" for failure in failures_of(configuration, now=now, zone=zone)]
    if problems:
        raise ConfigurationError(problems, configuration.placed_warnings)
    return result


def _of_changed(problems: Iterable[str], result: Difference) -> Iterable[str]:
    """The `problems` of tables that were added or changed."""
    tables = [f" {each.table}." for each in result.changes if each.what in (ADDED, CHANGED)]
    return (problem for problem in problems if any(table in problem for table in tables))
