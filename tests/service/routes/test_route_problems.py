from __future__ import annotations

from relay.service.configuration.model import (
    Configuration,
    RewriteConfiguration,
    Url,
)
from relay.service.routes.route_problems import route_problems
from tests.configurations import new_destination
from tests.written import steps_of


def configuration() -> Configuration:
    destination = new_destination(
        "d",
        Url("file", path="/log"),
        (),
        rewrite=RewriteConfiguration(steps=steps_of({"unset": ["a"]})),
    )
    return Configuration("here", "/var", destinations=(destination,))


def test_nothing_is_wrong_with_what_can_be_made() -> None:
    assert route_problems(configuration()) == []


def test_a_file_that_cannot_be_used_is_said_with_its_place() -> None:
    steps = steps_of({"map": "/no/where/none.csv", "key": "$HOST", "into": "x"})
    destination = new_destination(
        "d", Url("file", path="/log"), (), rewrite=RewriteConfiguration(steps=steps)
    )
    problems = route_problems(Configuration("here", "/var", destinations=(destination,)))
    assert problems == [
        "destinations.d.rewrite[0].map: cannot read the table /no/where/none.csv: "
        "No such file or directory"
    ]
