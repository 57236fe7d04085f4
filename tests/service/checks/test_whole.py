from __future__ import annotations

import pytest

from relay.service.checks.whole import problems_of_whole, route_problems
from relay.service.configuration.kinds import Places
from relay.service.configuration.model import (
    AppConfiguration,
    Configuration,
    RewriteConfiguration,
    Url,
)
from relay.service.kinds import KINDS
from tests.configurations import new_destination, new_source
from tests.written import steps_of

AT = Url("udp", port=514)
LOG = Url("file", path="/var/log/all")
SET = Places({"set": ("set.udp",)}, {"set.udp": "sources.set.udp_port"})


@pytest.mark.parametrize("is_right", [True, False])
def test_conflicts_are_looked_for_if_all_parts_are_right(is_right: bool) -> None:
    configuration = Configuration(
        "relay",
        "/" + "x" * 200,
        sources=(new_source("a", AT), new_source("set.udp", AT)),
        destinations=(
            new_destination("d", LOG, ("a", "set.udp"), when_full="drop-newest", apps=("no",)),
        ),
    )
    keys = [
        problem.partition(": ")[0]
        for problem in problems_of_whole(configuration, SET, KINDS, is_right)
    ]
    conflicts = ["sources.set.udp_port", "destinations.d.apps"] if is_right else []
    assert keys == [*conflicts, "relay.state_dir", "destinations.d.when_full"]


def test_a_wrong_app_is_told_instead_of_what_follows_from_it() -> None:
    app = AppConfiguration("a", tls_fingerprints=("x",))
    configuration = Configuration("relay", "/x", sources=(new_source("a", AT),), apps=(app,))
    (problem,) = problems_of_whole(configuration, SET, KINDS, True)
    assert problem.startswith("apps.a.tls_fingerprints: expected SHA-256: or SHA-1:")


def test_members_of_a_set_stand_in_its_table() -> None:
    assert (SET.source("set.udp"), SET.listen("set.udp")) == ("sources.set", "sources.set.udp_port")
    assert (SET.source("a"), SET.listen("a")) == ("sources.a", "sources.a.listen")


def test_a_file_that_cannot_be_used_is_said_with_its_place() -> None:
    looks = {"map": "/no/where/none.csv", "key": "$HOST", "into": "x"}
    rewrite = RewriteConfiguration(steps=steps_of({"unset": ["a"]}, looks))
    destination = new_destination("d", LOG, rewrite=rewrite)
    assert route_problems(Configuration("here", "/var", destinations=(destination,))) == [
        "destinations.d.rewrite[1].map: cannot read the table /no/where/none.csv: "
        "No such file or directory"
    ]
