from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.cli.moving.files import ImportRefused
from relay.cli.moving.logagent.dialect import LOGAGENT
from tests.cli.moving.imports import Result, import_text

INPUT = "input:\n  syslog: {port: 1514}\n"


def read(text: str, folder: Path) -> Result:
    return import_text("logagent", text, folder)


def test_it_is_recognised() -> None:
    assert LOGAGENT.score("input:\n  a:\n    module: input-syslog\noutput:\n") >= 3
    assert LOGAGENT.score("sources:\n  a:\n    type: file\n") == 0


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("syslog: {module: input-syslog, port: 1514, address: 127.0.0.1}", "udp://127.0.0.1:1514"),
        ("x: {module: input-tcp, port: 1515}", "tcp://:1515"),
        ("x: {module: udp, port: 1516, bindAddress: 0.0.0.0}", "udp://:1516"),
        ("x: {module: input-elasticsearch-http, port: 9200}", "http://:9200"),
        ("x: {module: command, command: journalctl -o json}", "journald://"),
        ("x: {module: command, command: uptime}", "program:///bin/sh"),
        ("files: [/var/log/x.log]", "file:///var/log/x.log"),
    ],
)
def test_inputs(text: str, listen: str, tmp_path: Path) -> None:
    (source,) = read(f"input:\n  {text}\n", tmp_path).sources.values()
    assert source["listen"] == listen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("output:\n  stdout: yaml\n", "syslogrelay tap"),
        ("output:\n  x: {module: output-kafka}\n", "destination kafka://"),
        ("output:\n  x: {module: elasticsearch, url: 'nothing'}\n", "the url is none"),
        ("output:\n  x: {module: output-files}\n", "absolute path"),
        ("parser:\n  patterns: []\n", 'parse = "json"'),
        ("other: 1\n", "nothing like this section"),
    ],
)
def test_what_has_no_counterpart_is_said(text: str, said: str, tmp_path: Path) -> None:
    result = read(INPUT + text, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="has no table"):
        read("- a\n", tmp_path)


PARTS = (
    *(
        "input:",
        "output:",
        "outputFilter:",
        "inputFilter:",
        "options:",
        "  a:",
        "    module: files",
    ),
    *("    module: elasticsearch", "    module: drop-events", "    filters: {a: {include: x}}"),
    *("    indices: {x: y}", "    fileName: /x/{y}", "    command: x", "  files: [/a, b]", "  - a"),
    *("    port: 5", "    url: http://h", "    tags: {a: b}", "  stdout: 1", "    index: a"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("\n".join))
def test_any_text_is_imported_or_refused(tmp_path: Path, text: str) -> None:
    try:
        read(text, tmp_path)
    except ImportRefused as error:
        assert "\n" not in str(error)
