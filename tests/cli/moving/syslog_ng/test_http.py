from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.moving.syslog_ng.http import ELASTIC_FORMAT, http_url
from tests.cli.moving.imports import Result, import_text


def read(driver: str, folder: Path) -> Result:
    return import_text(
        "syslog-ng",
        f"source s {{ internal(); }}; log {{ source(s); destination {{ {driver}; }}; }};",
        folder,
    )


def keys_of(driver: str, folder: Path) -> dict[str, object]:
    (keys,) = read(driver, folder).destinations.values()
    return keys


def test_json_lines(tmp_path: Path) -> None:
    assert keys_of(
        'http(url("http://h:8080/in") method("POST") batch-lines(50) batch-timeout(2000) workers(2)'
        ' body("$(format-json msg=$MSG)") headers("X-Scope: a", "Content-Type: x"))',
        tmp_path,
    ) == {
        "connect": "http://h:8080/in",
        "body": "ndjson",
        "format": {"name": "json", "scope": "none", "pair": {"msg": "$MSG"}},
        "batch_records": 50,
        "batch_seconds": 2.0,
        "requests_max": 2,
        "headers": {"X-Scope": "a"},
    }


def test_an_array(tmp_path: Path) -> None:
    keys = keys_of(
        'http(url("https://h/in") body-prefix("[") delimiter(",") body-suffix("]")'
        ' body("$(format-json --scope rfc5424)") user("u") password("secret"))',
        tmp_path,
    )
    assert keys["body"] == "array"
    assert (keys["user"], keys["password_file"]) == ("u", "http.password")


def test_texts_become_json(tmp_path: Path) -> None:
    result = read('http(url("https://h/in") body("$MSG"))', tmp_path)
    assert any("the member message" in line for line in result.doubts)


def test_elasticsearch(tmp_path: Path) -> None:
    driver = 'elasticsearch-http(url("https://e:9200/_bulk") index("Logs") type("")'
    assert keys_of(f"{driver} tls(ca-file(x)))", tmp_path) == {
        "connect": "https://e:9200/_bulk",
        "trusted_ca": "x",
        "format": dict(ELASTIC_FORMAT),
        "index": "logs",
    }
    keys = keys_of('elasticsearch-http(url("http://e/_bulk") index("l-${HOST}"))', tmp_path)
    assert keys["index"] == "l-${HOST}"


def test_sematexts_index_is_a_token(tmp_path: Path) -> None:
    token = "11111111-2222-3333-4444-555555555555"
    result = read(
        f'elasticsearch-http(url("https://logsene-receiver.sematext.com/_bulk") index("{token}"))',
        tmp_path,
    )
    (keys,) = result.destinations.values()
    assert keys["index_file"] == "sematext.token"
    assert token not in "\n".join(result.imported.report.lines())


def test_splunk_and_logscale(tmp_path: Path) -> None:
    assert keys_of('splunk-hec-event(url("https://s:8088") token("abcd-1"))', tmp_path) == {
        "connect": "https://s:8088",
        "body": "splunk-hec",
        "token_file": "splunk.token",
    }
    assert keys_of('logscale(token("abcd-1"))', tmp_path) == {
        "connect": "https://cloud.humio.com/api/v1/ingest/hec",
        "body": "splunk-hec",
        "token_file": "logscale.token",
    }


def test_tokens_in_headers_go_into_files(tmp_path: Path) -> None:
    result = read('http(url("https://h/") headers("Authorization: Bearer abcdef"))', tmp_path)
    (keys,) = result.destinations.values()
    assert keys["token_file"] == "http.token"
    assert "abcdef" not in "\n".join(result.imported.report.lines())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h", "http://h"),
        ("https://h:1/a?b=c", "https://h:1/a?b=c"),
        ("https://[::1]:9200/", "https://[::1]:9200/"),
        *((text, "") for text in ("", "h:1", "ftp://h", "http://h:x", "http://u:p@h", "http://")),
        ("http://[", ""),
    ],
)
def test_urls(text: str, url: str) -> None:
    assert http_url(text) == url


def test_what_is_no_url_is_said(tmp_path: Path) -> None:
    result = read('http(url("http://${HOST}/x"))', tmp_path)
    assert any("without macros" in line for line in result.doubts)
