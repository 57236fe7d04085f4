from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.cli.moving.files import ImportRefused
from relay.cli.moving.vector.dialect import VECTOR
from tests.cli.moving.imports import Result, import_text

SOURCES = (
    '[sources.a]\ntype = "syslog"\naddress = "0.0.0.0:1"\n[sources.b]\ntype = "internal_logs"\n'
)


def read(text: str, folder: Path) -> Result:
    return import_text("vector", text, folder)


def sink(name: str, inputs: str) -> str:
    return f'[sinks.{name}]\ntype = "socket"\ninputs = {inputs}\naddress = "h:1"\n'


def test_it_is_recognised() -> None:
    assert VECTOR.score(SOURCES + sink("o", '["a"]')) >= 3
    assert VECTOR.score("sources:\n  a:\n    type: file\nsinks:\n  b:\n    inputs: [a]\n") >= 3
    assert VECTOR.score('[sources.net]\nlisten = "udp://:514"\n') == 0


def test_inputs_are_sources(tmp_path: Path) -> None:
    result = read(SOURCES + sink("one", '["a"]') + sink("all", '["*"]'), tmp_path)
    assert result.destinations["one"]["sources"] == ["a"]
    assert "sources" not in result.destinations["all"]


def test_transforms_are_conditions_and_steps(tmp_path: Path) -> None:
    result = read(
        SOURCES
        + "[transforms.f]\ntype = 'filter'\ninputs = ['a']\ncondition = '.severity == \"err\"'\n"
        + "[transforms.r]\ntype = 'remap'\ninputs = ['f']\nsource = '.x = \"y\"'\n"
        + "[transforms.g]\ntype = 'filter'\ninputs = ['r']\ncondition = '.x == \"y\"'\n"
        + sink("o", '["g", "b"]'),
        tmp_path,
    )
    keys = result.destinations["o"]
    assert keys["match"] == [{"sources": "b"}, {"sources": ["a"], "severity": "err"}]
    own = {"sources": ["a"], "severity": "err"}
    assert keys["rewrite"] == [
        {"set": {"x": "y"}, "match": own},
        {"drop": "filtered", "match": {**own, "not": {"pairs": {"x": "y"}}}},
    ]


def test_a_rate_is_for_all_inputs_together(tmp_path: Path) -> None:
    result = read(
        SOURCES
        + "[transforms.t]\ntype = 'throttle'\ninputs = ['a', 'b']\nthreshold = 5\nwindow_secs = 1\n"
        + sink("o", '["t"]'),
        tmp_path,
    )
    assert result.destinations["o"]["rewrite"] == [{"rate": 5.0, "burst": 5}]


def test_ways_that_part_and_join_take_no_time(tmp_path: Path) -> None:
    text = SOURCES + "[transforms.t0a]\ntype = 'remap'\ninputs = ['a']\nsource = '.x = \"y\"'\n"
    text += "[transforms.t0b]\ntype = 'remap'\ninputs = ['a']\nsource = '.x = \"z\"'\n"
    for level in range(1, 30):
        for side in "ab":
            inputs = f"['t{level - 1}a', 't{level - 1}b']"
            text += (
                f"[transforms.t{level}{side}]\ntype = 'remap'\ninputs = {inputs}\n"
                f"source = '.n = \"{level}{side}\"'\n"
            )
    result = read(text + sink("o", '["t29a"]'), tmp_path)
    assert any("ways from sources" in line for line in result.doubts)


def test_routes_have_outputs(tmp_path: Path) -> None:
    result = read(
        SOURCES
        + "[transforms.r]\ntype = 'route'\ninputs = ['a', 'b']\nroute.e = '.severity == \"err\"'\n"
        + sink("bad", '["r.e"]')
        + sink("rest", '["r._unmatched"]'),
        tmp_path,
    )
    assert result.destinations["bad"]["match"] == {"severity": "err"}
    assert result.destinations["rest"]["match"] == {"not": {"severity": "err"}}


def test_yaml_is_read_as_well(tmp_path: Path) -> None:
    result = read(
        "sources:\n  a: {type: internal_logs}\nsinks:\n  o: {type: socket, inputs: a,"
        " address: 'h:1'}\n",
        tmp_path,
    )
    assert result.destinations["o"]["connect"] == "tcp://h:1"


def test_loops_and_unknown_inputs_are_said(tmp_path: Path) -> None:
    result = read(
        SOURCES
        + "[transforms.x]\ntype = 'remap'\ninputs = ['y']\nsource = ''\n"
        + "[transforms.y]\ntype = 'remap'\ninputs = ['x']\nsource = ''\n"
        + sink("o", '["x", "none"]'),
        tmp_path,
    )
    assert any("lead to itself" in line for line in result.doubts)
    assert any("there is no input none" in line for line in result.doubts)
    assert "o" not in result.destinations


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused):
        read("- a\n", tmp_path)
    with pytest.raises(ImportRefused, match="no TOML"):
        read("[sources.a]\nx = \n", tmp_path)


PARTS = (
    *("[sources.a]", "[sources.b]", "[transforms.t]", "[transforms.u]", "[sinks.o]", "[sinks.p]"),
    *('type = "syslog"', 'type = "file"', 'type = "route"', 'type = "remap"', 'type = "socket"'),
    *('type = "elasticsearch"', 'inputs = ["a", "t", "u.*"]', 'inputs = ["*"]', "x = {a = [1]}"),
    *('address = "0.0.0.0:1"', 'source = ".a = f("', "route.e = '.x == 1'", 'include = ["/a"]'),
    *('endpoints = ["http://h"]', 'path = "/x/{{ y"', "tls.enabled = true", "rate = 5"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=16, unique=True).map("\n".join))
def test_any_text_is_imported_or_refused(tmp_path: Path, text: str) -> None:
    try:
        read(text, tmp_path)
    except ImportRefused as error:
        assert "\n" not in str(error)
