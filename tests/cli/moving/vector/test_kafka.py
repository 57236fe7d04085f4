from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import Result, import_text

SINK = '[sinks.o]\ntype = "file"\ninputs = ["s"]\npath = "/x"\nencoding.codec = "text"\n'


def read(keys: str, folder: Path) -> Result:
    return import_text("vector", f'[sources.s]\ntype = "kafka"\n{keys}\n{SINK}', folder)


def test_each_topic_is_a_source_of_the_group(tmp_path: Path) -> None:
    result = read('bootstrap_servers = "k"\ngroup_id = "g"\ntopics = ["a", "b"]', tmp_path)
    assert [each["listen"] for each in result.sources.values()] == [
        "kafka://k:9092/a",
        "kafka://k:9092/b",
    ]
    assert {each["group"] for each in result.sources.values()} == {"g"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('bootstrap_servers = "k"\ntopics = ["a"]', "no group_id"),
        ('bootstrap_servers = "k"\ngroup_id = "g"\ntopics = ["^a"]', "'^a' is no topic"),
        ('group_id = "g"\ntopics = ["a"]', "names no broker"),
    ],
)
def test_what_has_no_counterpart_is_said(keys: str, said: str, tmp_path: Path) -> None:
    result = read(keys, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)
