from __future__ import annotations

from pathlib import Path

from tests.cli.moving.imports import Result, import_text

INPUT = "input:\n  syslog: {port: 1514}\n"


def read(text: str, folder: Path) -> Result:
    return import_text("logagent", text, folder)


def test_sematext_is_https_with_the_token_in_a_file(tmp_path: Path) -> None:
    token = "11111111-2222-3333-4444-555555555555"
    result = read(
        f"{INPUT}output:\n  es:\n    module: elasticsearch\n"
        f"    url: https://logsene-receiver.eu.sematext.com\n    index: {token}\n",
        tmp_path,
    )
    assert result.destinations["es"] == {
        "connect": "sematext://eu",
        "via": "https",
        "token_file": "sematext.token",
    }
    assert token not in "\n".join(result.imported.report.lines())


def test_indices_are_for_sources(tmp_path: Path) -> None:
    result = read(
        "input:\n  files: [/var/log/nginx/a.log, /var/log/db.log]\n"
        "output:\n  es:\n    module: elasticsearch\n    url: http://h:9200\n"
        "    indices: {web: [nginx]}\n    index: rest\n",
        tmp_path,
    )
    (nginx, database) = result.sources
    assert [(each["index"], each.get("sources")) for each in result.destinations.values()] == [
        *(("web", [nginx]), ("rest", [database])),
    ]


def test_files_and_http(tmp_path: Path) -> None:
    result = read(
        f"{INPUT}output:\n  f: {{module: output-files, fileName: '/x/{{host}}.json', size: 1M}}\n"
        "  h: {module: output-http, url: 'http://h:1/p', flushInterval: 2}\n",
        tmp_path,
    )
    assert result.destinations["f"] == {
        "connect": "file:///x/${HOST}.json",
        "format": "json",
        "rotate_bytes": 1_000_000,
    }
    assert result.destinations["h"] == {
        "connect": "http://h:1/p",
        "body": "ndjson",
        "batch_seconds": 2,
    }
