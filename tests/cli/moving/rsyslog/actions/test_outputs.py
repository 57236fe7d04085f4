from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


@pytest.mark.parametrize("kind", ["ommail", "omkafka", "ommysql", "omshell", "bogus", ""])
def test_actions_without_a_destination_say_why(kind: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f'{HEAD}action(type="{kind}" odd="1")\n', tmp_path)
    (line,) = (line for line in result.doubts if line.startswith("3: not supported"))
    assert not line.endswith(": ")


def test_parameters_that_nobody_knows_are_said(tmp_path: Path) -> None:
    result = import_text("rsyslog", f'{HEAD}action(type="omfile" file="/x" odd="1")\n', tmp_path)
    (line,) = result.doubts
    assert line.startswith("3: not supported: action(")
    assert line.endswith(": odd: the import does not know it")
