from __future__ import annotations

from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    RewriteConfiguration,
    Url,
)
from relay.service.routes.route_problems import route_problems


def configuration(**keys: object) -> Configuration:
    destination = DestinationConfiguration(
        "d", Url("file", path="/log"), (), rewrite=RewriteConfiguration(steps=({"unset": ["a"]},))
    )
    return Configuration("here", "/var", destinations=(destination,), **keys)  # type: ignore[arg-type]


def test_nothing_is_wrong_with_what_can_be_made() -> None:
    assert route_problems(configuration(filters={"errors": {"severity": "..err"}})) == []


def test_filters_are_looked_at_even_if_nobody_uses_them() -> None:
    problems = route_problems(configuration(filters={"errors": {"severity": "bad"}}))
    assert len(problems) == 1
    assert problems[0].startswith("filters.errors.severity: there is no severity 'bad'")


def test_tables_are_relative_to_the_file() -> None:
    steps = ({"map": "none.csv", "key": "$HOST", "into": "x"},)
    destination = DestinationConfiguration(
        "d", Url("file", path="/log"), (), rewrite=RewriteConfiguration(steps=steps)
    )
    problems = route_problems(
        Configuration("here", "/var", destinations=(destination,), path="/no/where/relay.toml")
    )
    assert problems == [
        "destinations.d.rewrite[0].map: cannot read the table /no/where/none.csv: "
        "No such file or directory"
    ]
