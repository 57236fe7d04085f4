from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from relay.service.reloading.difference import Difference
from relay.service.reloading.reading import read_difference

SMALL = """
[relay]
state_dir = "/state"
name = "web-1"
[sources.app]
listen = "udp://127.0.0.1:514"
[destinations.all]
connect = "file:/all.log"
"""
Read = Callable[[str, str], Difference]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    path = tmp_path / "relay.toml"

    def difference_of(before: str, after: str) -> Difference:
        path.write_text(before)
        old = read_configuration(str(path), KINDS, to_start=True)
        path.write_text(after)
        return read_difference(str(path), old, kinds=KINDS, now=0.0, zone=UTC)

    return difference_of


def problems(read: Read, before: str, after: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(before, after)
    return caught.value.problems


def test_it_finds_what_differs(read: Read) -> None:
    found = read(SMALL, SMALL.replace("514", "515"))
    assert [each.text for each in found.changes] == ["sources.app changed: listen"]


def test_all_problems_are_named_with_their_places(read: Read, tmp_path: Path) -> None:
    wrong = SMALL.replace("udp:", "upd:").replace('name = "web-1"', "name = 7")
    found = problems(read, SMALL, wrong)
    assert [each.partition(": ")[0] for each in found] == [
        f"{tmp_path}/relay.toml:4",
        f"{tmp_path}/relay.toml:6",
    ]
    assert "not TOML" not in found[0]
    (gone,) = problems(read, SMALL, "[relay")
    assert gone.startswith(f"{tmp_path}/relay.toml:1:")


def test_a_test_that_fails_is_a_problem(read: Read) -> None:
    tested = """
[[tests]]
frame = "<13>app: x"
expect.all = { payload = { contains = "y" } }
"""
    (problem,) = problems(read, SMALL, SMALL + tested)
    assert "tests[0]" in problem


def test_a_missing_token_refuses_what_has_changed_and_nothing_else(
    read: Read, tmp_path: Path
) -> None:
    waiting = (
        SMALL
        + f"""
[destinations.waits]
connect = "file:/waits.log"
rewrite = {{ mode = "cee", token_file = "{tmp_path}/missing" }}
"""
    )
    assert [each.text for each in read(waiting, waiting.replace(":514", ":515")).changes] == [
        "sources.app changed: listen"
    ]
    (problem,) = problems(read, SMALL, waiting)
    assert "destinations.waits" in problem
    assert "missing" in problem
    (problem,) = problems(read, waiting, waiting.replace("/missing", "/moved"))
    assert "moved" in problem


def test_a_file_that_is_gone_is_a_problem(read: Read, tmp_path: Path) -> None:
    old = SMALL
    path = tmp_path / "relay.toml"
    path.write_text(old)
    configuration = read_configuration(str(path), KINDS, to_start=True)
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot read it: No such file"):
        read_difference(str(path), configuration, kinds=KINDS, now=0.0, zone=UTC)


def test_a_pipe_is_no_file_to_read_again(read: Read, tmp_path: Path) -> None:
    read(SMALL, SMALL)
    old = read_configuration(str(tmp_path / "relay.toml"), KINDS, to_start=True)
    os.mkfifo(path := tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="pipe: cannot read it: it is not a regular file"):
        read_difference(str(path), old, kinds=KINDS, now=0.0, zone=UTC)
