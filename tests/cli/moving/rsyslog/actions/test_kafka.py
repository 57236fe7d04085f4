from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


def test_an_action_becomes_a_topic(tmp_path: Path) -> None:
    text = f'{HEAD}action(type="omkafka" topic="logs" key="a$b" confParam="linger.ms=10")\n'
    (found,) = import_text("rsyslog", text, tmp_path).destinations.values()
    del found["template"]
    assert found == {
        "connect": "kafka://localhost:9092/logs",
        "key": "a$$b",
        "linger_seconds": 0.01,
    }


@pytest.mark.parametrize("parameters", ["", 'topic="a b"', 'topic="a" broker="k 1"'])
def test_what_is_no_topic_is_said(parameters: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f'{HEAD}action(type="omkafka" {parameters})\n', tmp_path)
    assert any(line.startswith("3: not supported") for line in result.doubts)


def test_an_input_becomes_a_source(tmp_path: Path) -> None:
    text = 'input(type="imkafka" topic="in" broker="k" consumergroup="g")\n*.* /var/log/x\n'
    result = import_text("rsyslog", text, tmp_path)
    assert result.sources["kafka"] == {
        "listen": "kafka://k:9092/in",
        "group": "g",
        "read_from": "end",
    }
    result = import_text("rsyslog", 'input(type="imkafka" broker="k")\n*.* /var/log/x\n', tmp_path)
    assert any("an input without a topic" in line for line in result.doubts)
